"""Certificates of the EST CA's that a test shapes: ages, names and purposes that the PKI's own do not have."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
LOCAL = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


def name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def load(certificate_file):
    return x509.load_pem_x509_certificate(certificate_file.read_bytes())


def load_key(key_file):
    return serialization.load_pem_private_key(key_file.read_bytes(), None)


def key_pem(key, passphrase=None):
    cipher = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher)


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def certify(subject, key, issuer, issuer_key, days=(-20, 5), purposes=(), names=(), ca=False):
    """issuer is a certificate, or a name."""
    now = datetime.datetime.utcnow()
    issuer_name = issuer.subject if isinstance(issuer, x509.Certificate) else issuer
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer_name).public_key(key.public_key())
               .serial_number(x509.random_serial_number())
               .not_valid_before(now + datetime.timedelta(days=days[0])).not_valid_after(now + datetime.timedelta(days=days[1]))
               .add_extension(x509.BasicConstraints(ca, None), True)
               .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False))
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    return builder.sign(issuer_key, hashes.SHA256())


def issue(pki, common_name, **more):
    """A certificate of the EST CA and its new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return certify(name(common_name), key, load(pki / "est-ca.pem"), load_key(pki / "est-ca.key"), **more), key


def write_both(file, certificate, key, passphrase=None):
    """One file with certificate and key, as renewal wants it."""
    file.write_bytes(pem(certificate) + key_pem(key, passphrase))
    file.chmod(0o600)
    return file
