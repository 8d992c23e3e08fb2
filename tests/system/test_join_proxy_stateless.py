"""est-join-proxy's stateless mode against a JPY peer that shares no code with it (rows JPY-1 to JPY-5, JP-8 to JP-11); against the
registrar itself: test_join_proxy_pair.py."""

import os
import time

import cbor2
import pytest

import programs
from jpy_peer import JpyEcho
from join_proxy import LINKS, PROXY_BACKBONE, PROXY_LOCAL, REGISTRAR, net, pledge, start_proxy, udp  # noqa: F401  fixtures

PORT, SOURCE_PORT = 5690, 5695


@pytest.fixture
def start_stateless(start_proxy, tmp_path):
    def start(changes=None, **more):
        return start_proxy(programs.merge({"mode": "stateless", "registrars": [f"[{REGISTRAR}]:{PORT}"],
                                           "stateless": {"key_file": str(tmp_path / "keys")}}, changes or {}), **more)

    return start


@pytest.fixture
def echo(net):
    made = []

    def open_one(port=PORT, **more):
        made.append(JpyEcho(udp(net.registrar, REGISTRAR, port), **more))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


def test_one_header_for_twenty_datagrams(net, start_stateless, pledge, echo):
    """JPY-1, JPY-2, JPY-3: 82 <bstr> <bstr> and nothing else, from one port; one header for one pledge endpoint, others for others; at most 32
    octets, with nothing to be read in them."""
    server, proxy = echo(), start_stateless()
    for address in ("fe80::1:2:3:4", "fe80::1:2:3:5"):
        net.add(net.pledges[0], f"{address}/64", "mesh0")
    net.add(net.pledges[1], "fe80::1:2:3:4/64", "mesh1")
    endpoints = [(0, "fe80::1:2:3:4", 40000), (0, "fe80::1:2:3:4", 40001), (0, "fe80::1:2:3:5", 40000), (1, "fe80::1:2:3:4", 40000)]
    headers = []
    for number, address, port in endpoints:
        one, first = pledge(net.pledges[number], LINKS[number], proxy.port, address, port), len(server.seen)
        for _ in range(20):
            payload = os.urandom(40)
            one.send(payload)
            assert one.receive()[0] == payload
        seen = {header for header, _ in server.seen[first:]}
        assert len(server.seen) - first == 20 and len(seen) == 1
        headers.append(seen.pop())
    assert len(set(headers)) == 4 and max(map(len, headers)) <= 32
    assert not any(bytes.fromhex("0001000200030004") in header or (40000).to_bytes(2, "big") in header for header in headers)
    assert {peer[:2] for peer in server.peers} == {(PROXY_BACKBONE, SOURCE_PORT)}
    for raw, (header, content) in zip(server.raw, server.seen):
        assert raw[0] == 0x82 and raw == cbor2.dumps([header, content])
    assert proxy.counters()["mappings"] == 0


def test_answers_come_from_the_address_that_was_asked(net, start_stateless, pledge, echo):
    """JPY-4: the proxy has two link-local addresses on the link; a pledge with a connected socket hears both, each from itself."""
    echo()
    proxy = start_stateless()
    own = net.proxy.link_local("mesh0")
    for to in (PROXY_LOCAL, own):
        one = pledge(net.pledges[0], "mesh0", proxy.port, to=to)
        one.send(b"who?")
        assert one.receive()[1][:2] == (to, proxy.port)


def test_size(net, start_stateless, pledge, echo):
    """JPY-5: the largest content that fits the MTU passes octet by octet, the empty one too; one more octet is dropped and counted."""
    server, proxy = echo(), start_stateless({"stateless": {"mtu": 1280}})
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    one.exchange(b"x")
    overhead = 1 + 2 + len(server.seen[0][0]) + 3
    most = 1280 - 48 - overhead
    assert overhead <= 38
    for size in (0, 1, 23, 24, 255, 256, most):
        payload = os.urandom(size)
        assert one.exchange(payload) == payload
    for size in (most + 1, 1300):
        one.send(bytes(size))
    programs.await_counters(proxy.program, lambda counters: counters["jpy_too_large"] == 2)
    assert len(server.raw[-1]) == 1280 - 48 and one.exchange(b"y") == b"y"


