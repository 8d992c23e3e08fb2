"""The main job: certificates for devices, through every program (rows URI-1 to URI-3, CF-1, CF-4, CF-5, PAY-1, PAY-2, SES-1, RA-1)."""

import hashlib

import coap
import pytest
from cryptography import x509

from enrolment import CERTS_ONLY, CSRATTRS, ONE_CERT, certificates, enrol, get, is_for, join_domain, make_csr, path
from programs import est_device


def posts(est_server):
    """The requests that reached the EST server, one record each."""
    return [r for r in est_server.stats()["log"] if r["method"] == "POST"]


def test_one_session_for_all_functions(start_registrar, connect, est_server, pki):
    """SES-1, URI-1, PAY-1, RE-5: crts, att, sen and sren on one association, each at its long path upstream."""
    registrar = start_registrar()
    device = join_domain(pki)
    peer = connect(registrar, device)
    response, body = get(peer, "crts")
    assert (response.status, response.number(coap.CONTENT_FORMAT)) == ("2.05", CERTS_ONLY)
    assert body[0] == 0x30 and certificates(body)[0].public_bytes is not None
    csr = make_csr(pki, device)
    response, body = enrol(peer, csr)
    assert (response.status, response.number(coap.CONTENT_FORMAT)) == ("2.04", CERTS_ONLY)
    assert is_for(certificates(body)[0], csr)
    response, body = enrol(peer, csr := make_csr(pki, device), "sren")
    assert response.status == "2.04" and is_for(certificates(body)[0], csr)
    asked = {record["path"] for record in est_server.stats()["log"]}
    assert {"/.well-known/est/cacerts", "/.well-known/est/simpleenroll", "/.well-known/est/simplereenroll"} <= asked


def test_the_bare_certificate(start_registrar, connect, est_server, pki):
    """CF-1, CF-5: Accept 287 gives one DER certificate, the device's own, whatever the order in the PKCS#7."""
    registrar = start_registrar({"est": {"labels": ["with-ca", "ca-first"]}})
    peer = connect(registrar)
    for label in (None, "with-ca", "ca-first"):
        csr = make_csr(pki)
        response, body = enrol(peer, csr, label_name=label, accept=ONE_CERT)
        assert (response.status, response.number(coap.CONTENT_FORMAT)) == ("2.04", ONE_CERT)
        assert is_for(x509.load_der_x509_certificate(body), csr)


def test_the_csr_arrives_byte_for_byte(start_registrar, connect, est_server, pki):
    """PAY-2, POP-7: what the EST server decodes is what the device signed."""
    peer = connect(start_registrar())
    csr = make_csr(pki)
    assert enrol(peer, csr, szx=2)[0].status == "2.04"
    assert [issued["csr_sha256"] for issued in est_server.stats()["issued"]] == [hashlib.sha256(csr).hexdigest()]


def test_both_roots_are_one_service(start_registrar, connect):
    """URI-2, URI-3: the short root gives the same octets."""
    registrar = start_registrar({"est": {"root": "/e"}})
    peer = connect(registrar)
    long_root = get(peer, "crts")
    first = peer.get(("e", "crts"))
    assert first.status == "2.05"
    assert peer.fetch_rest(coap.GET, ("e", "crts"), first) == long_root[1]
    assert peer.get(("est", "crts")).status == "4.04"


def test_csrattrs(start_registrar, connect, est_server):
    """PAY-9, Q6: attributes pass unchanged; none is 4.04 unless configured otherwise."""
    peer = connect(start_registrar({"est": {"labels": ["csrattrs-3000", "csrattrs-204"]}}))
    response, body = get(peer, "att", "csrattrs-3000")
    assert (response.status, response.number(coap.CONTENT_FORMAT), body) == ("2.05", CSRATTRS, b"\x30\x00")
    assert get(peer, "att", "csrattrs-204")[0].status == "4.04"


@pytest.mark.parametrize("choice, status, body", [("4.04", "4.04", b""), ("3000", "2.05", b"\x30\x00"), ("2.05", "2.05", b"")])
def test_no_csrattrs(start_registrar, connect, choice, status, body):
    """Q6: what /att says when the EST server has none."""
    peer = connect(start_registrar({"est": {"labels": ["csrattrs-204"], "att_empty": choice}}))
    response, payload = get(peer, "att", "csrattrs-204")
    assert response.status == status
    assert status == "4.04" or payload == body


@pytest.mark.parametrize("accept", ["281", "287"])
@pytest.mark.parametrize("block_size", ["16", "64", "256", "1024"])
def test_est_device_at_every_block_size(start_registrar, pki, tmp_path, accept, block_size):
    """BLK-1: discover, crts, att, sen and sren by est-device, verified against /crts."""
    registrar = start_registrar({"est": {"att_empty": "3000"}})
    certificate, key = pki.device("light")
    records, _ = est_device("--server", f"127.0.0.1:{registrar.address[1]}", "--certificate", certificate, "--key", key,
                            "--trust", pki / "est-ca.pem", "--accept", accept, "--block-size", block_size, "--pop",
                            "--out", tmp_path / "light.pem", "--key-out", tmp_path / "light.key",
                            "discover", "crts", "att", "sen", "sren")
    assert [r["operation"] for r in records] == ["discover", "crts", "att", "sen", "sren"]
    assert [r["code"] for r in records] == ["2.05", "2.05", "2.05", "2.04", "2.04"]
    assert all(r["verified"] for r in records if r["operation"] in ("sen", "sren"))
    assert x509.load_pem_x509_certificate((tmp_path / "light.pem").read_bytes())
