"""The registrar's JPY port against join proxies made by hand (rows JPR-1 to JPR-9, JPD-3, JPD-5)."""

import contextlib
import os
import socket
from random import Random

import cbor2
import pytest

import coap
import programs
from coap_peer import CoapPeer
from dtls import DtlsClient, DtlsError
from enrolment import POST_OPTIONS, certificates, enrol, get, is_for, make_csr, path
from jpy_peer import JpySocket, flood, unwrap_five, unwrap_pair, unwrap_seed, wrap_five, wrap_pair, wrap_seed
from test_discovery import plain  # noqa: F401  fixture

JPY = {"listen": {"jpy": ["127.0.0.1:0"]}}


@pytest.fixture
def join(pki):
    """join(registrar, header) is the association of a device behind a join proxy made by hand, whose header this is: a CoapPeer. `proxy` is
    the address of the join proxy, or a JpySocket whose port it has as well."""
    opened = []

    def open_association(registrar, header, device="meter", proxy="127.0.0.1", handshake=True, forms=(), trust="est-ca.pem", **options):
        certificate, key = pki.device(device, None, *options.pop("device_options", ()))
        if isinstance(proxy, JpySocket):
            jpy = JpySocket(proxy.udp, header, *forms, shelf=proxy.shelf)
        else:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind((proxy, 0))
            jpy = JpySocket(udp, header, *forms)
        client = DtlsClient(("127.0.0.1", registrar.jpy[0][1]), certificate=certificate, key=key, trust=pki / trust, udp=jpy, **options)
        opened.append((client, jpy))
        if handshake:
            client.handshake()
        peer = CoapPeer(client)
        peer.dtls, peer.jpy = client, jpy
        return peer

    yield open_association
    for client, _ in opened:
        client.close()
    for _, jpy in opened:
        jpy.close()


@pytest.mark.parametrize("header", [b"", b"h", os.urandom(16), os.urandom(64), os.urandom(255)], ids=len)
def test_enrolment(start_registrar, join, pki, header):
    """JPR-1, JPR-2: CA certificates and an enrolment, whatever the header; the registrar knows who it is by the DTLS certificate alone."""
    registrar = start_registrar(JPY)
    peer, csr = join(registrar, header), make_csr(pki)
    assert certificates(get(peer)[1])
    response, body = enrol(peer, csr)
    assert response.status == "2.04" and is_for(certificates(body)[0], csr)
    registrar.program.wait_for("SN-meter.*trust=manufacturer.*operation=sen")
    if len(header) > 8:
        assert header.hex() not in registrar.program.text()
    for datagram in peer.jpy.received:
        assert datagram.startswith(cbor2.dumps([header, b""])[:-1])


def test_identity_and_policy_are_those_of_the_coaps_port(start_registrar, join, connect, pki, est_server):
    """JPR-1: who is refused there is refused here, with the same answer; one enrolment is not two, whichever port it comes to."""
    registrar = start_registrar(JPY)
    foreign = make_csr(pki, "meter", subject_name="/O=Example/CN=other/serialNumber=SN-other")
    direct, behind = connect(registrar), join(registrar, b"h")
    refusals = [enrol(peer, foreign)[0] for peer in (direct, behind)]
    assert refusals[0].status == refusals[1].status == "4.03" and refusals[0].payload == refusals[1].payload
    with pytest.raises(DtlsError, match="unknown ca"):
        join(registrar, b"i", "stranger", device_options=("--ca", "other-ca"))
    registrar.program.wait_for(r"handshake with a device behind join proxy 127\.0\.0\.1:\d+ failed")
    csr = make_csr(pki)
    first, second = enrol(direct, csr)[1], enrol(behind, csr)[1]
    assert first == second and len(est_server.stats()["issued"]) == 1


