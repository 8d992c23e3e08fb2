"""Certificate revocation lists (RFC 5280 section 5), made by hand: a library takes minutes for a million entries, and makes no bad ones."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from der import oid, tlv

ECDSA_WITH_SHA256 = tlv(0x30, oid("1.2.840.10045.4.3.2"))
DELTA_CRL_INDICATOR = tlv(0x30, oid("2.5.29.27"), tlv(0x01, b"\xff"), tlv(0x04, tlv(0x02, b"\x01")))
INDIRECT = tlv(0x30, oid("2.5.29.28"), tlv(0x01, b"\xff"), tlv(0x04, tlv(0x30, tlv(0x84, b"\xff"))))


def load(file):
    """The first certificate of a PEM file."""
    return x509.load_pem_x509_certificate(file.read_bytes())


def utc(seconds):
    """UTCTime, in so many seconds from now."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())


def integer(number):
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def make_crl(pki, ca, serials=(), since=-3600, until=86400, signer=None, extensions=()):
    """The DER of ca's list; signer is another CA's name where it is forged."""
    date = utc(-60)
    issuer = load(pki / f"{ca}.pem").subject.public_bytes()
    key = serialization.load_pem_private_key((pki / f"{signer or ca}.key").read_bytes(), None)
    entries = [tlv(0x30, b"".join(tlv(0x30, integer(serial) + date) for serial in serials))] if serials else []
    signed = tlv(0x30, integer(1), ECDSA_WITH_SHA256, issuer, utc(since), utc(until), *entries,
                 *([tlv(0xA0, tlv(0x30, *extensions))] if extensions else []))
    return tlv(0x30, signed, ECDSA_WITH_SHA256, tlv(0x03, b"\0", key.sign(signed, ec.ECDSA(hashes.SHA256()))))


def pem(*lists):
    return b"".join(x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM) for der in lists)


def put(file, content):
    """As a file is put in place that others read: by renaming it."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.rename(file)


def serial_of(pki, device):
    return load(pki / f"{device}.crt").serial_number
