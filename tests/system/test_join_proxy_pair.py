"""est-join-proxy and est-registrar together, pledges on the one side and an EST server on the other (rows JP-1, JP-2, JP-8, JP-12, JPY-4, JPR-1,
JPR-6, JPD-3 to JPD-6)."""

import os
import re
import threading
import time

import cbor2
import coap
import pytest

import programs
from coap_peer import CoapPeer
from dtls import DtlsClient
from enrolment import certificates, enrol, get, is_for, make_csr
from join_proxy import (LINKS, PROXY_BACKBONE, PROXY_LOCAL, REGISTRAR, ask, assert_lost, enrol_stock_client, est_device,  # noqa: F401  fixtures
                        hear_links, index_in, let_pledges_route, lose_every_tenth, net, pledge, send_query, start_est, start_proxy, udp)
from jpy_peer import JpySocket, flood

JPY_PORT, SOURCE_PORT = 5690, 5695
UNAVAILABLE = "status-503.retry-2.times-1"  # 5.03 with Max-Age 2 once, then all is well


@pytest.fixture
def start_pair(net, start_proxy, pki, tmp_path):
    """start_pair(mode) starts EST server, registrar and join proxy: (registrar, proxy)."""
    started = []

    def start(mode, registrar=None, proxy=None):
        listen = {"listen": {"jpy": [f"[::]:{JPY_PORT}"]}, "est": {"labels": [UNAVAILABLE]}}
        started.extend(start_est(net.registrar, pki, tmp_path, programs.merge(listen, registrar or {})))
        port = JPY_PORT if mode == "stateless" else 5684
        changes = {"mode": mode, "registrars": [f"[{REGISTRAR}]:{port}"], "stateless": {"key_file": str(tmp_path / "keys")}}
        return started[-1], start_proxy(programs.merge(changes, proxy or {}))

    yield start
    try:
        for program in reversed(started):
            program.stop()
    finally:
        for program in started:
            if not program.process.stderr.closed:
                program.kill()


def server_of(net, proxy, number=0):
    return (PROXY_LOCAL, proxy.port, 0, index_in(net.pledges[number], LINKS[number]))


@pytest.fixture
def associate(net, pki):
    """associate(proxy) is the association of a pledge through it: a CoapPeer; `udp`, `deliver` and `within` are the DTLS client's."""
    opened = []

    def open_association(proxy, udp_socket=None, deliver=None, within=10):
        certificate, key = pki.device("behind")
        opened.append(udp_socket or udp(net.pledges[0]))
        client = DtlsClient(server_of(net, proxy), certificate=certificate, key=key, trust=pki / "est-ca.pem", udp=opened[-1])
        opened.append(client)
        client.deliver = deliver or client.deliver
        peer = CoapPeer(client.handshake(within))
        peer.dtls = client
        return peer

    yield open_association
    for each in reversed(opened):
        if isinstance(each, DtlsClient):
            each.abandon()
    for each in opened:
        each.close()


def run_device(net, pki, proxy, *operations, number=0, name="behind"):
    command = est_device(net.pledges[number], pki, "--server", f"[{PROXY_LOCAL}%{LINKS[number]}]:{proxy.port}", *operations, name=name)
    return programs.run(command, check=False, timeout=120)


def assert_done(result):
    assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()


def test_two_pledges_at_once(net, start_pair, pki):
    """JP-1, JPR-1, JPR-2: est-device behind each link; the registrar sees one address and one port, and a header for each of them. Re-enrolment
    takes an association with the new certificate on the same flow or another."""
    registrar, proxy = start_pair("stateless", {"log": {"level": "debug"}})
    results = [None, None]

    def run(number):
        results[number] = run_device(net, pki, proxy, "crts", "sen", "sren", number=number, name=f"behind{number}")

    for number in range(2):
        pki.device(f"behind{number}")
    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert_done(result)
    peers = set(re.findall(r"a device behind join proxy (\S+) is ", registrar.text()))
    assert peers == {f"[{PROXY_BACKBONE}]:{SOURCE_PORT}"}
    counters = programs.counters(registrar)
    assert counters["handshakes_completed"] == 4 and counters["jpy_malformed"] == counters["jpy_limited"] == 0
    assert proxy.counters()["mappings"] == 0


def test_the_stock_client_enrols(net, start_pair, pki, tmp_path):
    """JPR-1: Debian's coap-client-openssl, stateless."""
    _, proxy = start_pair("stateless")
    enrol_stock_client(net.pledges[0], pki, tmp_path, f"[{PROXY_LOCAL}%mesh0]:{proxy.port}")


