"""What enrolling takes, for tests that speak CoAP by hand: a device's CSR, and a look at what came back."""

import coap
import programs
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

CERTS_ONLY, CSRATTRS, PKCS10, ONE_CERT = 281, 285, 286, 287
POST_OPTIONS = [(coap.CONTENT_FORMAT, coap.uint(PKCS10))]
EST = (".well-known", "est")


def subject(device, serial=None):
    return f"/O=Example/CN={device}/serialNumber={serial or 'SN-' + device}"


def join_domain(pki, device="member", *options):
    """A device with a certificate of the EST CA (LDevID), which /sren takes (RE-3); returns its name."""
    pki.device(device, None, "--ca", "est-ca", *options)
    return device


def make_csr(pki, device="meter", *options, new_key=True, subject_name=None):
    """A CSR that names the device, for a fresh key unless told otherwise."""
    key = pki.device(device)[1]
    if new_key:
        key = pki.folder / f"fresh-{make_csr.count}.key"
        make_csr.count += 1
        programs.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])
    return pki.csr(key, subject_name or subject(device), *options)


make_csr.count = 0


def certificates(der):
    """The certificates of a PKCS#7 certs-only message."""
    return pkcs7.load_der_pkcs7_certificates(der)


def spki(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def csr_key(der):
    return spki(x509.load_der_x509_csr(der).public_key())


def is_for(certificate, csr):
    return spki(certificate.public_key()) == csr_key(csr)


def label(*words):
    return ".".join(words)


def path(operation, label_name=None):
    return (*EST, label_name, operation) if label_name else (*EST, operation)


def enrol(peer, csr, operation="sen", label_name=None, accept=None, szx=5, **more):
    """Posts the CSR in blocks, collects the certificate's blocks; returns (response, whole body)."""
    accepts = [] if accept is None else [(coap.ACCEPT, coap.uint(accept))]
    options = [*POST_OPTIONS, *accepts]
    response, _ = peer.post_blocks(path(operation, label_name), csr, szx, options, **more)
    if response is None or response.code >> 5 != 2:
        return response, None if response is None else response.payload
    return response, peer.fetch_rest(coap.POST, path(operation, label_name), response, options=options)


def get(peer, operation="crts", label_name=None, accept=None, **more):
    options = [] if accept is None else [(coap.ACCEPT, coap.uint(accept))]
    first = peer.get(path(operation, label_name), options=options, **more)
    if first is None or first.code >> 5 != 2:
        return first, None if first is None else first.payload
    return first, peer.fetch_rest(coap.GET, path(operation, label_name), first, options=options)
