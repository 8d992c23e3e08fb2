"""Delayed answers, and never two certificates (rows DLY-3 to DLY-7, SEC-3): each with the number of requests that reached the EST server.
What an EST server's 202 and silence become is in test_mapping.py, what outlives a restart in test_journal.py."""

import base64
import os
import time

import coap
import pytest

from enrolment import POST_OPTIONS, certificates, enrol, is_for, make_csr, path
from programs import est_device

HOLD, SLOW = "hold", "delay-1200"


@pytest.fixture
def registrar(start_registrar):
    return start_registrar({"est": {"labels": [HOLD, SLOW]}, "access": {"csr_identity": "any"}, "coap": {"separate_after_ms": 50, "answer_within_ms": 400}})


def posts(est_server):
    return [r for r in est_server.stats()["log"] if r["method"] == "POST"]


def rebuilt(pki, client, device="meter"):
    """The device's CSR for one and the same key, linked to this association (RFC 9148 section 3)."""
    proof = base64.b64encode(client.tls_unique()).decode()
    return make_csr(pki, device, "--challenge-password", proof, new_key=False)


def test_a_certificate_waits_for_its_device(registrar, connect, est_server, pki):
    """DLY-3, DLY-4, DLY-6, DLY-7: told to wait, closed, from another port with a CSR rebuilt for a new association, and once more because the answer
    was lost on the way: one and the same certificate, of one request. Nobody else gets it meanwhile."""
    first = connect(registrar)
    answer, _ = enrol(first, rebuilt(pki, first.dtls), label_name=HOLD)
    assert answer.status == "5.03" and answer.number(coap.MAX_AGE) == 1
    early, _ = enrol(first, rebuilt(pki, first.dtls), label_name=HOLD)
    assert early.status == "5.03" and len(posts(est_server)) == 1
    first.dtls.close()
    est_server.ask("/release", "POST")
    registrar.program.wait_for(r"upstream=200 code=5.03 outcome=2.04")
    est_server.ask("/hold", "POST")

    thief = connect(registrar, device="thief")
    stolen = rebuilt(pki, thief.dtls)  # the same key, the same name: worth nothing with another certificate
    assert enrol(thief, stolen, label_name=HOLD)[0].status == "5.03" and len(posts(est_server)) == 2

    lost = connect(registrar)
    lost.send(lost.message(coap.POST, path("sen", HOLD), rebuilt(pki, lost.dtls), options=POST_OPTIONS))
    registrar.program.wait_for(r'CN=meter,.* upstream=pending code=2.04')
    lost.dtls.abandon()  # the power went before the answer came
    again = connect(registrar)
    csr = rebuilt(pki, again.dtls)
    answer, body = enrol(again, csr, label_name=HOLD)
    assert answer.status == "2.04" and is_for(certificates(body)[0], csr)
    same, once_more = enrol(connect(registrar), csr, label_name=HOLD)  # to the octet, though not of this association
    assert same.status == "2.04" and once_more == body
    assert len(posts(est_server)) == 2
    est_server.ask("/release", "POST")


def test_seen_by_hand(registrar, est_server, pki, tmp_path):
    """The same with est-device: --repeat-identical, --source-port, Max-Age waited for; and without it, another key is another enrolment."""
    certificate, key = pki.device("lamp")
    common = ["--server", "127.0.0.1:{}".format(registrar.address[1]), "--certificate", certificate, "--key", key, "--verify", "off",
              "--label", SLOW, "--pop", "--attempts", "4", "--csr-out", tmp_path / "lamp.csr"]
    records, _ = est_device(*common, "--repeat-identical", "sen", "reconnect", "sen")
    first, second = [r for r in records if r["operation"] == "sen"]
    assert first["attempts"] > 1 and second["attempts"] == 1
    assert first["certificate"]["serial"] == second["certificate"]["serial"] and len(posts(est_server)) == 1
    number = 20000 + os.getpid() % 10000  # the kernel hands out higher ones
    records, _ = est_device(*common, "--csr", tmp_path / "lamp.csr", "--source-port", number, "sen")
    assert records[-1]["certificate"]["serial"] == first["certificate"]["serial"] and len(posts(est_server)) == 1
    records, _ = est_device(*common, "sen")
    assert records[-1]["certificate"]["serial"] != first["certificate"]["serial"] and len(posts(est_server)) == 2


def test_kept_for_grace_s(start_registrar, connect, est_server, pki):
    """DLY-4: a certificate that was fetched is kept for est.grace_s; then the same CSR is a new enrolment."""
    peer, csr = connect(start_registrar({"est": {"grace_s": 1}})), make_csr(pki)
    first = enrol(peer, csr)[1]
    time.sleep(1.1)
    answer, second = enrol(peer, csr)
    assert answer.status == "2.04" and second != first and len(posts(est_server)) == 2


def test_a_full_table(start_registrar, connect, est_server, pki):
    """SEC-3: max_pending enrolments wait; the next hears 5.03 with Max-Age and nothing of it reaches the EST server; those that wait go on."""
    words = "manual.retry-1"
    registrar = start_registrar({"est": {"labels": [words], "max_pending": 2, "retry_after_s": 7}})
    csrs = {device: make_csr(pki, device) for device in ("one", "two", "three")}
    answers = {device: enrol(connect(registrar, device=device), csr, label_name=words)[0] for device, csr in csrs.items()}
    assert [(a.status, a.number(coap.MAX_AGE)) for a in answers.values()] == [("5.03", 1), ("5.03", 1), ("5.03", 7)]
    assert len(posts(est_server)) == 2 and registrar.counters()["pending_entries"] == 2
    est_server.ask(f"/approve?label={words}", "POST")
    time.sleep(1.1)
    for device in ("one", "two"):
        answer, body = enrol(connect(registrar, device=device), csrs[device], label_name=words)
        assert answer.status == "2.04" and is_for(certificates(body)[0], csrs[device])
    assert len(posts(est_server)) == 4
