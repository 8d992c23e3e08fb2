"""Which CSRs are linked to the association that brings them (rows POP-1 to POP-9, DTLS-15, DLY-7)."""

import base64

import coap
import pytest

from enrolment import CSRATTRS, certificates, enrol, get, is_for, make_csr
from programs import est_device

BINDING_OCTETS = 12
CHALLENGE_PASSWORD = bytes.fromhex("06092a864886f70d010907")


def posts(est_server):
    """How many enrolments reached the EST server."""
    return sum(r["method"] == "POST" for r in est_server.stats()["log"])


def linked_csr(pki, octets, **more):
    return make_csr(pki, "meter", "--challenge-password", base64.b64encode(octets).decode(), **more)


def flipped(octets, bit):
    changed = bytearray(octets)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def assert_refused(answer):
    """4.01, and in words that name what is missing."""
    response, body = answer
    assert response.status == "4.01" and response.get(coap.CONTENT_FORMAT) is None
    assert body.startswith(b"PoP linking") and len(body) <= 128


@pytest.fixture
def registrar(start_registrar):
    """registrar("required") starts one under this policy."""
    return lambda pop, changes=None: start_registrar({**(changes or {}), "est": {"pop": pop, **(changes or {}).get("est", {})}})


@pytest.mark.parametrize("pop", ["if-present", "required", "lenient-nonbase64"])
def test_right_and_wrong(registrar, connect, est_server, pki, pop):
    """POP-1, POP-5, POP-6: a right value passes, one with any bit wrong does not, none and nonsense as the policy says."""
    required, lenient = pop == "required", pop == "lenient-nonbase64"
    started = registrar(pop)
    peer = connect(started)
    right = peer.dtls.tls_unique()
    assert len(right) == BINDING_OCTETS
    for wrong in (flipped(right, 0), flipped(right, 95), right[:11], right + b"\0", connect(started).dtls.tls_unique()):
        assert_refused(enrol(peer, linked_csr(pki, wrong)))
    for nonsense in ("foobar", "A" * 255, base64.b64encode(right).decode()[:-1]):
        answer = enrol(peer, make_csr(pki, "meter", "--challenge-password", nonsense))
        if lenient:
            assert answer[0].status == "2.04"
        else:
            assert_refused(answer)
    assert posts(est_server) == (3 if lenient else 0)
    assert_refused(enrol(peer, linked_csr(pki, flipped(right, 8)), "sren"))
    response, body = enrol(peer, csr := linked_csr(pki, right))
    assert response.status == "2.04" and is_for(certificates(body)[0], csr)
    answer = enrol(peer, make_csr(pki))
    if required:
        assert_refused(answer)
    else:
        assert answer[0].status == "2.04"
    assert posts(est_server) == 1 + 3 * lenient + (not required)
    assert started.counters()["proofs_refused"] == 6 + 3 * (not lenient) + required


def test_after_resumption(registrar, connect, est_server, pki):
    """POP-2: in a resumed session it is the server's Finished, and the client's proves nothing."""
    started = registrar("required")
    full = connect(started)
    assert enrol(full, linked_csr(pki, full.dtls.finished()))[0].status == "2.04"
    assert_refused(enrol(full, linked_csr(pki, full.dtls.peer_finished())))
    peer = connect(started, session=full.dtls.session())
    assert peer.dtls.resumed()
    assert_refused(enrol(peer, linked_csr(pki, peer.dtls.finished())))
    assert_refused(enrol(peer, linked_csr(pki, full.dtls.finished())))
    assert posts(est_server) == 1
    assert enrol(peer, linked_csr(pki, peer.dtls.peer_finished()))[0].status == "2.04"
    assert posts(est_server) == 2


@pytest.mark.parametrize("pop", ["if-present", "required"])
def test_without_the_extended_master_secret(registrar, connect, est_server, pki, pop):
    """DTLS-15: then tls-unique proves nothing. Where proof is required none is taken; elsewhere a wrong one is still wrong."""
    peer = connect(registrar(pop), extended_master_secret=False)
    right = peer.dtls.tls_unique()
    assert_refused(enrol(peer, linked_csr(pki, flipped(right, 7))))
    answer = enrol(peer, linked_csr(pki, right))
    if pop == "required":
        assert_refused(answer)
        assert b"extended master secret" in answer[1]
        assert_refused(enrol(peer, make_csr(pki)))
    else:
        assert answer[0].status == "2.04"
    assert posts(est_server) == (pop == "if-present")