def test_size_by_the_path(net, start_stateless, pledge, echo):
    """JPY-5: what fits is by the path: a full packet of a link with 1280 octets passes over Ethernet, and no more than that over another such link;
    nothing is cut into IP fragments on the way up."""
    server, proxy = echo(), start_stateless()
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    net.registrar.run("nft", "add table ip6 cut; add chain ip6 cut in { type filter hook prerouting priority -450; };"
                      "add rule ip6 cut in exthdr frag exists counter")
    for size in (1232, 1416):
        assert one.exchange(bytes(size)) == bytes(size)
    assert one.exchange(bytes(1417), 0.3) is None
    net.proxy.run("ip", "link", "set", "mtu", "1280", "dev", "backbone")
    for size in (1196, 1197):
        one.send(bytes(size))
    assert len(one.receive()[0]) == 1196 and one.receive(0.3) is None
    assert proxy.counters()["jpy_too_large"] == 2
    assert "packets 0 " in net.registrar.run("nft", "list", "table", "ip6", "cut").stdout.decode()


def test_overhead_is_as_documented(net, start_stateless, pledge, echo):
    """JPY-5: what docs/join-proxy.md says that a JPY message costs."""
    server, proxy = echo(), start_stateless()
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    added = {}
    for size in (0, 23, 24, 255, 256, 1196):
        one.exchange(bytes(size))
        added[size] = len(server.raw[-1]) - size
    assert added == {0: 34, 23: 34, 24: 35, 255: 35, 256: 36, 1196: 36}
    page = (programs.ROOT / "docs" / "join-proxy.md").read_text()
    for line in ("| up to 23 octets | 34 octets |", "| 24 to 255 octets | 35 octets |", "| 256 octets and more | 36 octets |", "1416 octets fit", "1196 do"):
        assert line in page


def test_forged_and_broken_answers_are_dropped(net, start_stateless, pledge, echo):
    """JPY-4: every octet of the header tampered with, cut short, from a stranger, of another shape; nothing reaches the pledge but what is right."""
    bad = []

    def answer(header, content):
        replies = [cbor2.dumps([bytes(header[:i]) + bytes([header[i] ^ 1]) + header[i + 1:], b"tampered"]) for i in range(len(header))]
        whole = cbor2.dumps([header, b"cut"])
        replies += [whole[:n] for n in (0, 1, 3, len(header), len(whole) - 1)] + [whole + b"\0"]
        replies += [cbor2.dumps(["text", b"x"]), cbor2.dumps([header]), cbor2.dumps([b"", b"x"]), cbor2.dumps([os.urandom(len(header)), b"random"]),
                    cbor2.dumps([header + b"\0", b"longer"]), cbor2.dumps([header[:-1], b"shorter"]), cbor2.dumps([bytes(254), b"x"]),
                    cbor2.dumps([60, header, 42, b"seed"]), cbor2.dumps([header, 1, 0, 0, b"five"]),
                    b"\x9f" + cbor2.dumps(header) + b"\x41x\xff", b"\x82\x5f\x41x\xff\x41x", os.urandom(100)]
        bad.append(len(replies))
        return [*replies, cbor2.dumps([header, content])]

    server, proxy = echo(answer=answer), start_stateless()
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    assert one.exchange(b"right") == b"right"
    for address in (PROXY_BACKBONE,):
        stranger = udp(net.registrar, REGISTRAR, 0)
        stranger.sendto(cbor2.dumps([server.seen[0][0], b"from another port"]), (address, SOURCE_PORT))
        stranger.close()
    assert one.exchange(b"again") == b"again"
    counters = proxy.counters()
    assert counters["jpy_malformed"] + counters["jpy_forged"] == 2 * bad[0] and counters["jpy_forged"] >= 2 * len(server.seen[0][0])


