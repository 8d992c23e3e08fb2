"""Several EST servers: who is asked, who is left, who is asked again, and what the operator sees (RA-4, RA-5, RA-9)."""

import re
import time

import coap
import pytest

import programs
from enrolment import certificates, enrol, get, is_for, make_csr
from front import Front

QUICK = {"connect_timeout_ms": 10000, "timeout_ms": 20000, "max_failures": 3, "backoff_ms": 100, "backoff_max_ms": 200, "probe_interval_ms": 0}


@pytest.fixture(scope="module")
def running_second(pki, tmp_path_factory):
    server = programs.EstServer(pki, tmp_path_factory.mktemp("second"))
    yield server
    server.program.stop()


@pytest.fixture
def second(running_second):
    running_second.reset()
    return running_second


@pytest.fixture
def front(est_server):
    """A door in front of the first server."""
    door = Front(est_server)
    yield door
    door.stop()


def upstream(*servers, **more):
    return {**QUICK, "servers": [server.url for server in servers], **more}


def posts(server):
    return [r for r in server.stats()["log"] if r["method"] == "POST"]


def enrolled(peer, pki, **more):
    csr = make_csr(pki)
    answer, body = enrol(peer, csr, **more)
    return answer.status == "2.04" and is_for(certificates(body)[0], csr)


def test_ordered(start_registrar, connect, est_server, front, second, pki):
    """The first serves; when it refuses, the same request goes to the second; when a probe finds it well, it serves again.
    Each change is logged once, three times over (flapping)."""
    registrar = start_registrar({"upstream": upstream(front, second)})
    peer = connect(registrar)
    assert enrolled(peer, pki)
    assert (len(posts(est_server)), len(posts(second))) == (1, 0)
    for times in range(1, 4):
        est_server.reset(), second.reset()
        seen = len(registrar.program.lines)
        front.set("refuse")
        for _ in range(5):
            assert enrolled(peer, pki)
        assert (len(posts(est_server)), len(posts(second))) == (0, 5)
        registrar.program.wait_for(rf"EST server {front.url} is not asked until a probe finds it well: .*; {second.url} serves", since=seen)
        front.set("open")
        registrar.program.wait_for(rf"EST server {front.url} is well again after \d+ s; {front.url} serves", since=seen)
        assert enrolled(peer, pki)
        assert len(posts(est_server)) == 1
        counters = registrar.counters()
        assert counters["upstream_circuits_opened"] == counters["upstream_circuits_closed"] == times
        assert counters["upstream_probes"] >= times
    assert counters["upstream_failures"] == counters["in_doubt"] == 0
    assert counters["upstream_failovers"] == 9  # max_failures each time
    assert len(re.findall("is not asked until", registrar.program.text())) == 3
    assert re.search(rf"EST server {second.url}: well requests=15 failures=0 circuits_opened=0", registrar.program.text())


def test_round_robin(start_registrar, connect, est_server, second, pki):
    """As many for each; and when one is gone, all for the other."""
    peer = connect(start_registrar({"upstream": upstream(est_server, second, selection="round-robin")}))
    for _ in range(6):
        assert enrolled(peer, pki)
    assert (len(posts(est_server)), len(posts(second))) == (3, 3)


@pytest.mark.parametrize("words, status", [("reset", "5.02"), ("close", "5.02"), ("hang", "5.04")])
def test_what_may_have_been_processed_goes_nowhere_else(start_registrar, connect, est_server, second, pki, words, status):
    """RA-4: a POST of which the first server has had an octet is not sent to the second; in doubt. A GET is."""
    short = {"connect_timeout_ms": 2000, "timeout_ms": 2000} if words == "hang" else {}
    registrar = start_registrar({"est": {"labels": [words]}, "upstream": upstream(est_server, second, **short)})
    peer = connect(registrar)
    assert enrol(peer, make_csr(pki), label_name=words)[0].status == status
    assert (len(posts(est_server)), len(posts(second))) == (1, 0)
    assert registrar.counters()["in_doubt"] == 1
    get(peer, "crts", words)
    gets = [r for r in second.stats()["log"] if r["method"] == "GET"]
    assert len(gets) == (0 if words == "hang" else 1)  # by then there is no time left


