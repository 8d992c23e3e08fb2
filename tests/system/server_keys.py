"""A key and its certificate, as /skg and /skc hand them out: what is in them, and who was asked for them."""

import time

import cbor2
import coap
import programs
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import der
from enrolment import certificates, enrol, spki

BOTH = {"skg": True, "skc": True}
KEK = "000102030405060708090a0b0c0d0e0f"
MULTIPART, SERVER_KEY, CERTS_ONLY, PKCS8, ONE_CERT = 62, 280, 281, 284, 287


def unpack(body):
    """MP-1: the key first, with its Content-Format, then the certificate; canonical CBOR."""
    items = cbor2.loads(body)
    assert len(items) == 4 and cbor2.dumps(items) == body
    return items


def certificate_of(items):
    if items[2] == ONE_CERT:
        return x509.load_der_x509_certificate(items[3])
    assert items[2] == CERTS_ONLY
    return next(c for c in certificates(items[3]) if not is_ca(c))


def is_ca(certificate):
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def plain_key(items):
    assert items[0] == PKCS8
    key = serialization.load_der_private_key(items[1], None)
    tag, content, rest = der.read(items[1])
    assert tag == 0x30 and not rest and [e[0] for e in der.elements(content)][:3] == [0x02, 0x30, 0x04], "PKCS#8"
    return key


def assert_pair(body, operation):
    items = unpack(body)
    assert items[2] == (ONE_CERT if operation == "skc" else CERTS_ONLY)
    assert spki(plain_key(items).public_key()) == spki(certificate_of(items).public_key())
    return items


def scalar(key):
    return key.private_numbers().private_value.to_bytes(32, "big")


def open_package(cms, folder, decryption, verification):
    """What openssl gets out of EnvelopedData(SignedData(content)). The encrypted content is SignedData without a ContentInfo around it
    (RFC 5652 section 6.1), which openssl cms -verify wants to see again."""
    (folder / "key.cms").write_bytes(cms)
    signed = programs.run(["openssl", "cms", "-decrypt", "-inform", "DER", "-in", folder / "key.cms", "-binary", *decryption]).stdout
    (folder / "signed").write_bytes(der.tlv(0x30, der.oid("1.2.840.113549.1.7.2"), der.tlv(0xa0, signed)))
    return programs.run(["openssl", "cms", "-verify", "-inform", "DER", "-in", folder / "signed", "-binary", *verification]).stdout


def only_key(package):
    """AsymmetricKeyPackage (RFC 5958 section 2): a SEQUENCE OF one key."""
    tag, keys, rest = der.read(package)
    assert tag == 0x30 and not rest and len(der.elements(keys)) == 1
    return der.elements(keys)[0]


def enrol_patiently(peer, csr, operation, label_name=None, **more):
    """As a device that comes back when it is told to, but not for ever."""
    for _ in range(10):
        response, body = enrol(peer, csr, operation, label_name=label_name, **more)
        if response.status != "5.03" or response.number(coap.MAX_AGE) > 10:
            break
        time.sleep(response.number(coap.MAX_AGE))
    return response, body


def serverkeygens(est_server):
    return [r for r in est_server.stats()["log"] if r["path"].endswith("/serverkeygen")]


def posts(est_server):
    return [r["path"].rsplit("/", 1)[1] for r in est_server.stats()["log"] if r["method"] == "POST"]
