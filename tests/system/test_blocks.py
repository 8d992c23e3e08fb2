"""Block-wise transfers as seen on the wire (rows BLK-1 to BLK-10, CF-9; RFC 7959)."""

import coap
import pytest

from enrolment import EST, PKCS10, POST_OPTIONS, certificates, enrol, get, is_for, make_csr, path
from dtls import MFL_512


def upstream_posts(est_server):
    return [r for r in est_server.stats()["log"] if r["method"] == "POST"]


@pytest.mark.parametrize("szx", range(7))
def test_every_size_both_ways(start_registrar, connect, est_server, pki, szx):
    """BLK-1, BLK-2, BLK-4: 16 to 1024 octets a block, up and down; one upstream POST for all of it."""
    peer = connect(start_registrar({"coap": {"block_size": 1024}}))
    csr = make_csr(pki)
    early = [(coap.BLOCK2, coap.block(0, False, szx))]
    response, continues = peer.post_blocks(path("sen"), csr, szx, POST_OPTIONS, first_options=early)
    assert continues == (len(csr) - 1) // (1 << (szx + 4))
    assert response.status == "2.04" and len(response.payload) <= 1 << (szx + 4)
    body = peer.fetch_rest(coap.POST, path("sen"), response, options=POST_OPTIONS)
    assert is_for(certificates(body)[0], csr)
    assert len(upstream_posts(est_server)) == 1


