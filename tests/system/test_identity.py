"""As whom a device may enrol (rows RE-1 to RE-5), what becomes of it with its trust anchor (SES-3), and what the EST server hears of it."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

import der
import revocation
from dtls import Closed, DtlsError
from enrolment import certificates, enrol, get, is_for, join_domain, make_csr, subject


def reached(est_server):
    """How many requests reached the EST server."""
    return len(est_server.stats()["log"])


def test_renewal(start_registrar, connect, est_server, pki):
    """RE-1, RE-3, RE-4: /sren takes a certificate of the domain, for its own subject and subjectAltName, under the old key or a new one."""
    registrar = start_registrar({"access": {"csr_identity": "any"}})
    plain = join_domain(pki, "plain")
    named = join_domain(pki, "named-member", "--san", "dns:named.example,ip:192.0.2.7")
    san = ("--san", "dns:named.example,ip:192.0.2.7")
    refused = [
        ("meter", make_csr(pki, "meter"), b"only a certificate of this domain can be renewed; use /sen"),
        (plain, make_csr(pki, plain, subject_name=subject("other", "SN-plain")), b"the CSR's subject is not that"),
        (plain, make_csr(pki, plain, subject_name="/O=Example/OU=x/CN=plain/serialNumber=SN-plain"), b"the CSR's subject is not that"),
        (plain, make_csr(pki, plain, "--san", "dns:plain.example"), b"the CSR's subjectAltName is not that"),
        (named, make_csr(pki, named), b"the CSR's subjectAltName is not that"),
        (named, make_csr(pki, named, *san[:1], "dns:named.example"), b"the CSR's subjectAltName is not that"),
        (named, make_csr(pki, named, *san[:1], "dns:named.example,ip:192.0.2.7,dns:more.example"), b"the CSR's subjectAltName is not"),
    ]
    peers = {device: connect(registrar, device) for device in ("meter", plain, named)}
    for device, csr, reason in refused:
        answer = enrol(peers[device], csr, "sren")[0]
        assert answer.status == "4.03" and answer.payload.startswith(reason), (device, reason, answer.payload)
        assert len(answer.payload) <= 128
    assert reached(est_server) == 0
    for count, (device, csr) in enumerate([(plain, make_csr(pki, plain)), (plain, make_csr(pki, plain, new_key=False)),
                                           (named, make_csr(pki, named, *san))], 1):
        answer, body = enrol(peers[device], csr, "sren")
        assert answer.status == "2.04" and is_for(certificates(body)[0], csr)
        assert reached(est_server) == count
    registrar.program.wait_for('operation=sren .*code=4.03 .*"only a certificate of this domain can be renewed')


def test_trust_that_is_withdrawn(start_registrar, connect, est_server, pki):
    """SES-3: whoever was let in by a trust store that is no more has to shake hands again."""
    member = join_domain(pki)
    registrar = start_registrar({"coap": {"ack_timeout_ms": 1000, "ack_random_factor": 1, "separate_after_ms": 500}})
    peers = {device: connect(registrar, device) for device in (member, "meter")}
    assert all(get(peer)[0].status == "2.05" for peer in peers.values())
    registrar.reload({"dtls": {"domain_trust": [str(pki / "other-ca.pem")]}})
    before = reached(est_server)
    answer = enrol(peers[member], make_csr(pki, member))[0]
    assert answer.status == "4.01" and b"trust anchors have changed" in answer.payload
    with pytest.raises(Closed):
        peers[member].receive(10)
    with pytest.raises(DtlsError, match="unknown ca"):
        connect(registrar, member)
    assert reached(est_server) == before
    assert enrol(peers["meter"], make_csr(pki, "meter"))[0].status == "2.04"


def test_change_subject_name(start_registrar, connect, est_server, pki):
    """RE-2: a CSR that keeps the device's name may still ask for another one by attribute (RFC 6402 section 2.8): by policy only."""
    registrar = start_registrar()
    peer = connect(registrar)
    key = serialization.load_pem_private_key(pki.device("meter")[1].read_bytes(), None)
    wish = der.attribute("1.3.6.1.5.5.7.7.36", der.tlv(0x30, der.tlv(0x30, der.tlv(0x31, der.tlv(0x30, der.oid("2.5.4.3"), der.tlv(0x0c, b"valve"))))))
    csr = der.change_csr(make_csr(pki, new_key=False), [wish], sign=lambda octets: key.sign(octets, ec.ECDSA(hashes.SHA256())))
    response = enrol(peer, csr)[0]
    assert response.status == "4.03" and b"ChangeSubjectName" in response.payload and reached(est_server) == 0
    registrar.reload({"access": {"csr_identity": "any"}})
    assert enrol(peer, csr)[0].status == "2.04" and reached(est_server) == 1


@pytest.mark.parametrize("on", [False, True])
def test_client_cert_header(start_registrar, connect, est_server, pki, on):
    """RFC 9440: the EST server hears for whom the RA speaks, if the operator wants it, and with POSTs only."""
    peer = connect(start_registrar({"upstream": {"client_cert_header": on}}))
    csr = make_csr(pki)
    assert enrol(peer, csr)[0].status == "2.04"
    assert get(peer)[0].status == "2.05"
    log = est_server.stats()["log"]
    sent = {record["method"]: record["client_cert"] for record in log}
    assert sent["GET"] is None
    if not on:
        assert sent["POST"] is None
        return
    assert sent["POST"][0] == sent["POST"][-1] == ":"
    certificate = revocation.load(pki / "meter.crt").public_bytes(Encoding.DER)
    assert base64.b64decode(sent["POST"][1:-1], validate=True) == certificate
