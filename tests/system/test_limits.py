"""Limits that answer: what one device, one address and all together may ask for (SEC-3, RFC 8516)."""

import time

import coap
import programs
import pytest

from dtls import Closed, DtlsClient
from enrolment import POST_OPTIONS, enrol, get, make_csr, path


def upstream_count(est_server):
    return len(est_server.stats()["log"])


def test_requests_of_one_device(start_registrar, connect, est_server, pki):
    """RFC 8516: 4.29 with Max-Age, before a body is taken in, and nothing goes upstream; over all associations and workers of the device, and no other device is hindered."""
    limits = {"device_requests_per_minute": 1, "device_request_burst": 3}
    registrar = start_registrar({"workers": 2, "limits": limits})
    peers = [connect(registrar) for _ in range(4)]
    begin = time.monotonic()
    assert [get(peer, "crts")[0].status for peer in peers[:3]] == ["2.05"] * 3
    before = upstream_count(est_server)
    refused = [get(peer, "crts")[0] for peer in peers]
    refused.append(peers[0].request(coap.POST, path("sen"), b"x" * 64, options=[*POST_OPTIONS, (coap.BLOCK1, coap.block(0, True, 2))]))
    refused.append(peers[0].request(coap.GET, (".well-known", "core")))
    refused.append(peers[3].request(coap.GET, path("crts"), options=[(coap.BLOCK2, coap.block(1, False, 2))]))  # of an answer that it never got
    least = 59 - (time.monotonic() - begin)
    for answer in refused:
        assert answer.status == "4.29" and least <= answer.number(coap.MAX_AGE) <= 60 and not answer.payload
    assert upstream_count(est_server) == before
    assert enrol(connect(registrar, device="lamp"), make_csr(pki, "lamp"))[0].status == "2.04"
    counters = registrar.counters()
    assert counters["requests_limited"] == 7 and counters["buffered_bytes"] == 0


def test_a_request_in_many_blocks_counts_once(start_registrar, connect, pki):
    """Blocks of a request that was let in are part of it, and so are repetitions of a message."""
    registrar = start_registrar({"coap": {"block_size": 64}, "limits": {"device_requests_per_minute": 1, "device_request_burst": 2}})
    peer = connect(registrar)
    assert enrol(peer, make_csr(pki), szx=2)[0].status == "2.04"
    request = peer.send(peer.message(coap.GET, path("crts")))
    assert peer.answer_to(request).status == "2.05"
    peer.send(request)
    assert peer.answer_to(request).status == "2.05"
    assert get(peer, "crts")[0].status == "4.29"


def test_too_much_at_a_time(start_registrar, connect, est_server, pki):
    """5.03 with Max-Age once max_exchanges are in flight, before a body is taken in; those in flight go on."""
    label = "hold"
    registrar = start_registrar({"est": {"labels": [label], "retry_after_s": 33}, "limits": {"max_exchanges": 2}})
    busy = [connect(registrar, device=f"busy{n}") for n in range(2)]
    asked = []
    for n, peer in enumerate(busy):
        csr = make_csr(pki, f"busy{n}")
        asked.append(peer.send(peer.message(coap.POST, path("sen", label), csr, options=POST_OPTIONS)))
    late = connect(registrar, device="late")
    registrar.await_counter("exchanges", 2)
    for answer in (get(late, "crts")[0],
                   late.request(coap.POST, path("sen"), b"x" * 64, options=[*POST_OPTIONS, (coap.BLOCK1, coap.block(0, True, 2))])):
        assert answer.status == "5.03" and answer.number(coap.MAX_AGE) == 33
    assert registrar.counters()["requests_shed"] == 2
    est_server.ask("/release", "POST")
    assert [peer.answer_to(request).status for peer, request in zip(busy, asked)] == ["2.04"] * 2
    assert get(late, "crts")[0].status == "2.05"
    registrar.await_counter("exchanges", 0)


def test_handshakes_of_one_address(start_registrar, connect, pki):
    """More handshakes than an address may begin are dropped, and other addresses get in."""
    registrar = start_registrar({"limits": {"address_handshakes_per_minute": 1, "address_handshake_burst": 2}})
    for _ in range(2):
        connect(registrar)
    certificate, key = pki.device("meter")
    with DtlsClient(registrar.address, certificate, key) as third:
        third.say_hello()
        programs.await_counters(registrar.program, lambda counters: counters["handshakes_limited"] == 1)
        assert get(connect(registrar, device="lamp", local=("127.0.0.9", 0)), "crts")[0].status == "2.05"
        assert registrar.counters()["handshakes_completed"] == 3


def test_an_address_gets_in_later(start_registrar, connect):
    """By a repetition of its ClientHello, without a word to its device."""
    registrar = start_registrar({"limits": {"address_handshakes_per_minute": 60, "address_handshake_burst": 1}})
    for _ in range(3):
        assert get(connect(registrar), "crts")[0].status == "2.05"


def test_associations_of_one_device(start_registrar, connect):
    """A device that opens one too many loses the one that is silent for longest, by close_notify; others keep theirs."""
    registrar = start_registrar({"limits": {"device_associations": 2}})
    other = connect(registrar, device="lamp")
    first, second, third = (connect(registrar) for _ in range(3))
    assert [get(peer, "crts")[0].status for peer in (other, second, third)] == ["2.05"] * 3
    with pytest.raises(Closed):
        first.receive()
    counters = registrar.counters()
    assert counters["associations"] == 3 and counters["associations_evicted"] == 1


def test_associations_of_one_device_with_two_workers(start_registrar, connect):
    """docs/security.md: the limit holds for each worker by itself, so that the device has between once and twice as many."""
    registrar = start_registrar({"workers": 2, "limits": {"device_associations": 2}})
    peers = [connect(registrar) for _ in range(12)]
    assert get(peers[-1], "crts")[0].status == "2.05"  # the last one is there, and so are those before it
    counters = registrar.counters()
    assert 2 <= counters["associations"] <= 4
    assert counters["associations"] + counters["associations_evicted"] == 12
