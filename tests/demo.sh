#!/bin/bash
# Shows the main job on loopback: a device discovers the registrar, fetches the CA certificates, enrols and re-enrols.
#
#   tests/demo.sh                          installs what is missing, builds, shows each step, leaves nothing running
#   tests/demo.sh --serve DIR              keeps EST server and registrar up until interrupted, with all that another
#                                          client needs in DIR: device.crt device.key trust.pem request.der registrar.json env
#   tests/demo.sh --serve DIR --coaps-port N
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/demo

serve='' coaps_port=0
while [ $# -gt 0 ]; do
    case $1 in
    --serve) serve=${2:?--serve needs a folder} && shift ;;
    --coaps-port) coaps_port=${2:?--coaps-port needs a number} && shift ;;
    *) echo "usage: $0 [--serve DIR [--coaps-port N]]" >&2 && exit 2 ;;
    esac
    shift
done

main() {
    prepare
    trap stop EXIT
    trap 'exit 130' INT TERM
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

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

prepare() {
    title "Building"
    "$root/tests/install_packages" run build demo
    cmake -S "$root" -B "$build" -G Ninja -DESTUARY_TESTS=OFF >/dev/null
    ninja -C "$build" est-registrar est-server est-device | tail -n 1
    PATH=$build/registrar:$build/tests/est_server:$build/tests/device:$PATH

    if [ -n "$serve" ]; then
        mkdir -p "$serve" && dir=$(cd "$serve" && pwd)
    else
        dir=$(mktemp -d)
    fi
    title "Making keys and certificates: a manufacturer's CA with a device, the EST server's CA, the registrar"
    "$root/tests/pki/make_pki" "$dir/pki"
    "$root/tests/pki/make_device" "$dir/pki" device 4711 --ca manufacturer-ca
    openssl x509 -in "$dir/pki/device.crt" -noout -subject -issuer | sed 's/^/   device /'
}

programs=()

stop() {
    trap - EXIT INT TERM
    for pid in "${programs[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" || true
    done
    [ -n "$serve" ] || rm -rf "$dir"
}

# wait_for FILE PATTERN PID: until the program has written a line that matches
wait_for() {
    local tries=0
    until grep -qE "$2" "$1" 2>/dev/null; do
        kill -0 "$3" 2>/dev/null || { cat "$1" >&2; exit 1; }
        [ $((tries += 1)) -lt 200 ] || { echo "no answer from $1" >&2; exit 1; }
        sleep 0.05
    done
}

start_est_server() {
    est-server --pki "$dir/pki" --log "$dir/est-server.log" >"$dir/est-server.out" &
    programs+=($!)
    wait_for "$dir/est-server.out" '^listening' $!
    est=$(sed -n 's/^listening https:\/\/127.0.0.1/https:\/\/localhost/p' "$dir/est-server.out")
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
    est-registrar --config "$dir/registrar.json" 2>"$dir/registrar.log" &
    programs+=($!)
    wait_for "$dir/registrar.log" 'ready:' $!
    coaps=$(sed -n 's/.*listening coaps:\/\///p' "$dir/registrar.log" | head -n 1)
    coap=$(sed -n 's/.*listening coap:\/\///p' "$dir/registrar.log" | head -n 1)
    title "Running: est-server at $est, est-registrar at coaps://$coaps (discovery also at coap://$coap)"
}

serve_until_interrupted() {
    cp "$dir/pki/device.crt" "$dir/pki/device.key" "$dir/"
    cp "$dir/pki/est-ca.pem" "$dir/trust.pem"
    "$root/tests/pki/make_csr" "$dir/device.key" "$dir/request.der" /O=Example/CN=device/serialNumber=4711
    printf 'COAPS=%s\nCOAP=%s\nEST=%s\n' "$coaps" "$coap" "$est" >"$dir/env"
    title "Everything another client needs is in $dir; interrupt to stop"
    cat "$dir/env"
    wait -n "${programs[@]}" # a program that ends by itself ends the service
    echo "a program ended; see $dir/registrar.log and $dir/est-server.log" >&2
    exit 1
}

# ---- the steps -------------------------------------------------------------------------------------------------------

# step TEXT COMMAND...: runs the device's side, indented, and then shows what the EST server saw of it
step() {
    local text=$1 before
    shift
    title "$text"
    before=$(wc -l <"$dir/est-server.log")
    "$@" | sed 's/^/   /'
    tail -n +$((before + 1)) "$dir/est-server.log" | upstream_lines
}

# What the EST server logged, for a person: method, path, HTTP status, who asked, and what it issued.
upstream_lines() {
    sed -nE \
        -e 's/^[^ ]+ request .*method="([A-Z]+)" path="([^"]*)".*outcome="([^"]*)".*client="([^"]*)".*ra=true.*/   registrar → EST server: \1 \2 → HTTP \3   (RA \4)/p;t' \
        -e 's/^[^ ]+ request .*method="([A-Z]+)" path="([^"]*)".*outcome="([^"]*)".*/   registrar → EST server: \1 \2 → HTTP \3/p;t' \
        -e 's/^[^ ]+ issued .*serial="([^"]*)" subject="([^"]*)".*/   EST server: issued serial \1 to \2/p'
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
    show_certificate "$dir/renewed.pem"
}

show_certificate() {
    openssl x509 -in "$1" -noout -subject -issuer -serial -dates | sed 's/^/   /'
    openssl verify -CAfile "$dir/pki/est-ca.pem" "$1" | sed 's/.*: /   verified: /'
}

# Debian's own CoAP client knows nothing of EST: it sends the CSR and writes down what comes back.
stock() {
    local identity=$1 method=$2 resource=$3
    shift 3
    coap-client-openssl -c "$identity.crt" -j "$identity.key" -C "$dir/pki/est-ca.pem" -B 20 -o "$dir/answer" -m "$method" "$@" \
        "coaps://$coaps/$resource" >"$dir/stock.log" 2>&1
    [ -s "$dir/answer" ] || { cat "$dir/stock.log" >&2; exit 1; }
    echo "coap-client-openssl → registrar: ${method^^} /$resource → $(wc -c <"$dir/answer") octets"
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
