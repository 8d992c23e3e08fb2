"""est-join-proxy in real topologies (rows JP-1, JP-3 to JP-11, JPR-8)."""

import json
import os
import re
import threading
import time

import pytest

import programs
from join_proxy import (LINKS, PROXY, PROXY_BACKBONE, PROXY_LOCAL, REGISTRAR, JoinProxy, ask, assert_lost, enrol_stock_client, est,  # noqa: F401
                        est_device, let_pledges_route, lose_every_tenth, net, pledge, start_proxy, udp)
from namespaces import await_route, join


class Echo:
    """In the registrar's place: answers each datagram with itself, and keeps who sent what."""

    def __init__(self, net, address=REGISTRAR, port=5684, answer=lambda payload: payload):
        self.udp, self.seen, self.answer = udp(net.registrar, address, port), [], answer
        self.udp.settimeout(0.1)
        self.running = True
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while self.running:
            try:
                payload, peer = self.udp.recvfrom(65535)
            except TimeoutError:
                continue
            self.seen.append((payload, peer))
            answer = self.answer(payload)
            if answer is not None:
                self.udp.sendto(answer, peer)

    def close(self):
        self.running = False
        self.thread.join()
        self.udp.close()


@pytest.fixture
def echo(net):
    made = []

    def open_one(**more):
        made.append(Echo(net, **more))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


# --- relaying (JP-1, JP-4, JP-5, JP-6)


def test_payloads_are_relayed_octet_by_octet(net, start_proxy, pledge, echo):
    """JP-1: whatever they are, the empty one and the longest that fits the link included."""
    server, proxy = echo(), start_proxy()
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    for size in (0, 1, 13, 64, 512, 1200, 1452):
        payload = os.urandom(size)
        assert one.exchange(payload) == payload
    assert [len(payload) for payload, _ in server.seen] == [0, 1, 13, 64, 512, 1200, 1452]


def test_each_pledge_endpoint_has_a_port_of_its_own(net, start_proxy, pledge, echo):
    """JP-4, JP-5: two pledges with the same address and port on two links, and a second port of one; answers come from where was asked."""
    server, proxy = echo(), start_proxy()
    for host, link in zip(net.pledges, LINKS):
        net.add(host, "fe80::d/64", link)
    sockets = [pledge(host, link, proxy.port, "fe80::d", 40000) for host, link in zip(net.pledges, LINKS)]
    sockets.append(pledge(net.pledges[0], "mesh0", proxy.port, "fe80::d", 40001))
    for number, each in enumerate(sockets):
        each.send(b"%d" % number)
        payload, peer = each.receive()
        assert payload == b"%d" % number and peer[:2] == (PROXY_LOCAL, proxy.port)
    assert len({peer for _, peer in server.seen}) == 3
    assert {peer[0] for _, peer in server.seen} == {PROXY_BACKBONE}
    assert sockets[0].exchange(b"again") == b"again"
    assert server.seen[-1][1] == server.seen[0][1]
    assert proxy.counters()["mappings"] == 3


def test_only_the_registrar_is_heard(net, start_proxy, pledge, echo):
    """JP-5, JP-9: a stranger on the backbone who knows the port, and the registrar's own host from another port."""
    server, proxy = echo(), start_proxy()
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    assert one.exchange(b"hello") == b"hello"
    there = server.seen[0][1]
    net.add(net.registrar, "2001:db8::bad/64", "backbone")
    for address in (REGISTRAR, "2001:db8::bad"):
        stranger = udp(net.registrar, address, 0)
        stranger.sendto(b"forged", there)
        stranger.close()
    stranger = udp(net.registrar, REGISTRAR)
    stranger.sendto(b"to a port without a mapping", (PROXY_BACKBONE, 40001))
    stranger.close()
    assert one.exchange(b"still there") == b"still there"