def test_a_fragmented_handshake(registrar, connect, est_server, pki):
    """POP-4: the value does not depend on how the handshake was cut into fragments."""
    peer = connect(registrar("required", {"dtls": {"handshake_mtu": 256}}), mtu=256)
    assert max(len(d) for d in peer.dtls.received) <= 256
    assert enrol(peer, linked_csr(pki, peer.dtls.tls_unique()))[0].status == "2.04"
    assert_refused(enrol(peer, linked_csr(pki, flipped(peer.dtls.tls_unique(), 50))))
    assert posts(est_server) == 1


def test_keys_of_the_servers(registrar, connect, est_server, pki):
    """POP-9: what the device does not own it cannot prove; a wrong proof is still a refusal."""
    peer = connect(registrar("required", {"est": {"skg": True, "skc": True}}))
    for operation in ("skg", "skc"):
        assert_refused(enrol(peer, linked_csr(pki, b"\0" * BINDING_OCTETS), operation))
    assert posts(est_server) == 0
    for csr in (make_csr(pki), linked_csr(pki, peer.dtls.tls_unique())):
        assert enrol(peer, csr, "skg")[0].status == "2.04"
    assert posts(est_server) == 2


def test_it_is_announced(registrar, connect, est_server):
    """POP-8: /att has the OID under required, from the EST server or from us; all else stays to the octet."""
    other, both = "06022a03", "06022a03" + CHALLENGE_PASSWORD.hex()
    announcement = b"\x30" + bytes([len(CHALLENGE_PASSWORD)]) + CHALLENGE_PASSWORD
    expected = {"csrattrs-204": announcement, "status-404": announcement, "csrattrs-3000": announcement,
                f"csrattrs-3004{other}": bytes.fromhex("300f" + both), f"csrattrs-300f{both}": bytes.fromhex("300f" + both)}
    peer = connect(registrar("required", {"est": {"labels": list(expected)}}))
    for name, body in expected.items():
        for _ in range(2):  # from the EST server, and from memory
            response, payload = get(peer, "att", name)
            assert (response.status, response.number(coap.CONTENT_FORMAT), payload) == ("2.05", CSRATTRS, body), name
    peer = connect(registrar("if-present", {"est": {"labels": list(expected)}}))
    assert get(peer, "att", f"csrattrs-3004{other}")[1] == bytes.fromhex("3004" + other)
    assert get(peer, "att", "csrattrs-204")[0].status == "4.04"


def test_the_identical_csr_collects_its_certificate(registrar, connect, est_server, pki):
    """DLY-7: what passed once passes again over a new association, for its own device; so does a CSR that is rebuilt with a
    right proof, and none with a wrong one. One upstream request."""
    started = registrar("required")
    peer = connect(started)
    csr = linked_csr(pki, peer.dtls.tls_unique(), new_key=False)
    assert_refused(enrol(connect(started), csr))  # it is not known yet
    certificate = enrol(peer, csr)[1]
    peer.dtls.close()
    peer = connect(started)
    assert enrol(peer, csr)[1] == certificate
    assert enrol(peer, linked_csr(pki, peer.dtls.tls_unique(), new_key=False))[1] == certificate
    assert_refused(enrol(peer, linked_csr(pki, flipped(peer.dtls.tls_unique(), 1), new_key=False)))
    assert_refused(enrol(connect(started, device="thief"), csr))
    assert posts(est_server) == 1


def device(registrar, pki, *arguments, check=True):
    certificate, key = pki.device("light")
    return est_device("--server", f"127.0.0.1:{registrar.address[1]}", "--certificate", certificate, "--key", key, "--trust",
                      pki / "est-ca.pem", *arguments, check=check)[0]


def test_est_device(registrar, est_server, pki, tmp_path):
    """POP-1, POP-2, POP-8, DLY-7 as a device sees them: after a full handshake, after resumption, with a bit wrong, and with a CSR
    that it repeats."""
    started = registrar("required")
    records = device(started, pki, "--pop", "att", "sen", "resume", "sen", "sren")
    assert "challengePassword" in records[0]["attributes"]
    assert [r["dtls"]["resumed"] for r in records[1:4]] == [False, True, True]
    assert posts(est_server) == 3
    csr, serials = tmp_path / "csr.der", set()
    for arguments in (["--pop", "--csr-out", csr, "--key-out", tmp_path / "key.pem"], ["--csr", csr]):
        serials.add(device(started, pki, *arguments, "sen")[-1]["certificate"]["serial"])
    assert len(serials) == 1 and posts(est_server) == 4
    for arguments in (["--pop-wrong"], []):
        refused = device(started, pki, *arguments, "sen", check=False)[-1]
        assert refused["code"] == "4.01" and "PoP linking" in refused["diagnostic"]
    assert posts(est_server) == 4
