"""CoAP messages as seen on the wire (rows DLY-1, DLY-2, DLY-8, TX-1, TX-2, URI-4 to URI-8, RSP-5; RFC 7252 section 4)."""

import coap
import pytest

from enrolment import EST, POST_OPTIONS, certificates, enrol, get, is_for, make_csr, path

SLOW = "hold"
BRISK = {"ack_timeout_ms": 1000, "ack_random_factor": 1, "separate_after_ms": 100}


def upstream_posts(est_server):
    return [r for r in est_server.stats()["log"] if r["method"] == "POST"]


def assert_not_sent_again(peer, response):
    """After what has just been sent to end that."""
    assert peer.get(path("crts")).status == "2.05"  # by now it has been heard; what was sent before that was skipped
    again = peer.receive(1.5)
    assert again is None, (response, again)


def test_quick_answers_are_piggybacked(start_registrar, connect):
    """RFC 7252 section 5.2.1: one message back, the acknowledgement that carries the response."""
    peer = connect(start_registrar())
    request = peer.send(peer.message(coap.GET, path("crts")))
    answer = peer.receive()
    assert (answer.type, answer.mid, answer.token) == (coap.ACK, request.mid, request.token)
    assert answer.status == "2.05"


def test_slow_answers_come_separately(start_registrar, connect, est_server, pki):
    """DLY-1: an empty ACK while the EST server works, then a confirmable 2.04 with the request's token and an id of its own."""
    peer = connect(start_registrar({"est": {"labels": [SLOW]}, "coap": BRISK}))
    csr = make_csr(pki)
    request = peer.send(peer.message(coap.POST, path("sen", SLOW), csr, options=POST_OPTIONS))
    ack = peer.receive()
    assert (ack.type, ack.code, ack.mid, ack.token) == (coap.ACK, coap.EMPTY, request.mid, b"")
    est_server.ask("/release", "POST")
    response = peer.receive()
    assert (response.type, response.status, response.token) == (coap.CON, "2.04", request.token)
    assert response.mid != request.mid
    peer.send(coap.Message(coap.ACK, coap.EMPTY, response.mid))
    assert_not_sent_again(peer, response)


def test_duplicates_make_one_upstream_request(start_registrar, connect, est_server, pki):
    """DLY-2: five copies of one message id, before and after the answer: one POST, empty ACKs, then nothing new."""
    peer = connect(start_registrar({"est": {"labels": [SLOW]}}))
    request = peer.message(coap.POST, path("sen", SLOW), make_csr(pki), options=POST_OPTIONS)
    peer.send(request)
    assert peer.receive().code == coap.EMPTY
    for _ in range(4):
        peer.send(request)
        copy = peer.receive()
        assert (copy.type, copy.code, copy.mid) == (coap.ACK, coap.EMPTY, request.mid)
    est_server.ask("/release", "POST")
    response = peer.receive()
    assert response.status == "2.04"
    peer.send(coap.Message(coap.ACK, coap.EMPTY, response.mid))
    peer.send(request)
    late = peer.receive()
    assert (late.type, late.code, late.mid) == (coap.ACK, coap.EMPTY, request.mid)
    assert len(upstream_posts(est_server)) == 1


def test_duplicates_of_an_answered_request(start_registrar, connect, est_server, pki):
    """RFC 7252 section 4.5: the same acknowledgement, octet for octet, and no further POST."""
    peer = connect(start_registrar())
    request = peer.message(coap.POST, path("sen"), make_csr(pki), options=POST_OPTIONS)
    answers = []
    for _ in range(5):
        peer.send(request)
        answers.append(peer.receive().encode())
    assert len(set(answers)) == 1
    assert len(upstream_posts(est_server)) == 1