def test_transparent(net, start_pair, pki):
    """JP-3: est-device addresses the registrar itself."""
    _, proxy = start_pair("stateful", proxy={"pledge": {"transparent": True}})
    let_pledges_route(net)
    assert_done(programs.run(est_device(net.pledges[0], pki, "--server", f"[{REGISTRAR}]:5684", "crts", "sen"), check=False))
    assert proxy.counters()["mappings_created"] == 1


def test_loss_on_the_first_hop(net, start_pair, pki):
    """Every tenth datagram of each direction is lost between pledge and proxy."""
    _, proxy = start_pair("stateless")
    lose_every_tenth(net)
    for _ in range(2):
        assert_done(run_device(net, pki, proxy, "crts", "sen"))
    assert_lost(net)


@pytest.mark.parametrize("mode", ["stateful", "transparent", "stateless"])
def test_loss_with_the_stock_client(net, start_pair, pki, tmp_path, mode):
    """JPR-1, JPR-8: the same loss, and coap-client-openssl, in each mode."""
    transparent = mode == "transparent"
    _, proxy = start_pair("stateful" if transparent else mode, proxy={"pledge": {"transparent": transparent}})
    if transparent:
        let_pledges_route(net)
    lose_every_tenth(net)
    enrol_stock_client(net.pledges[0], pki, tmp_path, f"[{REGISTRAR}]:5684" if transparent else f"[{PROXY_LOCAL}%mesh0]:{proxy.port}")
    assert_lost(net)


@pytest.mark.parametrize("kept", [True, False])
def test_restart_in_the_middle_of_a_handshake(start_pair, start_proxy, associate, kept):
    """JPY-4: with its keys in a file the proxy is restarted between two flights, and the handshake completes, the only one that the registrar saw;
    without the file the headers are new, and it does not."""
    changes = {} if kept else {"stateless": {"key_file": ""}}
    registrar, proxy = start_pair("stateless", proxy=changes)
    restarted = []

    def restart_before_the_last_flight(record):
        if record[0] == 22 and record[13] == 11 and not restarted:  # the first Certificate fragment: the server's flight has come
            proxy.stop()
            restarted.append(start_proxy({"mode": "stateless", **proxy.settings}))
        return True

    if kept:
        assert certificates(get(associate(proxy, deliver=restart_before_the_last_flight, within=20))[1])
        assert programs.counters(registrar)["handshakes_started"] == 1
    else:
        with pytest.raises(TimeoutError):
            associate(proxy, deliver=restart_before_the_last_flight, within=2.5)
    assert restarted


def test_a_wait_of_the_est_server(start_pair, associate, pki):
    """JP-12, stateless: told to come back in two seconds, the device finds its association, though a stateful mapping would be gone."""
    _, proxy = start_pair("stateless", proxy={"stateful": {"idle_s": 1}})
    peer, csr = associate(proxy), make_csr(pki, "behind")
    response, _ = enrol(peer, csr, label_name=UNAVAILABLE)
    assert response.status == "5.03" and response.number(coap.MAX_AGE) == 2
    time.sleep(2.2)
    assert is_for(certificates(enrol(peer, csr, label_name=UNAVAILABLE)[1])[0], csr)


def test_a_wait_of_the_est_server_stateful(start_pair, associate, pki):
    """JP-12, stateful: the mapping is gone before the two seconds are over; the old association is deaf, and a new handshake brings the certificate."""
    registrar, proxy = start_pair("stateful", proxy={"stateful": {"idle_s": 1}})
    peer, csr = associate(proxy), make_csr(pki, "behind")
    response, _ = enrol(peer, csr, label_name=UNAVAILABLE)
    assert response.status == "5.03" and response.number(coap.MAX_AGE) == 2
    programs.await_counters(proxy.program, lambda counters: counters["mappings"] == 0)
    assert enrol(peer, csr, label_name=UNAVAILABLE, timeout=1)[0] is None
    peer.dtls.abandon()
    again = associate(proxy, peer.dtls.udp)
    assert is_for(certificates(enrol(again, csr, label_name=UNAVAILABLE)[1])[0], csr)
    assert programs.counters(registrar)["handshakes_completed"] == 2