def test_what_waits_goes_back_to_its_server(start_registrar, connect, est_server, front, second, pki):
    """A 202 binds: while its server is gone the device hears 5.04, and the second server nothing of it."""
    registrar = start_registrar({"est": {"labels": ["manual"], "retry_after_s": 1, "retry_after_max_s": 1}, "upstream": upstream(front, second)})
    peer = connect(registrar)
    csr = make_csr(pki)
    assert enrol(peer, csr, label_name="manual")[0].status == "5.03"
    front.set("refuse")
    time.sleep(1)  # Max-Age
    for _ in range(6):  # while it is asked, and while it is not
        assert enrol(peer, csr, label_name="manual")[0].status == "5.04"
    assert not posts(second)
    assert enrolled(peer, pki)  # another device's business
    front.set("open")
    registrar.program.wait_for(r"is well again")
    est_server.ask("/approve", "POST")
    answer, body = enrol(peer, csr, label_name="manual")
    assert answer.status == "2.04" and is_for(certificates(body)[0], csr)
    assert len(posts(second)) == 1 and len(est_server.stats()["issued"]) == 1


def test_what_waits_where_nobody_asks_any_more(start_registrar, connect, est_server, second, pki):
    """A reload without the server of a 202: the enrolment goes to another one, and the log names the doubt. One that stays goes on."""
    labels = ["manual.approve-attempts-2.tag-gone", "manual.approve-attempts-2.tag-stays"]
    settings = {"est": {"labels": labels, "retry_after_s": 1, "retry_after_max_s": 1}, "upstream": upstream(est_server, second)}
    registrar = start_registrar(settings)
    peer = connect(registrar)
    csrs = {label: make_csr(pki) for label in labels}
    assert enrol(peer, csrs[labels[0]], label_name=labels[0])[0].status == "5.03"
    registrar.reload({"upstream": {"servers": [second.url]}})
    assert enrol(peer, csrs[labels[1]], label_name=labels[1])[0].status == "5.03"
    registrar.reload({"upstream": {"servers": [est_server.url, second.url]}})
    time.sleep(1)  # Max-Age
    answer, body = enrol(peer, csrs[labels[1]], label_name=labels[1])
    assert answer.status == "2.04" and is_for(certificates(body)[0], csrs[labels[1]])  # by the second, which had said 202
    registrar.reload({"upstream": {"servers": [second.url]}})
    assert enrol(peer, csrs[labels[0]], label_name=labels[0])[0].status == "5.03"
    registrar.program.wait_for(r"simpleenroll: the EST server where it waits is not in upstream.servers any more")
    assert len(posts(est_server)) == 1 and len(posts(second)) == 3


def test_a_standby_is_looked_after(start_registrar, front, est_server, second):
    """Probes at start and afterwards: a standby that is gone is told of before it is needed, with the credentials of an RA and no POST."""
    front.set("refuse")
    registrar = start_registrar({"upstream": upstream(second, front, probe_interval_ms=200)})
    registrar.program.wait_for(rf"EST server {front.url} is not asked until .*; {second.url} serves")
    front.set("open")
    registrar.program.wait_for(rf"EST server {front.url} is well again after \d+ s; {second.url} serves")
    seen = len(registrar.program.lines)
    front.set("refuse")
    registrar.program.wait_for(rf"EST server {front.url} is not asked until", since=seen)
    assert {r["path"] for r in est_server.stats()["log"] + second.stats()["log"]} == {"/.well-known/est/cacerts"}


def test_without_any_server(start_registrar, connect, front, pki):
    """All fail: 5.04 at once, without a connection; the first probe that succeeds ends that."""
    settings = {"connect_timeout_ms": 1500, "max_failures": 2, "backoff_ms": 300, "backoff_max_ms": 300}
    registrar = start_registrar({"upstream": {**upstream(front), **settings}})
    peer = connect(registrar)
    front.set("silent")
    for _ in range(2):
        assert enrol(peer, make_csr(pki))[0].status == "5.04"
    registrar.program.wait_for(r"no EST server serves")
    for _ in range(20):
        assert enrol(peer, make_csr(pki))[0].status == "5.04"
    counters = registrar.counters()
    assert front.connections <= 2 + counters["upstream_probes"] and counters["upstream_failures"] == 22
    assert counters["in_doubt"] == 0
    front.set("open")
    registrar.program.wait_for(r"is well again")
    assert enrolled(peer, pki)


def test_failures_are_logged_seldom(start_registrar, connect, front, pki):
    """A hundred failures are one warning; requests without a server are one more."""
    registrar = start_registrar({"upstream": {**upstream(front), "max_failures": 1000}})
    peer = connect(registrar)
    front.set("refuse")
    begin = time.monotonic()
    for _ in range(100):
        assert get(peer, "crts")[0].status == "5.04"
    most = 1 + (time.monotonic() - begin) // 10
    warnings = re.findall(r"warning upstream.*", registrar.program.text())
    assert 1 <= len(warnings) <= most, warnings
    assert re.search(rf"EST server {front.url}: cacerts: the EST server was not reached: ", warnings[0])