def test_separate_responses_are_retransmitted(start_registrar, connect, est_server, pki):
    """TX-1: without an ACK the response comes again, octet for octet, max_retransmit times; when, message_layer_test tells."""
    peer = connect(start_registrar({"est": {"labels": [SLOW]}, "coap": {**BRISK, "max_retransmit": 1}}))
    peer.send(peer.message(coap.POST, path("sen", SLOW), make_csr(pki), options=POST_OPTIONS))
    assert peer.receive().code == coap.EMPTY
    est_server.ask("/release", "POST")
    assert peer.receive().encode() == peer.receive().encode()
    assert peer.receive(3) is None


def test_a_reset_ends_retransmission(start_registrar, connect, est_server, pki):
    """RFC 7252 section 4.2: RST to the separate response stops it."""
    peer = connect(start_registrar({"est": {"labels": [SLOW]}, "coap": BRISK}))
    peer.send(peer.message(coap.POST, path("sen", SLOW), make_csr(pki), options=POST_OPTIONS))
    assert peer.receive().code == coap.EMPTY
    est_server.ask("/release", "POST")
    response = peer.receive()
    peer.send(coap.Message(coap.RST, coap.EMPTY, response.mid))
    assert_not_sent_again(peer, response)


def test_non_confirmable_requests(start_registrar, connect, pki):
    """DLY-8, TX-2: a NON POST is served, without any acknowledgement."""
    peer = connect(start_registrar())
    csr = make_csr(pki)
    request = peer.send(peer.message(coap.POST, path("sen"), csr, type=coap.NON, options=POST_OPTIONS))
    response = peer.receive()
    assert response.type in (coap.NON, coap.CON) and (response.status, response.token) == ("2.04", request.token)


def test_ping(start_registrar, connect):
    """RFC 7252 section 4.3: an empty confirmable message is answered by RST."""
    peer = connect(start_registrar())
    ping = peer.send(coap.Message(coap.CON, coap.EMPTY, 0x4242))
    pong = peer.receive()
    assert (pong.type, pong.code, pong.mid) == (coap.RST, coap.EMPTY, ping.mid)


@pytest.mark.parametrize("octets", [
    b"\x40\x01\x12\x34\xff",                # a payload marker without payload
    b"\x49\x01\x12\x34" + b"123456789",     # a token of nine octets
    b"\x40\x01\x12\x34\xd1",                # an option cut short
    b"\x40\x21\x12\x34",                    # a reserved code class
    b"\x41\x00\x12\x34\x01",                # an empty message with a token
])
def test_malformed_messages_are_reset(start_registrar, connect, octets):
    """RFC 7252 sections 3 and 4.2: a message format error in a CON is rejected, and the association lives on."""
    peer = connect(start_registrar())
    peer.transport.send(octets)
    answer = peer.receive()
    assert (answer.type, answer.code, answer.mid) == (coap.RST, coap.EMPTY, 0x1234)
    assert peer.get(path("crts")).status == "2.05"


@pytest.mark.parametrize("octets", [b"", b"\x40", b"\x00\x01\x12\x34", b"\xc0\x01\x12\x34", b"\x50\x01\x12\x34\xff",
                                    b"\x60\x45\x12\x34", b"\x70\x00\x12\x34", b"\x40\xe1\x12\x34"])
def test_what_is_silently_ignored(start_registrar, connect, octets):
    """RFC 7252 sections 3 and 4: other versions, stubs, malformed NON, stray ACK and RST; signalling codes get at most a RST."""
    peer = connect(start_registrar())
    if octets:
        peer.transport.send(octets)
    request = peer.send(peer.message(coap.GET, path("crts")))
    answer = peer.receive()
    if octets[1:2] == b"\xe1" and answer.type == coap.RST:
        answer = peer.receive()
    assert (answer.status, answer.token) == ("2.05", request.token)