def test_block_options_of_an_upload(start_registrar, connect, pki):
    """BLK-3: 2.31 echoes Block1 with M=1 and no Block2; the final answer has the last Block1, and Block2 number 0."""
    peer = connect(start_registrar({"coap": {"block_size": 64}}))
    csr = make_csr(pki)
    response, _ = peer.post_blocks(path("sen"), csr, 2, POST_OPTIONS)
    continues = [m for d, m in peer.trace if d == "←" and m.status == "2.31"]
    assert [m.block(coap.BLOCK1) for m in continues] == [
        coap.Block(n, True, 2) for n in range((len(csr) - 1) // 64)]
    assert not any(m.get(coap.BLOCK2) or m.payload for m in continues)
    assert response.block(coap.BLOCK1) == coap.Block((len(csr) - 1) // 64, False, 2)
    assert response.block(coap.BLOCK2) == coap.Block(0, True, 2)


def test_a_5_03_has_no_block2(start_registrar, connect, pki):
    """BLK-3, DLY-5: Block1 of the last block, Max-Age, nothing else; then all blocks come again."""
    peer = connect(start_registrar({"est": {"labels": ["status-503.retry-7"]}}))
    for _ in range(2):
        response, _ = peer.post_blocks(path("sen", "status-503.retry-7"), make_csr(pki), 2, POST_OPTIONS)
        assert response.status == "5.03" and response.number(coap.MAX_AGE) == 7
        assert response.block(coap.BLOCK1) is not None and response.get(coap.BLOCK2) is None


def test_follow_up_blocks_come_from_memory(start_registrar, connect, est_server, pki):
    """BLK-4: the same block asked three times, with new message ids, is the same; still one POST."""
    peer = connect(start_registrar({"coap": {"block_size": 64}}))
    response, _ = peer.post_blocks(path("sen"), make_csr(pki), 6, POST_OPTIONS)
    assert response.block(coap.BLOCK2).more
    again = [peer.request(coap.POST, path("sen"), options=[*POST_OPTIONS, (coap.BLOCK2, coap.block(1, False, 2))])
             for _ in range(3)]
    assert {(m.status, m.payload) for m in again} == {("2.04", again[0].payload)} and len(again[0].payload) == 64
    assert len(upstream_posts(est_server)) == 1


def test_smaller_blocks_in_the_middle(start_registrar, connect, pki):
    """BLK-5: a later request with a smaller size is served at the right octet."""
    peer = connect(start_registrar({"coap": {"block_size": 256}}))
    csr = make_csr(pki)
    response, _ = peer.post_blocks(path("sen"), csr, 6, POST_OPTIONS)
    body = peer.fetch_rest(coap.POST, path("sen"), response, options=POST_OPTIONS, szx=1)
    assert is_for(certificates(body)[0], csr)


def test_the_server_chooses_smaller_blocks(start_registrar, connect, est_server, pki):
    """BLK-6: configured 64, sent 128: the first answer says szx 2, and the client goes on from there."""
    peer = connect(start_registrar({"coap": {"block_size": 64}}))
    csr = make_csr(pki)
    response, _ = peer.post_blocks(path("sen"), csr, 3, POST_OPTIONS)
    first = next(m for d, m in peer.trace if d == "←" and m.status == "2.31")
    assert first.block(coap.BLOCK1).szx == 2
    assert response.status == "2.04"
    assert len(upstream_posts(est_server)) == 1


def first_block(szx=2):
    return (coap.BLOCK1, coap.block(0, True, szx))


def test_gap(start_registrar, connect, est_server, pki):
    """BLK-7: a missing block is 4.08, and so is a block out of nowhere; nothing upstream."""
    peer = connect(start_registrar())
    csr = make_csr(pki)
    nowhere = peer.request(coap.POST, path("sen"), csr[64:128], options=[*POST_OPTIONS, (coap.BLOCK1, coap.block(1, True, 2))])
    assert nowhere.status == "4.08"
    assert peer.request(coap.POST, path("sen"), csr[:64], options=[*POST_OPTIONS, first_block()]).status == "2.31"
    gap = peer.request(coap.POST, path("sen"), csr[128:192], options=[*POST_OPTIONS, (coap.BLOCK1, coap.block(2, True, 2))])
    assert gap.status == "4.08"
    assert not upstream_posts(est_server)


def test_format_change(start_registrar, connect, pki):
    """CF-9: all blocks of a body carry the same Content-Format."""
    peer = connect(start_registrar())
    csr = make_csr(pki)
    assert peer.request(coap.POST, path("sen"), csr[:64], options=[*POST_OPTIONS, first_block()]).status == "2.31"
    other = [(coap.CONTENT_FORMAT, coap.uint(60)), (coap.BLOCK1, coap.block(1, True, 2))]
    assert peer.request(coap.POST, path("sen"), csr[64:128], options=other).status in ("4.08", "4.15")


def test_restart_at_block_zero(start_registrar, connect, est_server, pki):
    """BLK-7: number 0 throws away what was there."""
    peer = connect(start_registrar())
    abandoned, csr = make_csr(pki), make_csr(pki)
    assert peer.request(coap.POST, path("sen"), abandoned[:64], options=[*POST_OPTIONS, first_block()]).status == "2.31"
    response, body = enrol(peer, csr, szx=2)
    assert response.status == "2.04" and is_for(certificates(body)[0], csr)
    assert len(upstream_posts(est_server)) == 1


def test_too_large(start_registrar, connect, est_server):
    """BLK-7: 4.13 with Size1, by the hint at once, and without it as soon as the limit is passed."""
    peer = connect(start_registrar({"coap": {"max_request_bytes": 2048}}))
    hinted = peer.request(coap.POST, path("sen"), b"x" * 64,
                          options=[*POST_OPTIONS, first_block(), (coap.SIZE1, coap.uint(5000))])
    assert (hinted.status, hinted.number(coap.SIZE1)) == ("4.13", 2048)
    response, continues = peer.post_blocks(path("sen"), b"x" * 4096, 4, POST_OPTIONS)
    assert (response.status, response.number(coap.SIZE1)) == ("4.13", 2048) and continues <= 8
    assert not upstream_posts(est_server)


@pytest.mark.parametrize("option", [coap.BLOCK1, coap.BLOCK2])
def test_reserved_size(start_registrar, connect, option):
    """BLK-7: szx 7 is 4.00."""
    peer = connect(start_registrar())
    assert peer.request(coap.POST, path("sen"), b"x" * 16, options=[*POST_OPTIONS, (option, coap.uint(7))]).status == "4.00"


def test_size2(start_registrar, connect):
    """BLK-9: asked with Size2=0, the first block tells the size of the whole."""
    peer = connect(start_registrar({"coap": {"block_size": 64}}))
    first, body = get(peer, "crts")
    first = peer.get(path("crts"), options=[(coap.SIZE2, b"")])
    assert first.number(coap.SIZE2) == len(body)


def test_datagrams_stay_small(start_registrar, connect, pki):
    """BLK-10: with the default block size no datagram, DTLS included, is larger than 1152 octets; here 512 and what belongs to it."""
    peer = connect(start_registrar())
    get(peer, "crts")
    enrol(peer, make_csr(pki), szx=6)
    application = [d for d in peer.dtls.received if d[0] == 23]
    assert max(map(len, application)) <= 512 + 64


def test_max_fragment_length(start_registrar, connect, pki):
    """DTLS-7: with 512 negotiated no record carries more, in the handshake or after it, and Block2 fits."""
    peer = connect(start_registrar({"coap": {"block_size": 1024}}), max_fragment_length=MFL_512)
    csr = make_csr(pki)
    response, body = enrol(peer, csr, szx=4)
    assert response.status == "2.04" and is_for(certificates(body)[0], csr)
    for datagram in peer.dtls.received:
        at = 0
        while at < len(datagram):
            length = int.from_bytes(datagram[at + 11:at + 13], "big")
            assert length <= 512 + 16, "512 octets of plaintext, nonce and tag"
            at += 13 + length


def test_abandoned_uploads_are_bounded(start_registrar, connect, est_server):
    """BLK-8: contexts of one association and bytes of all are bounded; what is refused is told 5.03 with Max-Age."""
    registrar = start_registrar({"coap": {"max_buffered_bytes": 4096, "max_request_bytes": 2048}, "est": {"labels": ["a", "b", "c"]}})
    statuses = set()
    for number in range(4):
        peer = connect(registrar, device=f"hoarder{number}")
        for label in (None, "a", "b", "c"):
            block, answer = 0, None
            while block < 3:
                answer = peer.request(coap.POST, path("sen", label), b"x" * 512,
                                      options=[*POST_OPTIONS, (coap.BLOCK1, coap.block(block, True, 5))])
                statuses.add(answer.status)
                if answer.status != "2.31":
                    break
                block += 1
    assert registrar.counters()["buffered_bytes"] <= 4096
    assert statuses == {"2.31", "5.03"}
    assert registrar.counters()["transfers_refused"] > 0