def test_each_header_is_an_association(start_registrar, join, pki):
    """JPR-2: three devices behind one port of one join proxy, their requests in between each other; JPR-7: told by certificate."""
    registrar = start_registrar(JPY)
    first = join(registrar, b"one", "meter")
    peers = [first, join(registrar, b"two", "sensor", first.jpy), join(registrar, b"", "lamp", first.jpy)]
    assert registrar.counters()["associations"] == 3
    csrs = [make_csr(pki, name) for name in ("meter", "sensor", "lamp")]
    for peer, csr in zip(peers, csrs):
        assert is_for(certificates(enrol(peer, csr)[1])[0], csr)
    for peer in peers:
        assert certificates(get(peer)[1])


def test_the_old_form(start_registrar, join, pki):
    """JPR-9: array(5) is answered in array(5), the first four elements as they came, though another encoder would write them shorter."""
    header = cbor2.dumps(bytes(16)) + b"\x19\x00\x07" + b"\x38\x00" + b"\x1a\x00\x00\x00\x02"
    peer, csr = join(start_registrar(JPY), header, forms=(wrap_five, unwrap_five)), make_csr(pki)
    assert is_for(certificates(enrol(peer, csr)[1])[0], csr)


def test_the_seed_form(start_registrar, join, pki):
    """B0: with the switch, that of the first draft is answered in kind; without it, not at all."""
    peer, csr = join(start_registrar({**JPY, "jpy": {"seed_form": True}}), b"header", forms=(wrap_seed, unwrap_seed)), make_csr(pki)
    assert is_for(certificates(enrol(peer, csr)[1])[0], csr)
    with pytest.raises(TimeoutError):
        join(start_registrar(JPY), b"header", forms=(wrap_seed, unwrap_seed), handshake=False).dtls.handshake(0.5)


@pytest.mark.parametrize("length, szx", [(16, 6), (255, 5)])
def test_blocks_leave_room_for_the_header(start_registrar, join, pki, length, szx):
    """JPR-5: with blocks of 1024 octets and a header of 255 a message would be longer than what IPv6 carries everywhere; both directions get
    blocks of 512. With a header of 16 they stay as they are."""
    registrar = start_registrar({**JPY, "coap": {"block_size": 1024}, "est": {"labels": ["multi-ca"]}})
    peer = join(registrar, os.urandom(length))
    first, body = get(peer, "crts", "multi-ca")
    assert 512 < len(body) < 1024 and len(first.payload) == min(len(body), 16 << szx)
    csr = make_csr(pki, "meter", "--eku", ",".join(f"1.3.6.1.4.1.32473.{n}" for n in range(1000, 1090)))
    response, continues = peer.post_blocks(path("sen"), csr, 6, POST_OPTIONS)
    assert response.status == "2.04" and 1024 < len(csr) < 1536
    asked = {message.block(coap.BLOCK1).szx for way, message in peer.trace if way == "←" and message.status == "2.31"}
    assert asked == {szx} and continues
    largest = max(map(len, peer.jpy.received))
    assert 16 << szx < largest + 200 and largest <= 1232


def test_what_is_malformed_harms_nobody(start_registrar, join):
    """JPR-3: forged, truncated and random messages on the port and the flow of a device that is being served; none is answered."""
    registrar = start_registrar(JPY)
    peer = join(registrar, b"mine")
    server, header = ("127.0.0.1", registrar.jpy[0][1]), b"mine"
    good = peer.jpy.sent[-1]
    bad = [good[:n] for n in range(len(good))] + [good + b"\0", b"\x9f" + good[1:] + b"\xff", b"\x81" + good[1:], cbor2.dumps(["mine", b"x"]),
           cbor2.dumps([header, None]), cbor2.dumps([60, header, 42, b"x"]), os.urandom(200)]
    bad += [cbor2.dumps([bytes(256), b"x"])]
    before = registrar.counters()
    for datagram in bad:
        peer.jpy.udp.sendto(datagram, server)
    # well formed, but no record of this association
    for content in (b"", b"\x17\xfe\xfd" + bytes(40), os.urandom(100), bytes(1200)):
        peer.jpy.udp.sendto(cbor2.dumps([header, content]), server)
    assert certificates(get(peer)[1])
    after = registrar.counters()
    assert after["jpy_malformed"] - before["jpy_malformed"] == len(bad)
    assert after["associations"] == 1 and not any(peer.jpy.shelf.values())