@pytest.mark.parametrize("options, status", [
    ([(coap.PROXY_URI, b"coap://other/est/crts")], "5.05"),
    ([(coap.PROXY_SCHEME, b"coap")], "5.05"),
    ([(9, b"")], "4.02"),
    ([(coap.IF_MATCH, b"x")], "4.02"),
    ([(coap.OBSERVE, b"")], "2.05"),
    ([(coap.MAX_AGE, b"\x05")], "2.05"),
    ([(coap.URI_HOST, b"www.example.com"), (coap.URI_PORT, coap.uint(9085))], "2.05"),
    ([(coap.CONTENT_FORMAT, coap.uint(285))], "2.05"),
    ([(2048, b"elective")], "2.05"),
])
def test_options(start_registrar, connect, options, status):
    """URI-7, URI-8, CF-3: proxying is refused, unknown critical options too, elective ones are ignored."""
    peer = connect(start_registrar())
    assert peer.get(path("crts"), options=options).status == status


def test_unknown_critical_option_in_a_non(start_registrar, connect):
    """URI-8: never answered with a response."""
    peer = connect(start_registrar())
    peer.send(peer.message(coap.GET, path("crts"), type=coap.NON, options=[(9, b"")]))
    request = peer.send(peer.message(coap.GET, path("crts")))
    answer = peer.receive()
    if answer.type == coap.RST:
        answer = peer.receive()
    assert (answer.status, answer.token) == ("2.05", request.token)


@pytest.mark.parametrize("method, operation, status", [
    (coap.GET, "sen", "4.05"), (coap.POST, "crts", "4.05"), (coap.PUT, "att", "4.05"), (coap.DELETE, "sren", "4.05"),
    (coap.GET, "skg", "4.04"), (coap.POST, "skg", "4.04"), (coap.POST, "fullcmc", "4.04"), (coap.GET, "cacerts", "4.04"),
    (coap.GET, "nonsense", "4.04"), (coap.GET, "", "4.04"),
])
def test_methods_and_names(start_registrar, connect, est_server, method, operation, status):
    """URI-5, URI-6, URI-8, SKG-1: wrong methods 4.05, unknown and switched-off names 4.04, nothing upstream."""
    peer = connect(start_registrar())
    assert peer.request(method, (*EST, operation)).status == status
    assert not est_server.stats()["log"]


@pytest.mark.parametrize("segment", ["..", ".", "a/b", "%2e%2e", "\0", "", "sen", "crts", "unlisted", "p1 ", "P1", "x" * 300 ])
def test_labels_that_are_not_listed(start_registrar, connect, est_server, segment):
    """URI-4: an allow-list; whatever else stands there reaches nobody."""
    peer = connect(start_registrar({"est": {"labels": ["p1"]}}))
    assert peer.get((*EST, segment, "crts")).status in ("4.04", "4.00", "4.02")
    assert not est_server.stats()["log"]


def test_labels_that_are(start_registrar, connect, est_server):
    """URI-4: forwarded as a segment between root and operation, percent-encoded where needed; and none is listed by default."""
    peer = connect(start_registrar({"est": {"labels": ["max-age-5"]}}))
    assert peer.get(path("crts", "max-age-5")).status == "2.05"
    assert [r["path"] for r in est_server.stats()["log"]] == ["/.well-known/est/max-age-5/cacerts"]
    assert connect(start_registrar()).get(path("crts", "max-age-5")).status == "4.04"


def test_superseded_options_are_never_sent(start_registrar, connect, pki):
    """RSP-5: no Location-Path, no 2.01, no Observe in any answer."""
    slow = "delay-500"
    peer = connect(start_registrar({"est": {"labels": [slow]}, "coap": BRISK}))
    get(peer, "crts")
    enrol(peer, make_csr(pki))
    enrol(peer, make_csr(pki), label_name=slow)
    peer.get(path("crts"), options=[(coap.OBSERVE, b"")])
    for direction, message in peer.trace:
        if direction == "←":
            assert message.status != "2.01"
            assert not message.get(8) and message.get(coap.OBSERVE) is None
