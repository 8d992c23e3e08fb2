"""What everybody gets alike: validated by ETag, fetched once for a crowd, and served while the EST server is down (CF-8, RSP-4)."""

import re
import signal
import time

import coap
import programs
import pytest

from enrolment import CERTS_ONLY, ONE_CERT, get, path


def upstream_gets(est_server):
    return [r["path"].rsplit("/", 1)[1] for r in est_server.stats()["log"] if r["method"] == "GET"]


def validate(peer, operation, *etags, accept=None):
    options = [(coap.ETAG, etag) for etag in etags]
    return peer.get(path(operation), options=options + ([(coap.ACCEPT, coap.uint(accept))] if accept else []))


def test_etag(start_registrar, connect, est_server):
    """CF-8: whoever names the ETag of what it has gets 2.03 without payload; the ETag is that of format and content, whichever worker or registrar answers."""
    peer = connect(start_registrar({"workers": 2, "coap": {"block_size": 64}}))
    first, body = get(peer, "crts")
    etag = first.get(coap.ETAG)
    assert 1 <= len(etag) <= 8 and len(body) > 64

    valid = validate(peer, "crts", etag)
    assert valid.status == "2.03" and not valid.payload and valid.get(coap.CONTENT_FORMAT) is None
    assert valid.get(coap.ETAG) == etag and valid.number(coap.MAX_AGE) > 0
    assert valid.get(coap.BLOCK2) is None
    assert validate(peer, "crts", b"1", b"22", etag).status == "2.03"
    assert validate(peer, "crts", b"other").status == "2.05"
    assert validate(peer, "crts", etag, accept=CERTS_ONLY).status == "2.03"
    other = validate(peer, "crts", etag, accept=ONE_CERT)
    assert other.status == "2.05" and other.get(coap.ETAG) != etag
    attributes = get(peer, "att")[0]
    assert validate(peer, "att", attributes.get(coap.ETAG)).status == "2.03"
    assert validate(connect(start_registrar()), "crts", etag).status == "2.03"


def test_every_block_has_the_etag(start_registrar, connect):
    """RFC 7959 section 2.4: by it a device tells that all blocks are of one representation. Asking for a later block by ETag is no validation."""
    peer = connect(start_registrar({"coap": {"block_size": 64}}))
    etag = get(peer, "crts")[0].get(coap.ETAG)
    for number in range(1, 4):
        block = peer.get(path("crts"), options=[(coap.ETAG, etag), (coap.BLOCK2, coap.block(number, False, 2))])
        assert block.status == "2.05" and block.get(coap.ETAG) == etag and len(block.payload) == 64


def test_a_crowd_asks_once(start_registrar, est_server, pki, connect):
    """RSP-4: however many devices power up at the same time, over several workers, the EST server sees one request for each of cacerts and csrattrs."""
    label = "delay-700"
    registrar = start_registrar({"workers": 4, "est": {"labels": [label]}})
    peers = [connect(registrar, device=f"crowd{n % 8}") for n in range(40)]
    for operation in ("crts", "att"):
        asked = [(peer, peer.send(peer.message(coap.GET, path(operation, label)))) for peer in peers]
        for peer, message in asked:
            assert peer.answer_to(message).status == "2.05"
    assert sorted(upstream_gets(est_server)) == ["cacerts", "csrattrs"]


@pytest.fixture
def mortal_est_server(pki, tmp_path):
    server = programs.EstServer(pki, tmp_path)
    yield server
    if server.program.process.poll() is None:
        server.program.stop()


def test_stale_while_the_est_server_is_down(start_registrar, connect, mortal_est_server):
    """RSP-4, RFC 9111 section 4.2.4: with Max-Age 0, and only what the EST server allows to be served stale."""
    registrar = start_registrar({"est": {"labels": ["max-age-0"]}, "upstream": {"cacerts_max_age_s": 0, "serve_stale_s": 60}},
                                upstream_url=mortal_est_server.url)
    peer = connect(registrar)
    first, body = get(peer, "crts")
    get(peer, "crts", "max-age-0")
    mortal_est_server.program.stop()
    for label in (None, "max-age-0"):
        answer, stale = get(peer, "crts", label)
        assert answer.status == "2.05" and stale == body and answer.number(coap.MAX_AGE) == 0
    assert validate(peer, "crts", first.get(coap.ETAG)).status == "2.03"
    assert get(peer, "att")[0].status == "5.04"  # never fetched
    registrar.program.wait_for(r"operation=crts.*upstream=stale")
    assert registrar.counters()["cache_stale"] == 3


def test_stale_for_a_while_only(start_registrar, connect, mortal_est_server):
    """RSP-4: serve_stale_s 0 means never."""
    registrar = start_registrar({"upstream": {"cacerts_max_age_s": 0, "serve_stale_s": 0}}, upstream_url=mortal_est_server.url)
    peer = connect(registrar)
    assert get(peer, "crts")[0].status == "2.05"
    mortal_est_server.program.stop()
    assert get(peer, "crts")[0].status == "5.04"


def test_stale_while_the_est_server_hangs(start_registrar, connect, mortal_est_server):
    """RSP-4: nobody waits long for a fetch that takes long, and who began to wait before gets what there is when the time for an answer is over."""
    registrar = start_registrar({"coap": {"answer_within_ms": 5000}, "upstream": {"cacerts_max_age_s": 0, "connect_timeout_ms": 20000, "reuse_connections": False}},
                                upstream_url=mortal_est_server.url)
    early, late = connect(registrar), connect(registrar, device="lamp")
    get(early, "crts")
    process = mortal_est_server.program.process
    process.send_signal(signal.SIGSTOP)
    try:
        fetching = early.send(early.message(coap.GET, path("crts")))
        assert early.receive().code == coap.EMPTY  # its ACK: it is being worked on, and was not answered from memory
        time.sleep(2)  # CACHE_PATIENCE_MS
        assert late.get(path("crts")).status == "2.05"
        assert early.receive(0.1) is None
        assert early.answer_to(fetching).status == "2.05"
    finally:
        process.send_signal(signal.SIGCONT)


def test_est_device_shows_it(start_registrar, pki):
    """CF-8 by hand: --etag."""
    registrar = start_registrar()
    certificate, key = pki.device("meter")
    common = ["--server", "%s:%d" % registrar.address, "--certificate", certificate, "--key", key, "--trust", pki / "est-ca.pem"]
    records, _ = programs.est_device(*common, "crts")
    etag = records[0]["etag"]
    assert re.fullmatch("([0-9a-f]{2}){1,8}", etag)
    records, result = programs.est_device(*common, "--etag", etag, "crts")
    assert records[0]["code"] == "2.03" and result.returncode == 0
