"""profile libest against est-servers with every quirk of libest (tests/est_server/README.md has the table), wedging included."""

import time

import cbor2
import coap
import pytest
from cryptography.hazmat.primitives import serialization

import programs
import short_lived
from enrolment import certificates, enrol, enrol_at_once, get, is_for, join_domain, make_csr, many_devices, spki

USER, PASSWORD = "estuser", "estpwd"
DEVICES = 200
PATIENCE_MS = 200000  # of devices and registrar: all are served in the end, however slow the machine is
PKCS8, CERTS_ONLY = 284, 281


@pytest.fixture(scope="module")
def password_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("password") / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o600)
    return str(file)


@pytest.fixture
def start_libest(pki, tmp_path_factory, password_file):
    """start_libest(scheme) wants a certificate and HTTP authentication, as libest does by default; start_libest() the certificate alone."""
    servers = []

    def start(scheme=None):
        both = ["--auth", "both", "--http-auth", scheme, "--user", USER, "--password-file", password_file] if scheme else []
        servers.append(programs.EstServer(pki, tmp_path_factory.mktemp("libest"), "--libest", *both))
        return servers[-1]

    yield start
    for server in servers:
        server.program.stop()


def upstream(*servers, **more):
    return {"profile": "libest", "servers": [server.url for server in servers], **more}


def requests(server):
    return server.stats()["log"]


@pytest.mark.parametrize("scheme", [None, "basic", "digest"])
def test_every_operation(start_registrar, connect, start_libest, password_file, pki, scheme):
    """cacerts, csrattrs with its NUL, enrolment and re-enrolment, and a key in SEC1, which the device gets as PKCS#8."""
    server = start_libest(scheme)
    login = {"username": USER, "password_file": password_file} if scheme else {}
    device = join_domain(pki)
    peer = connect(start_registrar({"est": {"skg": True}, "upstream": upstream(server, **login)}), device)
    assert get(peer, "crts")[0].status == "2.05"
    answer, attributes = get(peer, "att")
    assert answer.status == "2.05" and attributes == (pki / "csrattrs.der").read_bytes()
    for operation in ("sen", "sren"):
        csr = make_csr(pki, device)
        answer, body = enrol(peer, csr, operation)
        assert answer.status == "2.04" and is_for(certificates(body)[0], csr)
    answer, body = enrol(peer, make_csr(pki, device), "skg")
    assert answer.status == "2.04"
    kind, key, _, chain = cbor2.loads(body)
    assert kind == PKCS8
    assert spki(serialization.load_der_private_key(key, None).public_key()) in [spki(c.public_key()) for c in certificates(chain)]
    assert len({r["connection"] for r in requests(server)}) >= 5  # none was kept


def test_its_other_answers(start_registrar, connect, start_libest, pki):
    """No attributes (204), attributes as configured (without NUL), a key in PKCS#1, a CA that refuses, RSA keys that take a while."""
    labels = ["csrattrs-204", "csrattrs-3000", "status-500", "key-pkcs1.delay-1500"]
    registrar = start_registrar({"est": {"skg": True, "labels": labels}, "upstream": upstream(start_libest())})
    peer = connect(registrar)
    assert get(peer, "att", "csrattrs-204")[0].status == "4.04"
    assert get(peer, "att", "csrattrs-3000")[1] == b"\x30\x00"
    answer, body = enrol(peer, make_csr(pki), "skg", "key-pkcs1.delay-1500")
    assert answer.status == "2.04"
    assert serialization.load_der_private_key(cbor2.loads(body)[1], None).key_size == 2048
    assert enrol(peer, make_csr(pki), label_name="status-500")[0].status == "5.00"


