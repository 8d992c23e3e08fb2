"""What an EST server's answer becomes for the device (requirements A8, rows RSP-1 to RSP-5, DLY-3, DLY-4, RA-4)."""

import time

import coap
import pytest

from enrolment import POST_OPTIONS, certificates, enrol, get, is_for, make_csr, path


def upstream_posts(est_server):
    return [r for r in est_server.stats()["log"] if r["method"] == "POST"]


BOTH = {
    "203": "5.02", "206": "5.02", "300": "5.02", "302": "5.02", "304": "5.02", "307": "5.02", "400": "4.00", "401": "4.01", "403": "4.03", "404": "4.04", "405": "4.05",
    "406": "4.06", "407": "5.02", "408": "5.04", "409": "4.09", "410": "4.04", "411": "5.02", "412": "4.12",
    "413": "4.13", "414": "4.00", "415": "4.15", "416": "4.00", "417": "5.02", "418": "4.00", "421": "5.02", "422": "4.22",
    "423": "4.03", "425": "5.03", "426": "5.02", "428": "4.00", "429": "5.03", "431": "5.02", "451": "4.03",
    "500": "5.00", "501": "5.01", "502": "5.02", "503": "5.03", "504": "5.04", "505": "5.02", "507": "5.00", "511": "5.02",
}


