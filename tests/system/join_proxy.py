"""Pledges, a join proxy and a registrar in network namespaces: the first hop has link-local addresses only, the second is a backbone."""

import contextlib
import ctypes
import json
import os
import re
import socket
import struct

import coap
import pytest
from cryptography import x509

import programs
from dtls import PATIENCE_S
from enrolment import is_for, make_csr
from namespaces import Host, await_address, await_route, join

PROXY = programs.BUILD / "joinproxy" / "est-join-proxy"
CLONE_NEWNET = 0x40000000
LINKS = ["mesh0", "mesh1"]
REGISTRAR, PROXY_BACKBONE = "2001:db8::1", "2001:db8::2"
PROXY_LOCAL = "fe80::1"
libc = ctypes.CDLL(None, use_errno=True)


class Net:
    """Two pledges, each on a link of its own to the join proxy; behind it the registrar's host."""

    def __init__(self):
        self.pledges, self.proxy, self.registrar = [Host(), Host()], Host(), Host()
        self.hosts = [*self.pledges, self.proxy, self.registrar]
        for pledge, link in zip(self.pledges, LINKS):
            join(self.proxy, pledge, link)
            self.add(self.proxy, f"{PROXY_LOCAL}/64", link)
        join(self.proxy, self.registrar, "backbone")
        self.add(self.registrar, f"{REGISTRAR}/64", "backbone")
        self.add(self.proxy, f"{PROXY_BACKBONE}/64", "backbone")
        for host, link in [*zip(self.pledges, LINKS), *((self.proxy, link) for link in LINKS)]:
            await_route(host, "fe80::1234", link)
        await_route(self.proxy, REGISTRAR, "backbone")
        await_route(self.registrar, PROXY_BACKBONE, "backbone")

    @staticmethod
    def add(host, address, interface):
        host.run("ip", "-6", "address", "add", address, "dev", interface, "nodad")
        await_address(host, address.split("/")[0], interface)

    def remove(self):
        """The links first: with them go the neighbours that were invented, of whom the kernel has one table for all namespaces."""
        for link in (*LINKS, "backbone"):
            self.proxy.run("ip", "link", "del", link, check=False)
        for host in self.hosts:
            host.remove()


def udp(host, address=None, port=0, interface=None):
    """A UDP socket in the host's namespace."""
    with inside(host):
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        scope = socket.if_nametoindex(interface) if interface else 0
        made.bind((address or "::", port, 0, scope))
    made.settimeout(PATIENCE_S)
    return made


def packet_socket(host, interface):
    """Sends whole frames on an interface of the host."""
    with inside(host):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.bind((interface, 0))
    return made


@contextlib.contextmanager
def inside(host):
    """For this thread alone."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{host.name}", os.O_RDONLY)
    try:
        assert libc.setns(other, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(own, CLONE_NEWNET) == 0
    finally:
        os.close(own)
        os.close(other)


def index_in(host, interface):
    return int(host.run("cat", f"/sys/class/net/{interface}/ifindex").stdout)


class Pledge:
    """A socket of a pledge, and where it meets the join proxy."""

    def __init__(self, host, link, port, address=None, local_port=0, to=PROXY_LOCAL):
        self.udp = udp(host, address, local_port, link if address and address.startswith("fe80") else None)
        self.peer = (to, port, 0, index_in(host, link) if to.startswith("fe80") else 0)

    def send(self, payload):
        self.udp.sendto(payload, self.peer)

    def receive(self, timeout=PATIENCE_S):
        self.udp.settimeout(timeout)
        try:
            return self.udp.recvfrom(65535)
        except TimeoutError:
            return None

    def exchange(self, payload, timeout=PATIENCE_S):
        self.send(payload)
        answer = self.receive(timeout)
        return answer and answer[0]

    def close(self):
        self.udp.close()


def checksum(octets):
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets[:len(octets) // 2 * 2])) + (octets[-1] << 8 if len(octets) % 2 else 0)
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff or 0xffff


def invent_sources(sender, receiver, link, to, payloads, first=0):
    """Frames on the link between two hosts, each with a datagram of another source address in the /64 of the receiver's: to is its address and port."""
    hardware = [bytes.fromhex(one.run("cat", f"/sys/class/net/{link}/address").stdout.decode().strip().replace(":", "")) for one in (receiver, sender)]
    address = socket.inet_pton(socket.AF_INET6, to[0])
    with packet_socket(sender, link) as raw:
        for number, payload in enumerate(payloads, first):
            source, length = address[:8] + b"\x02" + number.to_bytes(7, "big"), 8 + len(payload)
            head = struct.pack("!HHH", 40000, to[1], length)
            sum_ = checksum(source + address + struct.pack("!IxxxB", length, 17) + head + b"\0\0" + payload)
            raw.send(hardware[0] + hardware[1] + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, length, 17, 64) + source + address +
                     head + struct.pack("!H", sum_) + payload)


class JoinProxy:
    """est-join-proxy on the proxy's host, with what a test changes."""

    def __init__(self, net, folder, changes=None, wait=True, under=()):
        self.config = folder / "join-proxy.json"
        self.settings = programs.merge({
            "mode": "stateful", "registrars": [f"[{REGISTRAR}]:5684"], "pledge": {"interfaces": LINKS},
        }, changes or {})
        self.config.write_text(json.dumps(self.settings))
        self.program = programs.Program(net.proxy.command(*under, PROXY, "--config", self.config))
        self.port = self.settings["pledge"].get("join_port", 5685)
        if wait:
            self.program.wait_for("ready:")

    def counters(self):
        return programs.counters(self.program)

    def stop(self):
        self.program.stop()