def test_without_its_password(start_registrar, connect, start_libest, pki):
    """4.01 after one request; cacerts and csrattrs need none."""
    server = start_libest("basic")
    peer = connect(start_registrar({"upstream": upstream(server)}))
    assert get(peer, "crts")[0].status == "2.05"
    assert get(peer, "att")[0].status == "2.05"
    assert enrol(peer, make_csr(pki))[0].status == "4.01"
    assert len([r for r in requests(server) if r["method"] == "POST"]) == 1


def test_what_it_would_refuse(start_registrar, connect, start_libest, pki):
    """A CSR whose base64 has more than 8192 octets is 4.13 before libest is asked."""
    server = start_libest()
    peer = connect(start_registrar({"upstream": upstream(server)}))
    long_csr = make_csr(pki, "meter", "--challenge-password", "x" * 255) + b"\0" * 6100
    answer, _ = peer.post_blocks((".well-known", "est", "sen"), long_csr, 6, [(coap.CONTENT_FORMAT, coap.uint(286))])
    assert answer.status == "4.13"
    assert not requests(server)


def test_manual_approval(start_registrar, connect, start_libest, pki):
    """202 without a length, and a connection that closes without saying so: 5.03 until somebody approves."""
    server = start_libest()
    peer = connect(start_registrar({"est": {"labels": ["manual"], "retry_after_s": 1, "retry_after_max_s": 1}, "upstream": upstream(server)}))
    csr = make_csr(pki)
    answer, _ = enrol(peer, csr, label_name="manual")
    assert (answer.status, answer.number(coap.MAX_AGE)) == ("5.03", 1)  # libest says 60, retry_after_max_s less
    server.ask("/approve", "POST")
    deadline = time.monotonic() + 20
    while (answer := enrol(peer, csr, label_name="manual"))[0].status == "5.03" and time.monotonic() < deadline:
        time.sleep(answer[0].number(coap.MAX_AGE))
    assert answer[0].status == "2.04" and is_for(certificates(answer[1])[0], csr)
    assert len(server.stats()["issued"]) == 1


def test_two_hundred_devices_at_once(start_registrar, connect, start_libest, pki, tmp_path):
    """With two workers, probes of a second libest all the while, and the RA's own renewal: four connections in all, and neither is ever wedged."""
    servers = [start_libest(), start_libest()]
    due = str(short_lived.write_both(tmp_path / "ra.pem", *short_lived.issue(pki, "old RA", purposes=[short_lived.CLIENT, short_lived.CMC_RA])))
    settings = upstream(*servers, selection="round-robin", probe_interval_ms=1, certificate=due, private_key=due, renew=True, timeout_ms=PATIENCE_MS)
    registrar = start_registrar({"workers": 2, "coap": {"answer_within_ms": PATIENCE_MS}, "upstream": settings})
    assert not enrol_at_once(registrar, pki, many_devices(pki, tmp_path, DEVICES), PATIENCE_MS / 1000)
    registrar.program.wait_for(r"upstream\.certificate: .* is renewed")
    assert get(connect(registrar), "crts")[0].status == "2.05"
    counters = registrar.counters()
    assert counters["in_doubt"] == counters["upstream_failures"] == 0
    assert counters["upstream_probes"] >= 2
    stats = [server.stats() for server in servers]
    assert sum(len(s["issued"]) for s in stats) == DEVICES + 1
    assert all(len(s["issued"]) >= DEVICES / 4 for s in stats)
    assert all(s["connections"]["max_open_est"] <= 4 for s in stats)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_never_wedged(start_registrar, connect, start_libest, pki, tmp_path, workers):
    """Twenty devices at once, and then others, find all its five workers alive."""
    server = start_libest()
    registrar = start_registrar({"workers": workers, "upstream": upstream(server)})
    devices = many_devices(pki, tmp_path, 25)
    assert not enrol_at_once(registrar, pki, devices[:20])
    assert get(connect(registrar), "crts")[0].status == "2.05"
    assert not enrol_at_once(registrar, pki, devices[20:])
    assert server.stats()["connections"]["max_open_est"] <= 4