def test_mappings_expire(net, start_proxy, pledge, echo):
    """JP-6: after the idle time, which traffic of either direction prolongs (stateful_test); then the pledge gets a new port."""
    server, proxy = echo(), start_proxy({"stateful": {"idle_s": 1}})
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    one.exchange(b"first")
    there = server.seen[0][1]
    programs.await_counters(proxy.program, lambda counters: counters["mappings"] == 0)
    assert proxy.counters()["mappings_expired"] == 1
    server.udp.sendto(b"too late", there)
    assert one.exchange(b"second") == b"second"
    assert server.seen[-1][1] != there


# --- limits (JP-7, JP-10), strangers (JP-9), errors (JP-8)


def test_limits_of_mappings(net, start_proxy, pledge, echo):
    """JP-7: the third port of one address and the eleventh of an interface are refused with "administratively prohibited"; another link is
    not affected."""
    server, proxy = echo(), start_proxy()
    for number in range(1, 7):
        net.add(net.pledges[0], f"fe80::d{number}/64", "mesh0")
    refused = 0
    for number in range(1, 7):
        for port in (1, 2):
            one = pledge(net.pledges[0], "mesh0", proxy.port, f"fe80::d{number}", 40000 + port)
            one.udp.connect(one.peer)
            one.udp.send(b"let me in")
            if number <= 5:
                assert one.udp.recv(100) == b"let me in"
                continue
            with pytest.raises(PermissionError):  # ICMPv6 type 1 code 1 is EACCES
                one.udp.recv(100)
            refused += 1
    third = pledge(net.pledges[1], "mesh1", proxy.port, None, 40000)
    assert third.exchange(b"other link") == b"other link"
    counters = proxy.counters()
    assert refused == 2 and counters["mappings_refused"] == 2 and counters["icmp_refusals"] == 2
    assert len(server.seen) == 11


def test_limit_of_one_pledge(net, start_proxy, pledge, echo):
    """JP-7: two ports of one address."""
    server, proxy = echo(), start_proxy()
    first, second, third = (pledge(net.pledges[0], "mesh0", proxy.port) for _ in range(3))
    assert first.exchange(b"x") == second.exchange(b"x") == b"x"
    third.send(b"y")
    programs.await_counters(proxy.program, lambda counters: counters["mappings_refused"] == 1)
    assert first.exchange(b"z") == b"z" and third.receive(0.1) is None
    assert [payload for payload, _ in server.seen] == [b"x", b"x", b"z"]


def test_refusal_without_permission_is_silent(net, start_proxy, pledge, echo, tmp_path):
    """JP-7: without CAP_NET_RAW there is no ICMP, and the log says so once."""
    echo()
    settings = JoinProxy(net, tmp_path, {"stateful": {"max_per_pledge": 1}})
    settings.stop()
    bare = programs.Program(net.proxy.command("setpriv", "--bounding-set", "-all", "--inh-caps", "-all",
                                              settings.program.process.args[4], "--config", settings.config))
    try:
        bare.wait_for("ready:")
        bare.wait_for("not told of errors")
        assert pledge(net.pledges[0], "mesh0", 5685).exchange(b"one") == b"one"
        second = pledge(net.pledges[0], "mesh0", 5685)
        second.udp.connect(second.peer)
        second.udp.send(b"two")
        programs.await_counters(bare, lambda counters: counters["mappings_refused"] == 1)
        second.udp.settimeout(0.1)
        with pytest.raises(TimeoutError):
            second.udp.recv(100)
    finally:
        bare.stop()


