"""What can go wrong towards an EST server: each fault gives the device the code of docs/mapping.md within the configured time, and the others go on.

| fault | POST | in doubt | others meanwhile | test |
|---|---|---|---|---|
| DNS has no such name | 5.04 | no | handshakes, discovery | test_names |
| DNS is a black hole | 5.04 | no | handshakes, discovery | test_names, test_the_resolver_blocks_nobody |
| DNS answers late, with many addresses | 2.04 | no | handshakes, discovery | test_a_late_name_with_many_addresses |
| the first address is a black hole, the next one is not | 2.04 | no | | test_a_black_hole_among_addresses |
| connection refused | 5.04 | no | handshakes, refused by us, /crts from memory | test_before_a_request_can_leave |
| black hole: SYNs are dropped | 5.04 | no | the same, and enrolments by the next server | test_before_…, test_a_black_hole_delays_nobody, test_a_black_hole_and_another_server |
| black hole: connected, never a word | 5.04 | no | the same | the same |
| reset in the TLS handshake | 5.02 | no | handshakes, refused by us, /crts from memory | test_before_… |
| no TLS at all | 5.02 | no | the same | test_before_… |
| certificate expired, of another CA, for another name | 5.02 | no | the same | test_an_expired_certificate (wrong CA and name: system/upstream) |
| the RA's own certificate expired, of another CA | 5.02 (5.04 where a reset overtakes the alert) | no (where it does, perhaps) | handshakes, discovery | test_an_expired_certificate_of_ours |
| reset, closed, cut off after the request | 5.02 | yes | enrolments at the same server | test_after_the_request_has_left |
| no answer, or one that drips | 5.04 | yes | enrolments | test_after_…, test_a_slow_server_delays_nobody |
| oversize body, endless header, no HTTP, garbage, wrong type | 5.02 | yes | enrolments | test_after_… |
| 5xx storm | 5.00 to 5.04 as they say | 502 and 504 | enrolments | test_a_storm |
| flapping | 2.04 by the next server | no | | system/servers: test_ordered |

What others do meanwhile is shown by order, not by a clock: the fault is on from before they begin until after they have ended.
"""

import concurrent.futures
import socket
import threading
import time

import coap
import pytest

import programs
import short_lived as made
from enrolment import POST_OPTIONS, certificates, enrol, get, is_for, make_csr, path
from front import Front

PATIENCE_S = 15  # beyond what is configured, on a busy machine; the defaults would be 120 s
OTHERS = 5


@pytest.fixture
def front(est_server):
    door = Front(est_server)
    yield door
    door.stop()


def enrolled(peer, pki, **more):
    csr = make_csr(pki)
    answer, body = enrol(peer, csr, **more)
    return answer.status == "2.04" and is_for(certificates(body)[0], csr)


def assert_fault(peer, pki, status, configured_ms, label=None):
    """The device hears it in time, by what is configured."""
    begin = time.monotonic()
    answer, _ = enrol(peer, make_csr(pki), label_name=label)
    assert answer.status == status, label
    assert time.monotonic() - begin < configured_ms / 1000 + PATIENCE_S


QUICK = {"connect_timeout_ms": 500, "timeout_ms": 800}


def during(fault, others):
    """The fault happens to one device, again and again, from before the others begin until they have ended. How often."""
    begun, over, times = threading.Event(), threading.Event(), 0

    def go_on():
        nonlocal times
        try:
            while not over.is_set():
                fault()
                times += 1
                begun.set()
        finally:
            begun.set()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        faults = pool.submit(go_on)
        try:
            begun.wait()
            others()
        finally:
            over.set()
        faults.result()
    return times


def served_by_the_registrar(registrar, connect):
    """What needs no EST server, or not now."""
    for number in range(OTHERS):
        other = connect(registrar, device=f"other{number}")
        assert get(other, "crts")[0].status == "2.05"
        assert enrol(other, b"no CSR")[0].status == "4.00"


@pytest.mark.parametrize("mode, status", [("refuse", "5.04"), ("deaf", "5.04"), ("silent", "5.04"), ("reset", "5.02"), ("babble", "5.02")])
def test_before_a_request_can_leave(start_registrar, connect, front, pki, mode, status):
    """Nothing has left: nothing is in doubt, and the same device may ask again at once. Others go on."""
    limits = QUICK if mode in ("silent", "deaf") else {}
    registrar = start_registrar({"upstream": {**limits, "max_failures": 1000}}, upstream_url=front.url)
    assert get(connect(registrar), "crts")[0].status == "2.05"
    front.set(mode)
    peer = connect(registrar)
    times = during(lambda: assert_fault(peer, pki, status, 800), lambda: served_by_the_registrar(registrar, connect))
    counters = registrar.counters()
    assert counters["in_doubt"] == 0 and counters["upstream_requests"] == 1
    assert counters["upstream_failures"] == times >= 1


