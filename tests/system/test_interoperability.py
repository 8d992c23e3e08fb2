"""Other people's clients: Debian's coap-client over OpenSSL and over GnuTLS, at every block size (BLK-1, CF-1, DISC-1); openssl and gnutls-cli."""

import pytest
from cryptography import x509

import programs
from enrolment import certificates, is_for, make_csr

FLAVOURS = ["openssl", "gnutls"]
SIZES = [16, 64, 256, 1024]


@pytest.fixture
def client(start_registrar, pki, tmp_path):
    registrar = start_registrar({"coap": {"block_size": 1024}})
    certificate, key = pki.device("stock", None, "--ca", "manufacturer-ca")

    def call(flavour, method, resource, *options, body=None):
        out = tmp_path / "out"
        out.unlink(missing_ok=True)
        command = [programs.coap_client(flavour), "-m", method, "-B", "20", "-o", out, "-c", certificate, "-j", key,
                   "-C", pki / "est-ca.pem", *options]
        if body is not None:
            (tmp_path / "body").write_bytes(body)
            command += ["-f", tmp_path / "body"]
        result = programs.run([*command, f"coaps://127.0.0.1:{registrar.address[1]}/{resource}"])
        assert out.exists(), result.stdout.decode() + result.stderr.decode()
        return out.read_bytes()

    return call


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_discovery(client, flavour):
    assert b'</est/sen>;rt="ace.est.sen"' in client(flavour, "get", ".well-known/core?rt=ace.est*").replace(b"rt=ace.est.sen", b'rt="ace.est.sen"')


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_ca_certificates(client, flavour, size):
    assert certificates(client(flavour, "get", ".well-known/est/crts", "-b", size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_enrolment(client, est_server, pki, flavour, size):
    """One upstream POST for each, and the right certificate."""
    csr = make_csr(pki, "stock")
    body = client(flavour, "post", ".well-known/est/sen", "-b", size, "-t", "286", "-A", "281", body=csr)
    assert is_for(certificates(body)[0], csr)
    csr = make_csr(pki, "stock")
    body = client(flavour, "post", "est/sen", "-b", size, "-t", "286", "-A", "287", body=csr)
    assert is_for(x509.load_der_x509_certificate(body), csr)
    assert len(est_server.stats()["issued"]) == 2


def test_openssl_s_client(start_registrar, pki):
    """DTLS-3, DTLS-11, DTLS-13: handshake with stock OpenSSL at a small MTU; the chain it shows has no root."""
    registrar = start_registrar()
    certificate, key = pki.device("stock", None, "--ca", "manufacturer-ca")
    result = programs.run(["openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{registrar.address[1]}", "-mtu", "256", "-cert", certificate,
                           "-key", key, "-CAfile", pki / "est-ca.pem", "-cipher", "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0", "-showcerts"],
                          input=b"Q\n", check=False, timeout=20)
    text = result.stdout.decode()
    assert "Cipher is ECDHE-ECDSA-AES128-CCM8" in text and "Verify return code: 0 (ok)" in text
    assert text.count("BEGIN CERTIFICATE") <= 3


def test_gnutls_cli(start_registrar, pki):
    """An independent DTLS stack completes a handshake with mutual certificates."""
    registrar = start_registrar()
    certificate, key = pki.device("stock", None, "--ca", "manufacturer-ca")
    result = programs.run(["gnutls-cli", "--udp", "--mtu", "512", "-p", registrar.address[1], "--x509certfile", certificate,
                           "--x509keyfile", key, "--x509cafile", pki / "est-ca.pem", "--priority",
                           "NORMAL:-VERS-ALL:+VERS-DTLS1.2:+AES-128-CCM-8", "localhost"],
                          input=b"", check=False, timeout=20)
    assert b"Handshake was completed" in result.stdout, result.stdout + result.stderr