def test_rate_limits(net, start_proxy, pledge, echo):
    """JP-10: a flood from one pledge is cut to its share, in packets and in octets, while another on the same link passes."""
    server, proxy = echo(answer=lambda payload: payload if payload == b"honest" else None), start_proxy(
        {"limits": {"pledge_packets_per_s": 20, "interface_octets_per_s": 10000}})
    for address in ("fe80::bad/64", "fe80::900d/64", "fe80::b1c/64"):
        net.add(net.pledges[0], address, "mesh0")
    flood = pledge(net.pledges[0], "mesh0", proxy.port, "fe80::bad")
    honest = pledge(net.pledges[0], "mesh0", proxy.port, "fe80::900d")
    began = time.monotonic()
    for _ in range(5):  # no more at a time than the receive buffer holds
        for _ in range(100):
            flood.send(b"flood")
        assert honest.exchange(b"honest") == b"honest"
    most = 20 * (time.monotonic() - began + 1) + 1
    passed = sum(payload == b"flood" for payload, _ in server.seen)
    assert 20 <= passed <= most and proxy.counters()["rate_limited"] == 500 - passed
    time.sleep(1)  # for the interface's share
    big = pledge(net.pledges[0], "mesh0", proxy.port, "fe80::b1c")
    began = time.monotonic()
    for _ in range(15):
        big.send(bytes(1000))
    programs.await_counters(proxy.program, lambda counters: counters["rate_limited"] - 500 + passed + len(large(server)) == 15)
    assert 8 <= len(large(server)) <= 10 * (time.monotonic() - began + 1) + 1


def large(server):
    return [payload for payload, _ in server.seen if len(payload) == 1000]


def test_strangers_are_dropped(net, start_proxy, pledge, echo):
    """JP-9: a pledge with a routable address, and one that is not on a pledge interface; with the laboratory's switch the first may."""
    server, proxy = echo(), start_proxy({"pledge": {"interfaces": ["mesh0"]}})
    net.add(net.pledges[0], "2001:db8:1::2/64", "mesh0")
    net.add(net.proxy, "2001:db8:1::1/64", "mesh0")
    routable = pledge(net.pledges[0], "mesh0", proxy.port, "2001:db8:1::2", to="2001:db8:1::1")
    elsewhere = pledge(net.pledges[1], "mesh1", proxy.port)
    backbone = udp(net.registrar)
    routable.send(b"routable")
    elsewhere.send(b"elsewhere")
    backbone.sendto(b"from behind", (PROXY_BACKBONE, proxy.port))
    backbone.close()
    assert pledge(net.pledges[0], "mesh0", proxy.port).exchange(b"pledge") == b"pledge"
    programs.await_counters(proxy.program, lambda counters: counters["strangers"] == 3)
    assert [payload for payload, _ in server.seen] == [b"pledge"]
    proxy.stop()
    proxy = start_proxy({"pledge": {"interfaces": ["mesh0"], "any_source": True}})
    assert routable.exchange(b"routable") == b"routable"


@pytest.mark.parametrize("registrar", [REGISTRAR, "192.0.2.1"])
def test_errors_from_upstream_reach_the_pledge(net, start_proxy, pledge, registrar):
    """JP-8: nothing listens at the registrar; the pledge hears "port unreachable", over IPv4 upstream as well."""
    net.registrar.run("ip", "address", "add", "192.0.2.1/24", "dev", "backbone")
    net.proxy.run("ip", "address", "add", "192.0.2.2/24", "dev", "backbone")
    there = f"[{registrar}]:5684" if ":" in registrar else f"{registrar}:5684"
    proxy = start_proxy({"registrars": [there]})
    one = pledge(net.pledges[0], "mesh0", proxy.port)
    one.udp.connect(one.peer)
    one.udp.send(b"anybody?")
    with pytest.raises(ConnectionRefusedError):  # ICMPv6 type 1 code 4
        one.udp.recv(100)
    assert proxy.counters()["icmp_passed_on"] == 1


def test_several_registrars(net, start_proxy, pledge, echo):
    """JP-11: one join-port each."""
    first, second = echo(port=5684, answer=lambda p: b"first " + p), echo(port=5784, answer=lambda p: b"second " + p)
    start_proxy({"registrars": [f"[{REGISTRAR}]:5684", f"[{REGISTRAR}]:5784"], "pledge": {"join_port": 6000}})
    assert pledge(net.pledges[0], "mesh0", 6000).exchange(b"x") == b"first x"
    assert pledge(net.pledges[0], "mesh0", 6001).exchange(b"y") == b"second y"
    assert len(first.seen) == len(second.seen) == 1