def test_a_rogue_join_proxy(net, start_pair, pki):
    """JPR-6: somebody else on the backbone invents headers, with ClientHellos and with handshakes left half open; pledges of the honest proxy enrol."""
    registrar, proxy = start_pair("stateless", {"jpy": {"max_handshakes": 5, "max_associations": 5}, "dtls": {"max_handshakes": 8}})
    net.add(net.registrar, "2001:db8::bad/64", "backbone")
    with udp(net.registrar, "2001:db8::bad") as deaf:
        flood(deaf, (REGISTRAR, JPY_PORT), registrar, 5)
    assert programs.counters(registrar)["associations"] == 0
    rogue, (certificate, key) = udp(net.registrar, "2001:db8::bad"), pki.device("rogue")
    for _ in range(10):
        client = DtlsClient((REGISTRAR, JPY_PORT), certificate=certificate, key=key, trust=pki / "est-ca.pem", udp=JpySocket(rogue, os.urandom(30)))
        client.say_hello()
        client.abandon()
    counters = programs.await_counters(registrar, lambda counters: counters["jpy_limited"] == 5)
    assert counters["handshakes"] == 5
    for number in range(2):
        assert_done(run_device(net, pki, proxy, "crts", "sen", number=number))
    rogue.close()


def test_forged_messages_on_a_pledges_flow(net, start_pair, associate):
    """JPR-3, JPY-4: a stranger who has seen the proxy's messages, sends broken ones to both ends, and is no part of the association."""
    registrar, proxy = start_pair("stateless")
    peer = associate(proxy)
    stranger = udp(net.registrar, REGISTRAR)
    for datagram in (b"", b"\x82", b"\x82\x41h", cbor2.dumps([b"h", b"x"]), cbor2.dumps([bytes(30), bytes(1000)]), os.urandom(100)):
        stranger.sendto(datagram, (REGISTRAR, JPY_PORT))
        stranger.sendto(datagram, (PROXY_BACKBONE, SOURCE_PORT))
    stranger.close()
    assert certificates(get(peer)[1])
    assert programs.counters(registrar)["jpy_malformed"] >= 3 and proxy.counters()["jpy_malformed"] == 0


@pytest.mark.parametrize("mode", ["stateful", "stateless"])
def test_a_chain_of_certificates_on_a_link_of_1280(net, start_pair, pki, tmp_path, mode):
    """JPY-5, JPR-5: a device whose flight fills packets of 1280 octets gets through, over Ethernet behind the proxy, and no IP fragment is on the way in
    either direction; the registrar's own flight is larger than a packet as well."""
    registrar, proxy = start_pair(mode)
    for host in (net.pledges[0], net.proxy):
        host.run("ip", "link", "set", "mtu", "1280", "dev", "mesh0")
    net.proxy.run("nft", "add table ip6 cut; add chain ip6 cut in { type filter hook prerouting priority -450; };"
                  "add chain ip6 cut out { type filter hook postrouting priority 500; };"
                  "add rule ip6 cut in exthdr frag exists counter; add rule ip6 cut out exthdr frag exists counter")
    certificate, key = pki.device("behind")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"".join((pki / name).read_bytes() for name in (certificate, "manufacturer-ca.pem", "est-ca.pem", "other-ca.pem")))
    client = programs.run(net.pledges[0].command("openssl", "s_client", "-dtls1_2", "-connect", f"[{PROXY_LOCAL}%mesh0]:{proxy.port}", "-brief",
                                                 "-cert", certificate, "-key", key, "-cert_chain", chain, "-CAfile", pki / "est-ca.pem"), input=b"Q\n")
    assert b"CONNECTION ESTABLISHED" in client.stderr and b"Verification: OK" in client.stderr
    counters = proxy.counters()
    assert counters["pledge_octets"] > 2500 and counters["jpy_too_large"] == 0, counters
    assert programs.counters(registrar)["handshakes_completed"] == 1
    assert net.proxy.run("nft", "list", "table", "ip6", "cut").stdout.count(b"packets 0 ") == 2


def test_a_pledge_that_uses_its_port_again(net, start_pair, associate):
    """JPR-2, RFC 6347 section 4.2.8: a device that restarts is the same flow, and begins anew on it; one association is left."""
    registrar, proxy = start_pair("stateless")
    one = udp(net.pledges[0])
    for _ in range(2):
        peer = associate(proxy, one)
        assert certificates(get(peer)[1])
        peer.dtls.abandon()
    counters = programs.counters(registrar)
    assert counters["handshakes_completed"] == 2 and counters["associations"] == 1


def test_a_pledge_that_is_not_link_local(net, start_pair, pledge, pki):
    """JP-9: its datagrams never reach the registrar."""
    registrar, proxy = start_pair("stateless")
    net.add(net.pledges[0], "2001:db8:1::2/64", "mesh0")
    net.add(net.proxy, "2001:db8:1::1/64", "mesh0")
    hello = (programs.ROOT / "tests" / "vectors" / "cjp20-appA-request.dtls-content.bin").read_bytes()
    routable = pledge(net.pledges[0], "mesh0", proxy.port, "2001:db8:1::2", to="2001:db8:1::1")
    routable.send(hello)
    assert pledge(net.pledges[0], "mesh0", proxy.port).exchange(hello)[13] == 3  # HelloVerifyRequest
    programs.await_counters(proxy.program, lambda counters: counters["strangers"] == 1)
    assert programs.counters(registrar)["cookies_sent"] == 1


