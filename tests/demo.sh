#!/bin/bash
# Shows the main job on loopback: a device discovers the registrar, fetches the CA certificates, enrols and re-enrols.
#
#   tests/demo.sh                          installs what is missing, builds, shows each step, leaves nothing running
#   tests/demo.sh --serve DIR              keeps EST server and registrar up until interrupted, with all that another
#                                          client needs in DIR: device.crt device.key trust.pem request.der registrar.json env
#   tests/demo.sh --serve DIR --coaps-port N
set -euo pipefail
# A script's background job ignores SIGINT, and bash cannot change that for itself: begin again with SIGINT as it should be.
(( 0x$(sed -n 's/^SigIgn:\t*//p' /proc/$$/status) & 2 )) && exec env --default-signal=INT "$0" "$@"
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/demo

fail() { echo "tests/demo.sh: $*" >&2; exit "${status:-1}"; }
usage() { status=2 fail "$1; usage: tests/demo.sh [--serve DIR [--coaps-port N]]"; }

serve='' coaps_port=0
while [ $# -gt 0 ]; do
    case $1 in
    --serve) serve=${2-} && [ -n "$serve" ] || usage "--serve needs a folder" ;;
    --coaps-port) coaps_port=${2-} && [[ $coaps_port =~ ^[0-9]{1,5}$ ]] || usage "--coaps-port needs a number" ;;
    *) usage "$1 is not understood" ;;
    esac
    shift 2
done
[ -n "$serve" ] || [ "$coaps_port" = 0 ] || usage "--coaps-port goes with --serve"

main() {
    choose_folder
    trap stop EXIT
    trap 'interrupted 130' INT
    trap 'interrupted 143' TERM HUP
    build
    make_certificates
    start_est_server
    start_registrar
    if [ -n "$serve" ]; then
        serve_until_interrupted
    else
        show_est_device
        show_coap_client
        title "Done: the EST server issued $(grep -c ' issued ' "$dir/est-server.log") certificates; nothing is left running"
    fi
}

# ---- building and starting -------------------------------------------------------------------------------------------

if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; else bold='' plain=''; fi
title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }

# The lock is held by whatever runs in the folder, until the last of it is gone.
choose_folder() {
    if [ -z "$serve" ]; then
        dir=$(mktemp -d)
        return
    fi
    mkdir -p "$serve" && [ -w "$serve" ] && dir=$(cd "$serve" && pwd) || fail "$serve is not a folder that can be written to; name another"
    exec 9>"$dir/.lock"
    flock --nonblock 9 || fail "$dir is being served already; name another folder, or interrupt what serves it"
    rm -f "$dir"/{env,est-server.log,est-server.out,registrar.log} # of a service before: nobody shall read an old port
}

build() {
    title "Installing what is missing, and building (a minute or two the first time)"
    "$root/tests/install_packages" build demo
    mkdir -p "$build"
    exec 8>"$build/.lock"
    flock 8 # another demonstration may be building
    cmake -S "$root" -B "$build" -G Ninja -DESTUARY_TESTS=OFF >/dev/null
    ninja -C "$build" --quiet est-registrar est-server est-device | grep -v "no work to do" || [ "${PIPESTATUS[0]}" = 0 ]
    exec 8>&-
    PATH=$build/registrar:$build/tests/est_server:$build/tests/device:$PATH
}

make_certificates() {
    title "Making keys and certificates: a manufacturer's CA with a device, the EST server's CA, the registrar"
    "$root/tests/pki/make_pki" "$dir/pki"
    "$root/tests/pki/make_device" "$dir/pki" device 4711 --ca manufacturer-ca
    openssl x509 -in "$dir/pki/device.crt" -noout -subject -issuer | sed 's/^/   device /'
}

programs=()

stop() {
    trap - EXIT INT TERM HUP
    for pid in "${programs[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" || true
    done
    if [ -n "$serve" ]; then rm -f "$dir/env"; else rm -rf "$dir"; fi
}