def test_transparent(net, start_proxy, pledge, echo):
    """JP-3: the pledge addresses the registrar itself, from its link-local address, and the registrar's address answers. CAP_NET_RAW is enough."""
    server = echo()
    let_pledges_route(net)
    start_proxy({"pledge": {"transparent": True}}, under=("setpriv", "--bounding-set", "-all,+net_raw", "--inh-caps", "-all"))
    one = pledge(net.pledges[0], "mesh0", 5684, to=REGISTRAR)
    one.send(b"straight to you")
    payload, peer = one.receive()
    assert payload == b"straight to you" and peer[:2] == (REGISTRAR, 5684)
    assert server.seen[0][1][0] == PROXY_BACKBONE


# --- enrolment through the stateful mode


def test_est_device_enrols(net, start_proxy, est, pki):
    """JP-4, JPR-8: two pledges at once, each behind its own link; to the registrar they are ordinary clients at the join proxy's address, with a port
    for each."""
    proxy = start_proxy()
    results = [None, None]

    def run(number):
        command = est_device(net.pledges[number], pki, "--server", f"[{PROXY_LOCAL}%{LINKS[number]}]:{proxy.port}", "crts", "sen", "sren",
                             name=f"behind{number}")
        results[number] = programs.run(command, check=False)

    for number in range(2):
        pki.device(f"behind{number}")
    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()
    assert proxy.counters()["mappings_created"] == 4  # re-enrolment takes an association with the new certificate
    seen = dict(re.findall(r"association: (\S+) is serialNumber=(SN-behind\d)", est.text()))
    assert len(seen) == 4 and sorted(seen.values()) == ["SN-behind0", "SN-behind0", "SN-behind1", "SN-behind1"]
    assert {peer.rsplit(":", 1)[0] for peer in seen} == {f"[{PROXY_BACKBONE}]"}


@pytest.mark.parametrize("transparent", [False, True])
def test_stock_client_enrols(net, start_proxy, est, pki, tmp_path, transparent):
    """coap-client-openssl, by the join-port and by the registrar's own address."""
    host, link = net.pledges[0], "mesh0"
    proxy = start_proxy({"pledge": {"transparent": transparent}})
    if transparent:
        let_pledges_route(net)
    authority = f"[{REGISTRAR}]:5684" if transparent else f"[{PROXY_LOCAL}%{link}]:{proxy.port}"
    enrol_stock_client(host, pki, tmp_path, authority)


@pytest.mark.parametrize("transparent", [False, True])
def test_enrolment_with_loss_on_the_first_hop(net, start_proxy, est, pki, transparent):
    """Every tenth datagram of each direction is lost between pledge and proxy; it takes longer, and works."""
    proxy = start_proxy({"pledge": {"transparent": transparent}})
    if transparent:
        let_pledges_route(net)
    server = f"[{REGISTRAR}]:5684" if transparent else f"[{PROXY_LOCAL}%mesh0]:{proxy.port}"
    lose_every_tenth(net)
    for _ in range(2):
        result = programs.run(est_device(net.pledges[0], pki, "--server", server, "crts", "sen"), check=False, timeout=120)
        assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()
    assert_lost(net)


# --- the program


def test_two_do_not_share_a_port(net, start_proxy, tmp_path):
    """A second one fails, and names the setting and the cure."""
    start_proxy()
    second = JoinProxy(net, tmp_path, {"discovery": {"answer": False}}, wait=False)
    second.program.process.wait(20)
    second.program.stop(expect=1)
    assert 'pledge.join_port: "[::]:5685" cannot be opened: Address already in use; use another port' in second.program.text()