def test_a_rogue_that_invents_headers(start_registrar, join, connect, pki):
    """JPR-6: ClientHellos by the thousand cost no state; handshakes that it leaves half open stay below its own limit; devices behind other
    join proxies and direct ones get in meanwhile."""
    registrar = start_registrar({**JPY, "jpy": {"max_handshakes": 8, "max_associations": 8}, "dtls": {"max_handshakes": 12, "max_associations": 12}})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.66", 0))
        flood(deaf, ("127.0.0.1", registrar.jpy[0][1]), registrar.program, 20)
    assert registrar.counters()["associations"] == 0
    certificate, key = pki.device("rogue")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.66", 0))
    udp.settimeout(5)
    with udp:
        for _ in range(30):
            client = DtlsClient(("127.0.0.1", registrar.jpy[0][1]), certificate=certificate, key=key, trust=pki / "est-ca.pem",
                                udp=JpySocket(udp, os.urandom(30)))
            client.say_hello()
            client.abandon()
        counters = programs.await_counters(registrar.program, lambda counters: counters["jpy_limited"] == 22)
        assert counters["handshakes"] == 8
        assert certificates(get(join(registrar, b"honest", "meter", "127.0.0.2"))[1])
        assert certificates(get(join(registrar, b"honest", "lamp", "127.0.0.3"))[1])
        assert certificates(get(connect(registrar, "sensor"))[1])
    registrar.program.wait_for(r"join proxy 127\.0\.0\.66:\d+ has all that the jpy limits grant it")


def test_the_list_of_join_proxies(start_registrar, join):
    """JPR-7: others are dropped, counted and named by their address."""
    registrar = start_registrar({**JPY, "jpy": {"join_proxies": ["127.0.0.2", "127.0.1.0/24"]}})
    with pytest.raises(TimeoutError):
        join(registrar, b"h", handshake=False).dtls.handshake(0.5)
    registrar.program.wait_for(r"join proxy 127\.0\.0\.1:\d+ is not in jpy\.join_proxies")
    assert registrar.counters()["jpy_refused"] >= 1
    for address in ("127.0.0.2", "127.0.1.200"):
        assert certificates(get(join(registrar, b"h", proxy=address))[1])


def test_two_workers(start_registrar, join, pki):
    """JPR-2: a join proxy's port belongs to one worker, all of its pledges with it; several join proxies are served by both."""
    registrar = start_registrar({"workers": 2, **JPY})
    for port in range(4):
        first = join(registrar, b"one")
        for peer in (first, join(registrar, b"two", "sensor", first.jpy)):
            assert certificates(get(peer)[1])