def test_overloaded(start_registrar, connect, est_server, second, pki):
    """503 is the device's answer (RA-4), and counts: after max_failures the next one serves, if there is one."""
    registrar = start_registrar({"est": {"labels": ["status-503.times-3"]}, "upstream": {**upstream(est_server, second), "backoff_ms": 60000, "backoff_max_ms": 60000}})
    peer = connect(registrar)
    for _ in range(3):
        answer, _ = enrol(peer, make_csr(pki), label_name="status-503.times-3")
        assert answer.status == "5.03" and answer.number(coap.MAX_AGE) >= 1
    registrar.program.wait_for(rf"EST server {est_server.url}/.well-known/est/status-503.times-3 is not asked until .*simpleenroll: answered with HTTP status 503; {second.url} serves it")
    assert enrol(peer, make_csr(pki), label_name="status-503.times-3")[0].status == "5.03"
    assert (len(posts(est_server)), len(posts(second))) == (3, 1)
    assert enrolled(peer, pki)
    assert (len(posts(est_server)), len(posts(second))) == (4, 1)


PATIENT = {"backoff_ms": 60000, "backoff_max_ms": 60000}  # probes come by a reload alone


def standing(registrar, server):
    """What SIGUSR1 says of a server."""
    since = len(registrar.program.lines)
    registrar.counters()
    return registrar.program.wait_for(rf"EST server {server.url}: (\w+ .*)", since=since)[1]


def test_trouble_of_one_label_is_its_own(start_registrar, connect, est_server, second, pki):
    """Where one label's CA breaks off, that label goes to the next server, and nothing else does; when all are in trouble with it, it is refused at
    once; and it has probes of its own."""
    label = "reset.times-3.tag-own"
    registrar = start_registrar({"est": {"labels": [label]}, "upstream": {**upstream(est_server, second), **PATIENT}})
    peer = connect(registrar)
    for server in (est_server, second):
        for _ in range(3):
            assert enrol(peer, make_csr(pki), label_name=label)[0].status == "5.02"
        registrar.program.wait_for(rf"EST server {server.url}/.well-known/est/{label} is not asked until")
    assert (len(posts(est_server)), len(posts(second))) == (3, 3)
    assert enrol(peer, make_csr(pki), label_name=label)[0].status == "5.04"
    assert enrolled(peer, pki)
    assert (len(posts(est_server)), len(posts(second))) == (4, 3)
    assert standing(registrar, est_server) == "well requests=4 failures=3 circuits_opened=1 failing_profiles=1"
    registrar.reload()
    for server in (est_server, second):
        registrar.program.wait_for(rf"EST server {server.url}/.well-known/est/{label} is well again")
    assert enrolled(peer, pki, label_name=label)
    assert {r["path"] for r in est_server.stats()["log"] if r["method"] == "GET"} == {f"/.well-known/est/{label}/cacerts"}


def test_a_reload_keeps_what_is_known(start_registrar, connect, est_server, front, second, pki):
    """Who was left stays left, with all that was counted, and is probed at once: mend it, and SIGHUP takes it back."""
    registrar = start_registrar({"workers": 2, "upstream": {**upstream(front, second), **PATIENT}})
    peer = connect(registrar)
    front.set("refuse")
    for _ in range(3):
        assert enrolled(peer, pki)
    for probes in (1, 2):
        registrar.reload()
        registrar.await_counter("upstream_probes", probes)
        assert enrolled(peer, pki)
        assert registrar.counters()["upstream_failovers"] == 3
        assert standing(registrar, front) == "failing requests=3 failures=3 circuits_opened=1 failing_profiles=0"
    assert standing(registrar, second).startswith("well requests=5 failures=0")
    front.set("open")
    registrar.reload()
    registrar.program.wait_for(rf"EST server {front.url} is well again")
    assert enrolled(peer, pki)
    assert len(posts(est_server)) == 1


def test_a_reload_while_the_server_is_down(start_registrar, connect, front, pki):
    """What it said of its CA is still served (RSP-4), unless it is trusted no more."""
    registrar = start_registrar({"upstream": {**upstream(front), "max_failures": 1000}})
    peer = connect(registrar)
    assert get(peer, "crts")[0].status == "2.05"
    front.set("refuse")
    registrar.reload()
    answer, _ = get(peer, "crts")
    assert answer.status == "2.05" and answer.number(coap.MAX_AGE) == 0  # looked for, and not to be had fresh
    registrar.reload({"upstream": {"trust": [str(pki / "other-ca.pem")]}})
    assert get(peer, "crts")[0].status == "5.04"