# An interrupt is how serving ends; of a demonstration it is a failure.
interrupted() {
    [ -z "$serve" ] || exit 0
    exit "$1"
}

# start OUTPUT PATTERN COMMAND...: runs it in the background until this script ends, and waits for a line that matches
start() {
    local output=$1 pattern=$2 tries=0 pid
    shift 2
    setpriv --pdeathsig TERM "$@" >"$output" 2>&1 &
    pid=$!
    programs+=("$pid")
    until grep -qE "$pattern" "$output" 2>/dev/null; do
        kill -0 "$pid" 2>/dev/null || { cat "$output" >&2; fail "$1 did not start; it says why above"; }
        [ $((tries += 1)) -lt 400 ] || { cat "$output" >&2; fail "$1 is not ready after 20 s"; }
        sleep 0.05
    done
}

start_est_server() {
    start "$dir/est-server.out" '^listening' est-server --pki "$dir/pki" --log "$dir/est-server.log"
    est=$(sed -n 's/^listening //p' "$dir/est-server.out")
}

start_registrar() {
    cat >"$dir/registrar.json" <<CONFIGURATION
{
  "listen": { "coaps": ["127.0.0.1:$coaps_port"], "discovery": ["127.0.0.1:0"] },
  "dtls": { "certificate": "pki/registrar.pem", "private_key": "pki/registrar.key",
            "manufacturer_trust": ["pki/manufacturer-ca.pem"], "domain_trust": ["pki/est-ca.pem"] },
  "upstream": { "servers": ["$est"], "trust": ["pki/est-ca.pem"],
                "certificate": "pki/ra.pem", "private_key": "pki/ra.key" }
}
CONFIGURATION
    start "$dir/registrar.log" 'ready:' est-registrar --config "$dir/registrar.json"
    coaps=$(sed -n 's/.*listening coaps:\/\///p' "$dir/registrar.log" | head -n 1)
    coap=$(sed -n 's/.*listening coap:\/\///p' "$dir/registrar.log" | head -n 1)
    title "Running: est-server at $est, est-registrar at coaps://$coaps (discovery also at coap://$coap)"
}

serve_until_interrupted() {
    cp "$dir/pki/device.crt" "$dir/pki/device.key" "$dir/"
    cp "$dir/pki/est-ca.pem" "$dir/trust.pem"
    "$root/tests/pki/make_csr" "$dir/device.key" "$dir/request.der" /O=Example/CN=device/serialNumber=4711
    printf 'COAPS=%s\nCOAP=%s\nEST=%s\n' "$coaps" "$coap" "$est" >"$dir/.env"
    mv "$dir/.env" "$dir/env" # the last file, and whole: who waits for it can begin
    title "Everything another client needs is in $dir; interrupt to stop"
    cat "$dir/env"
    wait -n "${programs[@]}" || true # a program that ends by itself ends the service
    fail "a program ended by itself; see $dir/registrar.log and $dir/est-server.log"
}

# ---- the steps -------------------------------------------------------------------------------------------------------

# step TEXT COMMAND...: runs the device's side, indented, and then shows what the EST server saw of it
step() {
    local text=$1 before seen
    shift
    title "$text"
    before=$(wc -l <"$dir/est-server.log")
    "$@" | sed 's/^/   /'
    seen=$(tail -n +$((before + 1)) "$dir/est-server.log" | upstream_lines)
    echo "${seen:-   (the registrar answered by itself)}"
}

# What the EST server logged, for a person: method, path, HTTP status, who asked, and what it issued (which it logs first).
upstream_lines() {
    sed -nE \
        -e '/^[^ ]+ issued /{s/.*serial="([^"]*)" subject="([^"]*)".*/   EST server: issued serial \1 to \2/;h;d}' \
        -e 's/^[^ ]+ request .*method="([A-Z]+)" path="([^"]*)".*outcome="([^"]*)".*client="([^"]*)".*ra=true.*/   registrar → EST server: \1 \2 → HTTP \3   (RA \4)/;t show' \
        -e 's/^[^ ]+ request .*method="([A-Z]+)" path="([^"]*)".*outcome="([^"]*)".*/   registrar → EST server: \1 \2 → HTTP \3/;t show' \
        -e 'd' -e ':show' -e 'p;x;/./p;s/.*//;x'
}