def test_no_amplification(start_registrar):
    """JPR-4, RFC 6347 section 4.2.1: whose address is not proved gets no more than it sent, in one datagram at most, the smallest ClientHello and a
    thousand broken ones among them; in the older form likewise."""
    registrar = start_registrar(JPY)
    random = bytes(range(32))
    body = b"\xfe\xfd" + random + b"\0\0" + b"\x00\x02\xc0\xae" + b"\x01\x00"  # no session, no cookie, one cipher suite, no compression
    smallest = b"\x16\xfe\xfd" + bytes(8) + (12 + len(body)).to_bytes(2, "big") + b"\x01" + len(body).to_bytes(3, "big") + bytes(5) + \
        len(body).to_bytes(3, "big") + body
    hello = (programs.ROOT / "tests" / "vectors" / "cjp20-appA-request.dtls-content.bin").read_bytes()
    dice, asked, heard = Random(6), {}, {}
    contents = [smallest, hello]
    for _ in range(1000):
        broken = bytearray(dice.choice([smallest, hello]))
        for _ in range(dice.randint(0, 3)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        contents.append(bytes(broken[:dice.choice([len(broken), dice.randrange(len(broken))])]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.66", 0))
        for number, content in enumerate(contents):
            for wrap, header in ((wrap_pair, b"%04d" % number), (wrap_five, cbor2.dumps(b"%04d" % number) + b"\x01\x00\x00")):
                asked[header] = wrap(header, content)
                before = registrar.counters()["datagrams_received"] if number % 100 == 0 else None
                udp.sendto(asked[header], ("127.0.0.1", registrar.jpy[0][1]))
                if before is not None:
                    programs.await_counters(registrar.program, lambda counters: counters["datagrams_received"] > before)
        udp.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while True:
                answer = udp.recv(65535)
                header = (unwrap_five if answer[0] == 0x85 else unwrap_pair)(answer)[0]
                assert header not in heard
                heard[header] = answer
    assert b"0000" in heard and b"0001" in heard and 100 < len(heard) < len(asked)
    assert all(len(answer) <= len(asked[header]) for header, answer in heard.items())
    assert registrar.counters()["associations"] == 0


def test_limits_are_of_each_worker(start_registrar, pki):
    """JPR-6: docs/join-proxy.md: whoever uses many ports of one address has the limits of each of the workers, and no more."""
    registrar = start_registrar({"workers": 2, **JPY, "jpy": {"max_handshakes": 2, "max_associations": 2}})
    certificate, key = pki.device("rogue")
    for number in range(24):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.66", 0))
            udp.settimeout(5)
            client = DtlsClient(("127.0.0.1", registrar.jpy[0][1]), certificate=certificate, key=key, trust=pki / "est-ca.pem",
                                udp=JpySocket(udp, b"h%d" % number))
            client.say_hello()
            client.abandon()
    counters = programs.await_counters(registrar.program, lambda counters: counters["jpy_limited"] + counters["handshakes"] == 24)
    assert counters["handshakes"] == 4


def test_discovery(start_registrar, plain):
    """JPD-3, JPD-5: asked by unicast; the names are knobs; over DTLS nothing of it is told."""
    core = (".well-known", "core")

    def links(changes, query):
        registrar = start_registrar(programs.merge({"listen": {"discovery": ["127.0.0.1:0"]}}, changes))
        answer = plain(registrar.coap[0]).get(core, queries=[query])
        assert answer.status == "2.05" and answer.number(coap.CONTENT_FORMAT) == 40
        return answer.payload.decode(), registrar

    text, registrar = links(JPY, "rt=brski.rjp")
    assert text == f"<jpy://127.0.0.1:{registrar.jpy[0][1]}>;rt=brski.rjp"
    text, registrar = links({**JPY, "jpy": {"schemes": ["coaps+jpy", "coaps"]}}, "rt=brski.rjp")
    assert text == ",".join(f"<{scheme}://127.0.0.1:{registrar.jpy[0][1]}>;rt=brski.rjp" for scheme in ("coaps+jpy", "coaps"))
    assert links({}, "rt=brski.rjp")[0] == ""
    text, registrar = links({}, "brski-jp=*")
    assert text == f"<>;brski-jp={registrar.coaps[0][1]}"
    assert links({"listen": {"brski_jp": False}}, "brski-jp=*")[0] == ""


def test_not_twice_at_one_address(start_registrar):
    """JPR-1: the port is its own; one that is taken is told."""
    first = start_registrar(JPY)
    second = start_registrar({"listen": {"jpy": [f"127.0.0.1:{first.jpy[0][1]}"]}}, wait=False)
    second.program.process.wait(20)
    second.program.stop(expect=1)
    assert "listen.jpy[0]" in second.program.text() and "Address already in use" in second.program.text()
