# Functions that make_pki and make_device share: keys and certificates by the openssl command.

set -euo pipefail

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# make_key FILE [CURVE]: a PKCS#8 PEM private key.
make_key() {
    openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:${2:-P-256}" -out "$1" 2>/dev/null
}

# general_names LIST: dns:a,ip:b in the spelling of openssl.
general_names() {
    sed -E 's/(^|,)(dns|ip|uri|rid):/\1\U\2:/Ig' <<<"$1"
}

# issue KEY OUT SUBJECT EXTENSIONS [option...]: a certificate for KEY with the X.509v3 EXTENSIONS (lines of an openssl
# configuration). Options: --ca NAME (else self-signed), --from and --to YYYYMMDDHHMMSSZ, --digest sha1.
issue() {
    local key=$1 out=$2 subject=$3 extensions=$4 ca='' from to=99991231235959Z digest=sha256
    shift 4
    from=$(date -u -d '1 hour ago' +%Y%m%d%H%M%SZ)
    while [ $# -gt 0 ]; do
        case $1 in
        --ca) ca=$2 ;;
        --from) from=$2 ;;
        --to) to=$2 ;;
        --digest) digest=$2 ;;
        *) die "issue: unknown option $1" ;;
        esac
        shift 2
    done
    local work signer
    work=$(mktemp -d)
    signer=(-selfsign -keyfile "$key")
    [ -z "$ca" ] || signer=(-cert "$ca.pem" -keyfile "$ca.key")
    : >"$work/index"
    printf '%s\n' '[ca]' 'default_ca=it' '[it]' "database=$work/index" "new_certs_dir=$work" 'unique_subject=no' \
        'policy=any' 'rand_serial=yes' 'email_in_dn=yes' '[any]' 'O=optional' 'CN=optional' 'serialNumber=optional' \
        '[req]' 'distinguished_name=dn' 'prompt=no' '[dn]' 'CN=replaced' '[v3]' "$extensions" >"$work/conf"
    openssl req -new -utf8 -config "$work/conf" -key "$key" -subj "$subject" -out "$work/csr"
    openssl ca -batch -notext -utf8 -preserveDN -config "$work/conf" "${signer[@]}" -md "$digest" \
        -startdate "$from" -enddate "$to" -extensions v3 -in "$work/csr" -out "$work/out" 2>"$work/said" ||
        { cat "$work/said" >&2 && rm -r "$work" && die "no certificate for $subject"; }
    mv "$work/out" "$out"
    rm -r "$work"
}
