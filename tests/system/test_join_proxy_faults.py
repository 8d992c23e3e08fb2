"""est-join-proxy where routes and addresses come and go (rows JP-4, JP-8, JPY-1)."""

import socket

import pytest

import programs
from jpy_peer import JpyEcho
from join_proxy import PROXY_BACKBONE, PROXY_LOCAL, REGISTRAR, JoinProxy, net, pledge, udp  # noqa: F401  fixtures
from namespaces import await_route
from test_join_proxy import echo  # noqa: F401  fixture

IPV6_RECVERR = 25
JPY_PORT = 5690


@pytest.fixture
def jpy_echo(net):
    made = []

    def open_one(**more):
        made.append(JpyEcho(udp(net.registrar, REGISTRAR, JPY_PORT), **more))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


@pytest.fixture
def start_both(net, tmp_path):
    """A stateful join proxy with join-port 5685 and a stateless one with 5785, both on one host."""
    started = []

    def start():
        for mode, port, there in (("stateful", 5685, 5684), ("stateless", 5785, JPY_PORT)):
            folder = tmp_path / mode
            folder.mkdir()
            started.append(JoinProxy(net, folder, {"mode": mode, "registrars": [f"[{REGISTRAR}]:{there}"], "pledge": {"join_port": port},
                                                   "discovery": {"answer": False}}))
        return started

    yield start
    for proxy in started:
        proxy.stop()


def move(net, before, after):
    """The address of the proxy towards the registrar."""
    if before:
        net.proxy.run("ip", "-6", "address", "del", f"{before}/64", "dev", "backbone")
    net.add(net.proxy, f"{after}/64", "backbone")
    await_route(net.proxy, REGISTRAR, "backbone")


def assert_soon_relayed(one):
    """Within a round of the proxy's housekeeping, 5 s; nothing else is waited for."""
    assert any(one.exchange(b"are you there?", 0.5) for _ in range(20))
    one.send(b"once more")
    while (answer := one.receive()[0]) != b"once more":
        assert answer == b"are you there?"  # one that was late


def test_addresses_and_routes_come_and_go(net, start_both, pledge, echo, jpy_echo):
    """JP-4, JP-8, JPY-1: without a route to the registrar the proxy starts, tells pledges that there is none where it can, and relays once there is
    one; it goes on when its own address there becomes another, and when its links go down and up."""
    servers = [echo(), jpy_echo()]
    net.proxy.run("ip", "-6", "address", "del", f"{PROXY_BACKBONE}/64", "dev", "backbone")
    proxies = start_both()
    assert "to which there is no route yet" in proxies[1].program.text()
    pledges = [pledge(net.pledges[0], "mesh0", proxy.port) for proxy in proxies]
    pledges[0].udp.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    pledges[0].udp.connect(pledges[0].peer)
    pledges[0].udp.send(b"anybody?")
    with pytest.raises(OSError, match="Network is unreachable"):  # ICMPv6 type 1 code 0
        pledges[0].udp.recv(100)
    assert pledges[1].exchange(b"anybody?", 0.2) is None
    for proxy in proxies:
        programs.await_counters(proxy.program, lambda counters: counters["no_route"] == 1)
    pledges[0] = pledge(net.pledges[0], "mesh0", proxies[0].port)
    move(net, None, PROXY_BACKBONE)
    for one in pledges:
        assert_soon_relayed(one)
    move(net, PROXY_BACKBONE, "2001:db8::22")
    for one in pledges:
        assert_soon_relayed(one)
    assert servers[0].seen[-1][1][0] == "2001:db8::22"
    assert servers[1].peers[-1][:2] == ("2001:db8::22", 5695)
    for link in ("backbone", "mesh0"):
        net.proxy.run("ip", "link", "set", link, "down")
    for link in ("backbone", "mesh0"):
        net.proxy.run("ip", "link", "set", link, "up")
    net.add(net.proxy, f"{PROXY_LOCAL}/64", "mesh0")
    move(net, None, "2001:db8::33")
    for one in pledges:
        assert_soon_relayed(one)