device() {
    est-device --server "$coaps" --trust "$dir/pki/est-ca.pem" "$@"
}

show_est_device() {
    local identity=(--certificate "$dir/pki/device.crt" --key "$dir/pki/device.key")
    step "est-device discovers what the registrar offers" device "${identity[@]}" discover
    step "est-device fetches the CA certificates" device "${identity[@]}" crts
    step "est-device asks which attributes a CSR should have" device "${identity[@]}" att
    step "est-device enrols with a fresh key, in blocks of 64 octets" device "${identity[@]}" --block-size 64 --pop \
        --out "$dir/ldevid.pem" --key-out "$dir/ldevid.key" sen
    step "est-device re-enrols with the certificate just obtained, and wants the bare certificate (287)" \
        device --certificate "$dir/ldevid.pem" --key "$dir/ldevid.key" --accept 287 --out "$dir/renewed.pem" sren
    title "The certificate obtained, as openssl sees it"
    show_certificate "$dir/renewed.pem"
}

show_certificate() {
    openssl x509 -in "$1" -noout -subject -issuer -serial -dates | sed 's/^/   /'
    openssl verify -CAfile "$dir/pki/est-ca.pem" "$1" | sed 's/.*: /   verified: /'
}

# stock IDENTITY METHOD RESOURCE [OPTION...]: Debian's own CoAP client knows nothing of EST; it sends what it is told and writes
# down what comes back. Its debug log tells the codes.
stock() {
    local identity=$1 method=$2 resource=$3 code sent=''
    shift 3
    coap-client-openssl -v 7 -c "$identity.crt" -j "$identity.key" -C "$dir/pki/est-ca.pem" -B 20 -o "$dir/answer" -m "$method" "$@" \
        "coaps://$coaps/$resource" >"$dir/stock.log" 2>&1
    code=$(sed -nE 's/.*process incoming ([0-9.]+) response:.*/\1/p' "$dir/stock.log" | tail -n 1)
    [[ $code = 2.* && -s $dir/answer ]] || { tail -n 20 "$dir/stock.log" >&2; fail "coap-client-openssl obtained nothing: ${code:-no answer}"; }
    [ "$method" = get ] || sent=", pkcs10 (286), $(wc -c <"$dir/request.der") octets in blocks of 64"
    echo "coap-client-openssl → registrar: ${method^^} /$resource$sent → $code, $(wc -c <"$dir/answer") octets"
}

show_links() {
    stock "$dir/pki/device" get '.well-known/core?rt=ace.est*' && tr ',' '\n' <"$dir/answer" && echo
}

show_ca_certificates() {
    stock "$dir/pki/device" get est/crts && openssl pkcs7 -inform DER -in "$dir/answer" -print_certs -noout | sed '/^$/d'
}

# stock_enrols IDENTITY FUNCTION NEW: the certificate and key NEW.crt and NEW.key for who IDENTITY is
stock_enrols() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$3.key"
    "$root/tests/pki/make_csr" "$3.key" "$dir/request.der" /O=Example/CN=device/serialNumber=4711
    stock "$1" post "est/$2" -b 64 -t 286 -A 281 -f "$dir/request.der"
    openssl pkcs7 -inform DER -in "$dir/answer" -print_certs | openssl x509 -out "$3.crt"
    show_certificate "$3.crt"
}

show_coap_client() {
    step "coap-client-openssl discovers" show_links
    step "coap-client-openssl fetches the CA certificates" show_ca_certificates
    step "coap-client-openssl enrols" stock_enrols "$dir/pki/device" sen "$dir/stock"
    step "coap-client-openssl re-enrols with the certificate just obtained" stock_enrols "$dir/stock" sren "$dir/again"
}

main