def test_an_expired_certificate(start_registrar, connect, pki, tmp_path):
    """RA-2"""
    certificate, key = pki.device("expired-server", None, "--ca", "est-ca", "--san", "dns:localhost", "--expired")
    server = programs.EstServer(pki, tmp_path, "--certificate", certificate, "--key", key)
    try:
        registrar = start_registrar({"upstream": {"max_failures": 1000}}, upstream_url=server.url)
        peer = connect(registrar)

        def others():
            for number in range(OTHERS):
                assert connect(registrar, device=f"other{number}").get((".well-known", "core")).status == "2.05"

        during(lambda: assert_fault(peer, pki, "5.02", 0), others)
        registrar.program.wait_for(r"no TLS connection with the EST server: .*expired")
        assert registrar.counters()["in_doubt"] == registrar.counters()["upstream_requests"] == 0
    finally:
        server.program.stop()


def test_an_expired_certificate_of_ours(start_registrar, connect, est_server, pki, tmp_path):
    """With TLS 1.3 the EST server says so when the request is under way; it has read none of it. (Without doubt, unless its reset overtakes its
    alert: unit/registrar/upstream/https_connection_test.c.)"""
    expired = str(made.write_both(tmp_path / "ra.pem", *made.issue(pki, "expired RA", purposes=[made.CLIENT, made.CMC_RA], days=(-20, -1))))
    registrar = start_registrar({"upstream": {"certificate": expired, "private_key": expired}})
    registrar.program.wait_for(rf"warning registrar: .*{expired}\" expired on ")
    peer = connect(registrar)

    def fault():
        assert enrol(peer, make_csr(pki))[0].status in ("5.02", "5.04")

    def others():
        for number in range(OTHERS):
            assert connect(registrar, device=f"other{number}").get((".well-known", "core")).status == "2.05"

    during(fault, others)
    assert not est_server.stats()["issued"]


BAD = {label: "5.02" for label in ("reset", "close", "close-after-post", "cut-off", "oversize-100000", "long-head-40000", "not-http", "garbage",
                                   "broken-base64", "type-html", "empty")}
SLOW = {"hang": "5.04", "drip-20": "5.04"}


@pytest.mark.parametrize("faults, limits", [(BAD, {}), (SLOW, {"connect_timeout_ms": 2500, "timeout_ms": 2500})], ids=["bad", "slow"])
def test_after_the_request_has_left(start_registrar, connect, est_server, pki, faults, limits):
    """Each is in doubt; other devices enrol at the same server while it goes on."""
    registrar = start_registrar({"est": {"labels": list(faults)}, "upstream": limits})
    others = [connect(registrar, device=f"other{number}") for number in range(2)]
    peer = connect(registrar)
    for times, (label, status) in enumerate(faults.items(), 1):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            fault = pool.submit(assert_fault, peer, pki, status, 2500, label)
            for number, other in enumerate(others):
                csr = make_csr(pki, f"other{number}")
                answer, body = enrol(other, csr)
                assert answer.status == "2.04" and is_for(certificates(body)[0], csr), label
            fault.result()
        assert registrar.counters()["in_doubt"] == times, label
    assert registrar.counters()["upstream_circuits_opened"] == 0


STORM = {"500": "5.00", "501": "5.01", "502": "5.02", "503": "5.03", "504": "5.04", "507": "5.00"}


def test_a_storm(start_registrar, connect, est_server, pki):
    """Requests without end that are answered 5xx: each device hears its own; one that has no part in it enrols all the while."""
    unlimited = {"max_pending": 100000, "max_pending_per_client": 100000}  # each doubt is an entry
    registrar = start_registrar({"est": {"labels": [f"status-{status}" for status in STORM], **unlimited}})
    stormy, calm = connect(registrar, device="storm"), connect(registrar)
    doubts = 0
    for status, code in STORM.items():
        def storm():
            answer, _ = enrol(stormy, make_csr(pki, "storm"), label_name=f"status-{status}")
            assert answer.status == code

        def others():
            for _ in range(2):
                assert enrolled(calm, pki)

        times = during(storm, others)
        doubts += times if status in ("502", "504") else 0
    assert registrar.counters()["in_doubt"] == doubts
    assert registrar.counters()["upstream_circuits_opened"] == 0  # there is no better server


PATIENT = {"connect_timeout_ms": 60000, "timeout_ms": 120000}


def await_black_hole(front, mode):
    front.await_knock() if mode == "deaf" else front.await_connections(1)


