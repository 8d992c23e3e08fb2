"""Pledges, a join proxy and a registrar in network namespaces: the first hop has link-local addresses only, the second is a backbone."""

import ctypes
import json
import os
import socket
import time

import programs
from namespaces import Host, join

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
            self.await_route(host, "fe80::1234", link)
        self.await_route(self.proxy, REGISTRAR, "backbone")
        self.await_route(self.registrar, PROXY_BACKBONE, "backbone")

    @staticmethod
    def await_route(host, to, interface):
        """Carrier and routes come up some time after the command that asks for them."""
        deadline = time.monotonic() + 10
        while host.run("ip", "-6", "route", "get", to, "oif", interface, check=False).returncode != 0:
            assert time.monotonic() < deadline, (host.name, to, interface)
            time.sleep(0.01)

    @staticmethod
    def add(host, address, interface):
        host.run("ip", "-6", "address", "add", address, "dev", interface, "nodad")

    def remove(self):
        for host in self.hosts:
            host.remove()


def udp(host, address=None, port=0, interface=None):
    """A UDP socket in the host's namespace; setns is for this thread alone, and undone at once."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{host.name}", os.O_RDONLY)
    try:
        assert libc.setns(other, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            scope = socket.if_nametoindex(interface) if interface else 0
            made.bind((address or "::", port, 0, scope))
        finally:
            assert libc.setns(own, CLONE_NEWNET) == 0
    finally:
        os.close(own)
        os.close(other)
    made.settimeout(5)
    return made


def index_in(host, interface):
    return int(host.run("cat", f"/sys/class/net/{interface}/ifindex").stdout)


class Pledge:
    """A socket of a pledge, and where it meets the join proxy."""

    def __init__(self, host, link, port, address=None, local_port=0, to=PROXY_LOCAL):
        self.udp = udp(host, address, local_port, link if address and address.startswith("fe80") else None)
        self.peer = (to, port, 0, index_in(host, link) if to.startswith("fe80") else 0)

    def send(self, payload):
        self.udp.sendto(payload, self.peer)

    def receive(self, timeout=5):
        self.udp.settimeout(timeout)
        try:
            return self.udp.recvfrom(65535)
        except TimeoutError:
            return None

    def exchange(self, payload, timeout=5):
        self.send(payload)
        answer = self.receive(timeout)
        return answer and answer[0]

    def close(self):
        self.udp.close()


class JoinProxy:
    """est-join-proxy on the proxy's host, with what a test changes."""

    def __init__(self, net, folder, changes=None, wait=True):
        self.config = folder / "join-proxy.json"
        self.settings = programs.merge({
            "mode": "stateful", "registrars": [f"[{REGISTRAR}]:5684"], "pledge": {"interfaces": LINKS},
        }, changes or {})
        self.config.write_text(json.dumps(self.settings))
        self.program = programs.Program(net.proxy.command(PROXY, "--config", self.config))
        self.port = self.settings["pledge"].get("join_port", 5685)
        if wait:
            self.program.wait_for("ready:")

    def counters(self):
        return programs.counters(self.program)

    def stop(self):
        self.program.stop()