def test_every_status(start_registrar, connect, est_server, pki):
    """RSP-1: the table of A8, for a GET and for a POST."""
    labels = [f"status-{status}" for status in BOTH]
    peers = [connect(start_registrar({"est": {"labels": labels[i:i + 64]}})) for i in range(0, len(labels), 64)]
    wrong = []
    for number, (status, expected) in enumerate(BOTH.items()):
        peer = peers[number // 64]
        for method, answer in (("GET", get(peer, "crts", f"status-{status}")[0]),
                               ("POST", enrol(peer, make_csr(pki), label_name=f"status-{status}")[0])):
            if answer.status != expected:
                wrong.append((method, status, answer.status, expected))
            if expected == "4.06":
                assert not answer.payload
            if expected == "5.03":
                assert answer.number(coap.MAX_AGE)
    assert not wrong


@pytest.mark.parametrize("words, seconds", [
    ("status-503.retry-120", (120, 120)), ("status-503.retry-date-1200", (900, 1201)), ("status-503.retry-0", (1, 1)),
    ("status-503.retry-text-garbage", (77, 77)), ("status-503", (77, 77)), ("status-429.retry-30", (30, 30)),
    ("status-423.retry-30", (30, 30)), ("status-202.retry-120", (120, 120)), ("status-202", (77, 77)),
    ("status-503.retry-999999", (3600, 3600)),
])
def test_retry_after(start_registrar, connect, pki, words, seconds):
    """RSP-2: Max-Age is always there, in seconds, clamped; delta-seconds or a date."""
    peer = connect(start_registrar({"est": {"labels": [words], "retry_after_s": 77, "retry_after_max_s": 3600}}))
    answer, _ = enrol(peer, make_csr(pki), label_name=words)
    assert answer.status == "5.03"
    assert seconds[0] <= answer.number(coap.MAX_AGE) <= seconds[1]


def test_diagnostics(start_registrar, connect, pki):
    """RSP-3: text of the EST server, cleaned and short, without a Content-Format; HTML and binary bodies never."""
    labels = ["status-400.text-error", "status-400.html-error", "status-400.binary-error"]
    peer = connect(start_registrar({"est": {"labels": labels}}))
    plain, html, binary = (enrol(peer, make_csr(pki), label_name=name)[0] for name in labels)
    for answer in (plain, html, binary):
        assert answer.status == "4.00" and answer.get(coap.CONTENT_FORMAT) is None
        assert len(answer.payload) <= 128 and all(octet >= 32 for octet in answer.payload)
    assert plain.payload and b"<" not in html.payload


def test_max_age(start_registrar, connect, pki):
    """RSP-4: none on 2.04; on 2.05 no more than what HTTP leaves of its freshness."""
    peer = connect(start_registrar({"est": {"labels": ["max-age-5"]}, "upstream": {"cacerts_max_age_s": 40}}))
    assert get(peer, "crts", "max-age-5")[0].number(coap.MAX_AGE) <= 5
    begin = time.monotonic()
    age = get(peer, "crts")[0].number(coap.MAX_AGE)
    assert 40 - (time.monotonic() - begin) - 1 <= age <= 40
    assert enrol(peer, make_csr(pki))[0].get(coap.MAX_AGE) is None


def test_cacerts_are_fetched_once(start_registrar, connect, est_server):
    """One GET upstream for all devices, as long as the answer is fresh."""
    registrar = start_registrar({"workers": 2})
    bodies = {get(connect(registrar, device=f"crowd{n}"), "crts")[1] for n in range(6)}
    assert len(bodies) == 1
    assert [r["path"] for r in est_server.stats()["log"]] == ["/.well-known/est/cacerts"]


def test_late_answers_wait_for_their_device(start_registrar, connect, est_server, pki):
    """DLY-3, DLY-4: 5.03 after answer_within_ms while the POST runs on; the second POST gets the certificate; one upstream request."""
    registrar = start_registrar({"est": {"labels": ["hold"]}, "coap": {"separate_after_ms": 100, "answer_within_ms": 400}})
    peer, csr = connect(registrar), make_csr(pki)
    for _ in range(2):
        answer, _ = enrol(peer, csr, label_name="hold")
        assert answer.status == "5.03" and answer.number(coap.MAX_AGE) >= 1
    est_server.ask("/release", "POST")
    registrar.program.wait_for("upstream=200 code=5.03 outcome=2.04")
    answer, body = enrol(peer, csr, label_name="hold")
    assert answer.status == "2.04" and is_for(certificates(body)[0], csr)
    assert len(upstream_posts(est_server)) == 1


def test_late_refusals_are_heard(start_registrar, connect, est_server, pki):
    """DLY-3, DLY-4: a device that was told to come back hears of the refusal, by one upstream request; then it may ask again."""
    words = "status-403.hold"
    registrar = start_registrar({"est": {"labels": [words]}, "coap": {"separate_after_ms": 100, "answer_within_ms": 400}})
    peer, csr = connect(registrar), make_csr(pki)
    assert enrol(peer, csr, label_name=words)[0].status == "5.03"
    est_server.ask("/release", "POST")
    registrar.program.wait_for("upstream=403 code=5.03 outcome=4.03")
    est_server.ask("/hold", "POST")
    assert enrol(peer, csr, label_name=words)[0].status == "4.03"
    assert len(upstream_posts(est_server)) == 1
    assert enrol(peer, csr, label_name=words)[0].status == "5.03"
    assert len(upstream_posts(est_server)) == 2
    est_server.ask("/release", "POST")


def test_waiting_for_approval(start_registrar, connect, est_server, pki):
    """DLY-4: 202 becomes 5.03; an early re-POST makes no upstream request and hears the remaining time; a later one asks again."""
    short, long = "approve-attempts-2.retry-1", "approve-attempts-2.retry-600"
    peer = connect(start_registrar({"est": {"labels": [short, long]}}))
    csr = make_csr(pki)
    answer, _ = enrol(peer, csr, label_name=long)
    assert (answer.status, answer.number(coap.MAX_AGE)) == ("5.03", 600)
    early, _ = enrol(peer, csr, label_name=long)
    assert early.status == "5.03" and 500 < early.number(coap.MAX_AGE) <= 600
    assert len(upstream_posts(est_server)) == 1
    answer, _ = enrol(peer, csr, label_name=short)
    assert (answer.status, answer.number(coap.MAX_AGE)) == ("5.03", 1)
    time.sleep(1)  # Max-Age
    answer, body = enrol(peer, csr, label_name=short)
    assert answer.status == "2.04" and is_for(certificates(body)[0], csr)
    assert len(upstream_posts(est_server)) == 3


def test_a_lost_answer_is_still_there(start_registrar, connect, est_server, pki):
    """DLY-4: after a reboot and a new handshake the identical CSR gets the certificate that was issued, not a second one."""
    registrar = start_registrar()
    csr = make_csr(pki)
    first = enrol(connect(registrar), csr)[1]
    assert enrol(connect(registrar), csr)[1] == first
    assert len(upstream_posts(est_server)) == 1


def test_nobody_else_collects_it(start_registrar, connect, est_server, pki):
    """The key of the pending table holds the identity: another device's CSR of the same octets is refused or its own transaction."""
    registrar = start_registrar({"access": {"csr_identity": "any"}})
    csr = make_csr(pki)
    assert enrol(connect(registrar), csr)[0].status == "2.04"
    assert enrol(connect(registrar, device="thief"), csr)[0].status == "2.04"
    assert len(upstream_posts(est_server)) == 2


@pytest.mark.parametrize("policy, status, count", [("retry", "5.02", 2), ("hold", "5.03", 1)])
def test_in_doubt(start_registrar, connect, est_server, pki, policy, status, count):
    """Design, pending table: an answer that never came is counted, and asked for again only as in_doubt says."""
    registrar = start_registrar({"est": {"labels": ["close-after-post"], "in_doubt": policy}})
    peer = connect(registrar)
    csr = make_csr(pki)
    assert enrol(peer, csr, label_name="close-after-post")[0].status == "5.02"
    assert registrar.counters()["in_doubt"] == 1
    assert enrol(peer, csr, label_name="close-after-post")[0].status == status
    assert len(upstream_posts(est_server)) == count
    assert "in doubt" in registrar.program.text().lower()


def test_the_device_that_left(start_registrar, connect, est_server, pki):
    """Life of an exchange: the association dies while the EST server works; the result waits for the device."""
    registrar = start_registrar({"est": {"labels": ["hold"]}, "coap": {"separate_after_ms": 100}})
    peer = connect(registrar)
    csr = make_csr(pki)
    peer.send(peer.message(coap.POST, path("sen", "hold"), csr, options=POST_OPTIONS))
    assert peer.receive().code == coap.EMPTY
    peer.dtls.close()
    registrar.await_counter("associations", 0)
    est_server.ask("/release", "POST")
    registrar.await_counter("exchanges", 0)
    answer, body = enrol(connect(registrar), csr, label_name="hold")
    assert answer.status == "2.04" and is_for(certificates(body)[0], csr)
    assert len(upstream_posts(est_server)) == 1