def test_headers_of_another_registrar_do_not_open(net, start_stateless, pledge, echo):
    """JPY-4, JP-11: each registrar has a port of ours and headers of its own; one cannot speak for the other."""
    first, second = echo(), echo(port=PORT + 1)
    proxy = start_stateless({"registrars": [f"[{REGISTRAR}]:{PORT}", f"[{REGISTRAR}]:{PORT + 1}"]})
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    assert one.exchange(b"to the first") == b"to the first"
    second.udp.sendto(cbor2.dumps([first.seen[0][0], b"stolen"]), (PROXY_BACKBONE, SOURCE_PORT + 1))
    programs.await_counters(proxy.program, lambda counters: counters["jpy_forged"] == 1)
    assert one.receive(0.1) is None
    other = pledge(net.pledges[0], "mesh0", proxy.port + 1)
    assert other.exchange(b"to the second") == b"to the second"
    assert second.peers[0][1] == SOURCE_PORT + 1 and proxy.counters()["jpy_forged"] == 1


def test_rotation(net, start_stateless, pledge, echo):
    """JPY-2: a new key gives a new header; an answer with the header of the key before still arrives, one of the key before that does not."""
    server, proxy = echo(), start_stateless({"stateless": {"key_lifetime_s": 4}})
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    headers = []
    deadline = time.monotonic() + 60
    while len(headers) < 3 and time.monotonic() < deadline:
        since = len(proxy.program.lines)
        assert one.exchange(b"x") == b"x"
        headers.append(server.seen[-1][0])
        for old in headers[-2:]:
            server.udp.sendto(cbor2.dumps([old, b"late"]), (PROXY_BACKBONE, SOURCE_PORT))
            assert one.receive()[0] == b"late"
        if len(headers) < 3:
            proxy.program.wait_for("new key", since=since)
    assert len(set(headers)) == 3
    server.udp.sendto(cbor2.dumps([headers[0], b"too late"]), (PROXY_BACKBONE, SOURCE_PORT))
    assert one.receive(0.5) is None
    assert (os.stat(proxy.settings["stateless"]["key_file"]).st_mode & 0o777) == 0o600


def test_strangers_and_rates(net, start_stateless, pledge, echo):
    """JP-9, JP-10: no routable pledges, and no floods, in this mode either."""
    server, proxy = echo(answer=lambda *_: []), start_stateless({"limits": {"pledge_packets_per_s": 20}})
    net.add(net.pledges[0], "2001:db8:1::2/64", "mesh0")
    net.add(net.proxy, "2001:db8:1::1/64", "mesh0")
    pledge(net.pledges[0], "mesh0", proxy.port, "2001:db8:1::2", to="2001:db8:1::1").send(b"routable")
    programs.await_counters(proxy.program, lambda counters: counters["strangers"] == 1)
    assert server.seen == []
    one, began = pledge(net.pledges[0], "mesh0", proxy.port), time.monotonic()
    for number in range(1, 4):  # no more at a time than the receive buffer holds
        for _ in range(100):
            one.send(b"flood")
        programs.await_counters(proxy.program, lambda counters: counters["rate_limited"] + len(server.seen) == 100 * number)
    assert 20 <= len(server.seen) <= 20 * (time.monotonic() - began + 1) + 1


def test_refused_by_upstream_is_survived(net, start_stateless, pledge, echo):
    """JP-8: no error can be passed on; the proxy relays as soon as there is a registrar."""
    proxy = start_stateless()
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    for _ in range(3):
        assert one.exchange(b"nobody there", 0.2) is None
    echo()
    assert one.exchange(b"now") == b"now"


def test_a_broken_key_file_is_named(net, start_stateless, tmp_path):
    """A file of another kind, and one open to others, stop the start with the cure."""
    keys = tmp_path / "keys"
    for content, mode, complaint in ((b"junk", 0o600, "is not a file of header keys; remove it"), (bytes(77), 0o644, "is open to others; use chmod 600")):
        keys.write_bytes(content)
        keys.chmod(mode)
        proxy = start_stateless(wait=False)
        proxy.program.process.wait(20)
        proxy.program.stop(expect=1)
        assert complaint in proxy.program.text()
        keys.unlink()