@pytest.mark.parametrize("mode", ["silent", "deaf"])
def test_a_black_hole_delays_nobody(start_registrar, connect, front, pki, mode):
    """One device waits for a server that says nothing, or not even takes the connection, for as long as this test likes; all others are served:
    from memory, by handshakes, and refused by us. Only when it has ended does the first hear of it."""
    registrar = start_registrar({"upstream": PATIENT}, upstream_url=front.url)
    assert get(connect(registrar), "crts")[0].status == "2.05"
    front.set(mode)
    waiting = connect(registrar, device="waiting")
    request = waiting.send(waiting.message(coap.POST, path("sen"), make_csr(pki, "waiting"), options=POST_OPTIONS))
    await_black_hole(front, mode)
    served_by_the_registrar(registrar, connect)
    assert registrar.counters()["upstream_failures"] == 0
    front.set("refuse")  # ends the connection, and refuses the next SYN
    assert waiting.answer_to(request, timeout=PATIENCE_S).status in ("5.02", "5.04")
    assert registrar.counters()["in_doubt"] == 0


@pytest.mark.parametrize("mode", ["silent", "deaf"])
def test_a_black_hole_and_another_server(start_registrar, connect, est_server, front, pki, mode):
    """Of two EST servers that take turns one is a black hole: who waits for it waits, and everybody else enrols at the other."""
    settings = {**PATIENT, "servers": [front.url, est_server.url], "selection": "round-robin", "probe_interval_ms": 0, "max_connections": 16}
    registrar = start_registrar({"upstream": settings})
    front.set(mode)
    waiting = connect(registrar, device="waiting")
    request = waiting.send(waiting.message(coap.POST, path("sen"), make_csr(pki, "waiting"), options=POST_OPTIONS))
    await_black_hole(front, mode)
    others = [connect(registrar, device=f"other{number}") for number in range(OTHERS)]
    held = []
    for number, other in enumerate(others):  # each second one is sent into the black hole
        assert enrolled_as(other, pki, f"other{number}")
        held.append(other.send(other.message(coap.POST, path("sen"), make_csr(pki, f"other{number}"), options=POST_OPTIONS)))
    front.set("refuse")
    assert waiting.answer_to(request, timeout=PATIENCE_S).status == "2.04"  # nothing had left: the next server
    for other, each in zip(others, held):
        assert other.answer_to(each, timeout=PATIENCE_S).status == "2.04"
    assert registrar.counters()["in_doubt"] == 0


def enrolled_as(peer, pki, device):
    csr = make_csr(pki, device)
    answer, body = enrol(peer, csr)
    return answer.status == "2.04" and is_for(certificates(body)[0], csr)


def test_a_slow_server_delays_nobody(start_registrar, connect, est_server, pki):
    """One enrolment hangs at the server for as long as this test likes; others enrol there meanwhile."""
    label = "hang.tag-slow"
    registrar = start_registrar({"drain_ms": 0, "est": {"labels": [label]}, "upstream": PATIENT})
    waiting = connect(registrar, device="waiting")
    request = waiting.send(waiting.message(coap.POST, path("sen", label), make_csr(pki, "waiting"), options=POST_OPTIONS))
    registrar.await_counter("upstream_requests", 1)
    for number in range(OTHERS):
        assert enrolled_as(connect(registrar, device=f"other{number}"), pki, f"other{number}")
    counters = registrar.counters()
    assert counters["upstream_requests"] == 1 + OTHERS and counters["upstream_failures"] == 0


class NameServer:
    """DNS of the test's own: silent, until it is told to say that there is no such name, or where it is."""

    def __init__(self):
        for last in range(1, 255):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self.address = f"127.53.{last}.1"
                self.socket.bind((self.address, 53))
                break
            except OSError:
                self.socket.close()
        self.socket.settimeout(0.1)
        self.silent, self.ended, self.asked = True, False, threading.Event()
        self.addresses = []  # of every name
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        unanswered = []
        while not self.ended:
            try:
                unanswered.append(self.socket.recvfrom(1024))
                self.asked.set()
            except TimeoutError:
                pass
            while unanswered and not self.silent:
                query, client = unanswered.pop()
                self.socket.sendto(self._answer(query), client)

    def _answer(self, query):
        """RFC 1035 section 4.1: the question again, and its addresses if it asks for IPv4's."""
        end = query.index(b"\0", 12) + 5
        found = self.addresses if query[end - 4:end] == b"\0\1\0\1" else []
        flags = b"\x81\x80" if self.addresses else b"\x81\x83"
        records = b"".join(b"\xc0\x0c\0\1\0\1" + bytes(4) + b"\0\4" + socket.inet_aton(address) for address in found)
        return query[:2] + flags + b"\0\1" + len(found).to_bytes(2, "big") + bytes(4) + query[12:end] + records

    def stop(self):
        self.silent = False
        self.ended = True
        self.thread.join()
        self.socket.close()