@pytest.fixture
def net():
    made = Net()
    yield made
    made.remove()


@pytest.fixture
def start_proxy(net, tmp_path):
    started = []

    def start(changes=None, **more):
        started.append(JoinProxy(net, tmp_path, changes, **more))
        return started[-1]

    yield start
    try:
        for proxy in started:
            if proxy.program.process.poll() is None:
                proxy.stop()
    finally:
        for proxy in started:
            if not proxy.program.process.stderr.closed:
                proxy.program.kill()


@pytest.fixture
def pledge():
    """pledge(host, link, port, …) opens a socket of a pledge."""
    opened = []

    def open_one(*arguments, **more):
        opened.append(Pledge(*arguments, **more))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def start_est(host, pki, folder, changes=None):
    """est-server and est-registrar on a host: (server, registrar)."""
    port_file, config = folder / "port", folder / "registrar.json"
    server = programs.Program(host.command(programs.EST_SERVER, "--pki", pki.folder, "--port-file", port_file, "--log", folder / "log"))
    programs.await_file(port_file, server)
    settings = programs.merge(programs.default_settings(pki, f"https://localhost:{port_file.read_text().strip()}"),
                              programs.merge({"listen": {"coaps": ["[::]:5684"], "discovery": []}}, changes or {}))
    config.write_text(programs.json.dumps(settings))
    registrar = programs.Program(host.command(programs.REGISTRAR, "--config", config))
    registrar.wait_for("ready:")
    return server, registrar


@pytest.fixture
def est(net, pki, tmp_path):
    server, registrar = start_est(net.registrar, pki, tmp_path, {"log": {"level": "debug"}})
    yield registrar
    try:
        registrar.stop()
    finally:
        server.stop()


def est_device(host, pki, *arguments, name="behind"):
    certificate, key = pki.device(name)
    return host.command(programs.EST_DEVICE, "--json", "--certificate", certificate, "--key", key, "--trust", pki / "est-ca.pem", *arguments)


def let_pledges_route(net):
    """What transparent mode takes: the first pledge routes by the proxy, and packets of pledges to the registrar are delivered to it."""
    net.pledges[0].run("ip", "-6", "route", "add", "default", "via", PROXY_LOCAL, "dev", LINKS[0])
    for link in LINKS:
        net.proxy.run("ip", "-6", "rule", "add", "iif", link, "to", REGISTRAR, "lookup", "100")
    net.proxy.run("ip", "-6", "route", "add", "local", f"{REGISTRAR}/128", "dev", "lo", "table", "100")


def enrol_stock_client(host, pki, folder, authority):
    """Debian's coap-client-openssl posts a CSR in blocks, and gets the certificate for it."""
    certificate, key = pki.device("stock", None, "--ca", "manufacturer-ca")
    csr, out = make_csr(pki, "stock"), folder / "out"
    (folder / "csr").write_bytes(csr)
    command = host.command(programs.coap_client("openssl"), "-m", "post", "-B", "20", "-b", "256", "-o", out, "-c", certificate, "-j", key,
                           "-C", pki / "est-ca.pem", "-t", "286", "-A", "287", "-f", folder / "csr", f"coaps://{authority}/est/sen")
    result = programs.run(command)
    assert out.exists(), result.stdout.decode() + result.stderr.decode()
    assert is_for(x509.load_der_x509_certificate(out.read_bytes()), csr)


def lose_every_tenth(net):
    """On the first link, of each direction."""
    net.proxy.run("nft", "add table ip6 loss; add chain ip6 loss in { type filter hook prerouting priority -300; };"
                  "add chain ip6 loss out { type filter hook output priority 0; };"
                  "add rule ip6 loss in iifname mesh0 meta l4proto udp numgen inc mod 10 == 3 counter drop;"
                  "add rule ip6 loss out oifname mesh0 meta l4proto udp numgen inc mod 10 == 4 counter drop")


def assert_lost(net):
    lost = [int(n) for n in re.findall(r"packets (\d+)", net.proxy.run("nft", "list", "table", "ip6", "loss").stdout.decode())]
    assert len(lost) == 2 and all(lost), lost


def send_query(host, link, queries, to="ff02::fd", type=coap.NON, path=(".well-known", "core")):
    """A query for links, and the socket that hears the answer."""
    one, index = udp(host), index_in(host, link)
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    options = [(coap.URI_PATH, part.encode()) for part in path] + [(coap.URI_QUERY, query.encode()) for query in queries]
    request = coap.Message(type, coap.GET, 77, b"tok", options)
    one.sendto(request.encode(), (to, 5683, 0, index if to[:4] in ("ff02", "fe80") else 0))
    return one


def hear_links(one, timeout=PATIENCE_S):
    """(message, who sent it); None for silence."""
    one.settimeout(timeout)
    try:
        answer, peer = one.recvfrom(65535)
    except TimeoutError:
        return None
    finally:
        one.close()
    message = coap.decode(answer)
    assert message.token == b"tok"
    return message, peer[0].split("%")[0]


def ask(*arguments, timeout=PATIENCE_S, **more):
    """What answers a query for links from a link-local address; None for silence."""
    heard = hear_links(send_query(*arguments, **more), timeout)
    assert heard is None or heard[1].startswith("fe80::")
    return heard