def test_an_interface_that_comes_and_goes(net, start_proxy, pledge, echo):
    """An interface that appears later, and one that is made anew with another number, are used within seconds."""
    echo()
    proxy = start_proxy({"pledge": {"interfaces": ["mesh0", "mesh9"]}})
    assert 'pledge.interfaces[1]: "mesh9" does not exist' in proxy.program.text()
    join(net.proxy, net.pledges[1], "mesh9")
    net.add(net.proxy, f"{PROXY_LOCAL}/64", "mesh9")
    for host in (net.proxy, net.pledges[1]):
        await_route(host, "fe80::1234", "mesh9")
    proxy.program.wait_for("interfaces with pledges have changed")
    assert pledge(net.pledges[1], "mesh9", proxy.port).exchange(b"new") == b"new"
    assert ask(net.pledges[1], "mesh9", ["brski-jp=*"]) is not None


def test_check_config(net, tmp_path):
    config = tmp_path / "c.json"
    config.write_text('{"pledge": {"interfaces": ["nosuch0"]}, "registrars": ["[2001:db8::1]:0", "[ff02::1]:1"], "mode": "stateles"}')
    result = programs.run([PROXY, "--config", config, "--check-config"], check=False)
    text = result.stderr.decode()
    assert result.returncode == 1 and text.count("is not the address of one host and a port") == 2 and '"stateless"' in text
    config.write_text('{"pledge": {"interfaces": ["nosuch0"]}, "registrars": ["[2001:db8::1]:5684"]}')
    result = programs.run([PROXY, "--config", config, "--check-config"])
    assert result.stdout.decode() == f"{config} is good\n" and f'{config}: pledge.interfaces[0]: "nosuch0" does not exist' in result.stderr.decode()
    assert programs.run([PROXY, "--nosuch"], check=False).returncode == 2


def test_check_config_looks_at_the_host(net, start_proxy, tmp_path):
    """Interfaces that are not there, ports that others have, permissions: warnings, for the file may be right for another moment or user; nothing is
    left open, and nothing is said where all is well."""
    config = tmp_path / "c.json"

    def check(settings, *under):
        config.write_text(json.dumps({"registrars": [f"[{REGISTRAR}]:5684"], "pledge": {"interfaces": ["mesh0"]}, **settings}))
        result = programs.run(net.proxy.command(*under, PROXY, "--config", config, "--check-config"))
        assert result.stdout.decode() == f"{config} is good\n"
        return result.stderr.decode().replace(f"warning: {config}: ", "")

    assert check({}) == ""
    searching = {"registrars": [], "discovery": {"registrar_interfaces": ["backbone", "nosuch0"]}}
    assert check(searching) == 'discovery.registrar_interfaces[1]: "nosuch0" does not exist now; "ip link" shows those that do\n'
    transparent = {"pledge": {"interfaces": ["mesh0"], "transparent": True}}
    assert check(transparent) == ""
    bare = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
    assert check(transparent, *bare) == "pledge.transparent: needs CAP_NET_RAW, which this user does not have\n"
    assert check(transparent, "setpriv", "--bounding-set", "-all,+net_raw", "--inh-caps", "-all") == ""
    assert "port 5 cannot be opened by this user now: Permission denied" in check({"pledge": {"interfaces": ["mesh0"], "join_port": 5}}, *bare)
    start_proxy({"mode": "stateless"})
    said = check({"mode": "stateless"})
    for path, port in (("pledge.join_port", 5685), ("stateless.source_port", 5695), ("discovery.port", 5683)):
        assert f'{path}: port {port} is taken now ("ss -ulpn" shows by whom); use another, unless it is by this join proxy\n' in said


def test_version_and_help():
    version = programs.run([PROXY, "--version"])
    for word in (b"est-join-proxy", b"OpenSSL", b"libcoap", b"libcbor", b"libevent", b"jansson"):
        assert word in version.stdout
    assert b"--config FILE" in programs.run([PROXY, "--help"]).stdout
    assert programs.run([PROXY, "--health"], check=False).returncode == 2