@pytest.fixture
def name_server():
    server = NameServer()
    yield server
    server.stop()


@pytest.fixture
def under(name_server, tmp_path):
    """A mount namespace of the registrar's own, where that is the only name server."""
    (tmp_path / "resolv.conf").write_text(f"nameserver {name_server.address}\noptions timeout:30 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    return mounting(tmp_path, "resolv.conf", "nsswitch.conf")


def mounting(folder, *names):
    """Before a command: files of the folder in the place of those of /etc, for it alone."""
    mounts = " && ".join(f"mount --bind {folder}/{name} $(readlink -f /etc/{name})" for name in names)
    return ["unshare", "--mount", "sh", "-c", mounts + ' && exec "$@"', "sh"]


@pytest.mark.parametrize("silent", [False, True])
def test_names(start_registrar, connect, name_server, under, pki, silent):
    """A name that is not there, and a name server that never answers, are 5.04 within connect_timeout_ms."""
    name_server.silent = silent
    registrar = start_registrar({"upstream": QUICK}, upstream_url="https://est.example:8443", under=under)
    peer = connect(registrar)

    def others():
        for number in range(OTHERS):
            assert connect(registrar, device=f"other{number}").get((".well-known", "core")).status == "2.05"

    during(lambda: assert_fault(peer, pki, "5.04", 500), others)
    assert name_server.asked.is_set()
    assert registrar.counters()["in_doubt"] == 0


def test_a_late_name_with_many_addresses(start_registrar, connect, name_server, under, pki, tmp_path):
    """The name server thinks for as long as this test likes, and then names thirty addresses, of which only the last one listens."""
    certificate, key = pki.device("named-server", None, "--ca", "est-ca", "--san", "dns:est.example")
    server = programs.EstServer(pki, tmp_path, "--certificate", certificate, "--key", key)
    try:
        registrar = start_registrar({"upstream": PATIENT}, upstream_url=f"https://est.example:{server.port}", under=under)
        peer = connect(registrar)
        request = peer.send(peer.message(coap.POST, path("sen"), make_csr(pki), options=POST_OPTIONS))
        assert name_server.asked.wait(PATIENCE_S)
        assert connect(registrar, device="other0").get((".well-known", "core")).status == "2.05"
        name_server.addresses = [f"127.77.0.{last}" for last in range(1, 30)] + ["127.0.0.1"]
        name_server.silent = False
        assert peer.answer_to(request, timeout=PATIENCE_S).status == "2.04"
        assert [r["method"] for r in server.stats()["log"]] == ["POST"]
    finally:
        server.program.stop()


def test_a_black_hole_among_addresses(start_registrar, connect, pki, tmp_path):
    """A name with two addresses, of which the first drops SYNs: the second serves, and the request is sent once."""
    certificate, key = pki.device("named-server", None, "--ca", "est-ca", "--san", "dns:est.example")
    (tmp_path / "hosts").write_text("::1 est.example\n127.0.0.1 est.example\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files\n")
    server = programs.EstServer(pki, tmp_path, "--certificate", certificate, "--key", key)
    deaf, filler = socket.socket(socket.AF_INET6), socket.socket(socket.AF_INET6)
    try:
        deaf.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        deaf.bind(("::1", server.port))
        deaf.listen(0)
        filler.connect(("::1", server.port))
        registrar = start_registrar({"upstream": {"connect_timeout_ms": 20000}}, upstream_url=f"https://est.example:{server.port}", under=mounting(tmp_path, "hosts", "nsswitch.conf"))
        assert enrolled(connect(registrar), pki)
        assert [r["method"] for r in server.stats()["log"]] == ["POST"]
        deaf.setblocking(False)
        deaf.accept()[0].close()  # the filler, and nobody else came through
        with pytest.raises(BlockingIOError):
            deaf.accept()
    finally:
        filler.close()
        deaf.close()
        server.program.stop()


def test_the_resolver_blocks_nobody(start_registrar, connect, name_server, under):
    """Trap 2 of libcurl: while one device waits for a name, others shake hands and discover; it hears of it when the name server answers."""
    registrar = start_registrar({"upstream": {"connect_timeout_ms": 60000, "timeout_ms": 120000}}, upstream_url="https://est.example:8443", under=under)
    waiting = connect(registrar, device="waiting")
    request = waiting.send(waiting.message(coap.GET, path("crts")))
    assert name_server.asked.wait(PATIENCE_S)
    for number in range(OTHERS):
        assert connect(registrar, device=f"other{number}").get((".well-known", "core")).status == "2.05"
    name_server.silent = False
    assert waiting.answer_to(request, timeout=PATIENCE_S).status == "5.04"