def test_the_proxy_finds_the_jpy_port(net, start_proxy, pki, tmp_path, start_pair):
    """JPD-3, JPD-6, JP-2: nothing is configured at the proxy; of what the registrar announces to ff05::fd, rt=brski.rjp wins over rt=ace.est, and
    pledges that ask for a join proxy are told the join-port. JPD-5: on the backbone the registrar is its own join proxy."""
    changes = {"mode": "auto", "registrars": [], "discovery": {"registrar_interfaces": ["backbone"], "retry_s": 1, "retry_max_s": 1}}
    registrar, proxy = start_pair("auto", {"listen": {"discovery": ["[::]:5683"], "multicast_interfaces": ["backbone"]}}, changes)
    asked = [send_query(net.proxy, "backbone", ["rt=brski.rjp"], to=group) for group in ("ff02::fd", "ff03::fd", "ff05::fd", REGISTRAR)]
    asked.append(send_query(net.proxy, "backbone", ["brski-jp=*"]))
    answers = [hear_links(one, 10) for one in asked]
    for message, address in answers[:4]:
        assert message.payload.decode() == f"<jpy://[{address}]:{JPY_PORT}>;rt=brski.rjp"
    assert answers[4][0].payload == b"<>;brski-jp=5684" and answers[4][1].startswith("fe80::")
    proxy.program.wait_for(r"stateless, to \[[0-9a-f:]+(%\w+)?\]:5690", timeout=40)
    assert ask(net.pledges[0], "mesh0", ["brski-jp=*"])[0].payload == b"<>;brski-jp=5685"
    assert_done(run_device(net, pki, proxy, "crts", "sen"))
    assert programs.counters(registrar)["handshakes_completed"] == 1


def documented_costs():
    """Of docs/join-proxy.md: {(mode, block size): (datagrams, octets)}."""
    page = (programs.ROOT / "docs" / "join-proxy.md").read_text()
    rows = re.findall(r"^\| (\w+)[^|]*\| (\d+) octets \| (\d+) \| (\d+) \| ", page, re.M)
    return {(mode, int(block)): (int(datagrams), int(octets)) for mode, block, datagrams, octets in rows}


def measure(net, registrar, command):
    """Datagrams and octets between proxy and registrar while the command runs, IPv6 and UDP headers included; None where a busy host made somebody
    repeat a datagram."""
    repetitions = ("cookies_sent", "flights_retransmitted", "messages_duplicate", "responses_retransmitted")
    net.registrar.run("nft", "add table ip6 cost; add chain ip6 cost in { type filter hook prerouting priority 0; };"
                      "add chain ip6 cost out { type filter hook output priority 0; };"
                      "add rule ip6 cost in iifname backbone meta l4proto udp counter; add rule ip6 cost out oifname backbone meta l4proto udp counter")
    before = programs.counters(registrar)
    assert_done(programs.run(command, check=False))
    after = programs.counters(registrar)
    text = net.registrar.run("nft", "list", "table", "ip6", "cost").stdout.decode()
    net.registrar.run("nft", "delete", "table", "ip6", "cost")
    if [after[name] - before[name] for name in repetitions] != [1, 0, 0, 0]:
        return None
    return tuple(sum(map(int, re.findall(rf"{what} (\d+)", text))) for what in ("packets", "bytes"))


@pytest.mark.parametrize("mode", ["stateful", "transparent", "stateless"])
def test_what_it_costs(net, start_pair, pki, mode):
    """JPY-5: datagrams and octets between proxy and registrar are those that docs/join-proxy.md shows."""
    transparent = mode == "transparent"
    registrar, proxy = start_pair("stateful" if transparent else mode, proxy={"pledge": {"transparent": transparent}})
    if transparent:
        let_pledges_route(net)
    server = f"[{REGISTRAR}]:5684" if transparent else f"[{PROXY_LOCAL}%mesh0]:{proxy.port}"
    for block in (256, 64):
        command = est_device(net.pledges[0], pki, "--server", server, "--block-size", block, "crts", "sen")
        datagrams, octets = next(filter(None, (measure(net, registrar, command) for _ in range(10))))
        expected = documented_costs()[mode, block]
        assert datagrams == expected[0] and abs(octets - expected[1]) <= 20 + expected[1] / 100, (mode, block, datagrams, octets)
