"""What enrolling takes, for tests that speak CoAP by hand: a device's CSR, and a look at what came back."""

import datetime
import threading

import coap
import programs
from coap_peer import CoapPeer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID
from dtls import DtlsClient

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


def many_devices(pki, folder, count):
    """As many devices, each with a certificate of its own by a manufacturer: (certificate file, key file, CSR for a fresh key)."""
    issuer = x509.load_pem_x509_certificate((pki / "manufacturer-ca.pem").read_bytes())
    issuer_key = serialization.load_pem_private_key((pki / "manufacturer-ca.key").read_bytes(), None)
    now = datetime.datetime.utcnow()
    devices = []
    for number in range(count):
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), x509.NameAttribute(NameOID.COMMON_NAME, f"many{number}"),
                          x509.NameAttribute(NameOID.SERIAL_NUMBER, f"SN-many{number}")])
        key, fresh = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateBuilder(issuer.subject, name, key.public_key(), x509.random_serial_number(), now,
                                          now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(False, None), True)
        certificate_file, key_file = folder / f"many{number}.crt", folder / f"many{number}.key"
        certificate_file.write_bytes(builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(fresh, hashes.SHA256())
        devices.append((certificate_file, key_file, csr.public_bytes(serialization.Encoding.DER)))
    return devices


def enrol_at_once(registrar, pki, devices, patience=60):
    """One association for each device, all at the same time; returns what went wrong."""
    failures = []

    def device(certificate, key, csr):
        try:
            with DtlsClient(registrar.address, certificate, key, pki / "est-ca.pem") as client:
                client.handshake(patience)
                answer, body = enrol(CoapPeer(client), csr, timeout=patience)
                if answer.status != "2.04" or not is_for(certificates(body)[0], csr):
                    failures.append(answer)
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=device, args=arguments) for arguments in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
