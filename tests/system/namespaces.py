"""Hosts of the tests' own: network namespaces joined by veth pairs, removed at the end."""

import os
import time
import uuid

import programs


class Host:
    """One network namespace."""

    def __init__(self):
        self.name = f"estuary-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        programs.run(["ip", "netns", "add", self.name])
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *command):
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command, **more):
        return programs.run(self.command(*command), **more)

    def link_local(self, interface):
        """The fe80:: address of an interface, without its prefix length."""
        text = self.run("ip", "-6", "-oneline", "address", "show", "dev", interface, "scope", "link").stdout.decode()
        return text.split("inet6 ")[1].split("/")[0]

    def remove(self):
        programs.run(["ip", "netns", "del", self.name], check=False)


def join(one, other, interface):
    """A cable: an interface of this name in each of two hosts, with link-local addresses at once (no duplicate address detection)."""
    one.run("ip", "link", "add", interface, "type", "veth", "peer", "name", interface, "netns", other.name)
    for host in (one, other):
        host.run("sh", "-c", f"echo 0 >/proc/sys/net/ipv6/conf/{interface}/accept_dad")
        host.run("ip", "link", "set", interface, "up")


def await_route(host, to, interface):
    """Carrier and routes come up some time after the command that asks for them."""
    deadline = time.monotonic() + programs.START_WITHIN_S
    while host.run("ip", "-6", "route", "get", to, "oif", interface, check=False).returncode != 0:
        assert time.monotonic() < deadline, (host.name, to, interface)
        time.sleep(0.01)


def await_address(host, address, interface):
    """The same holds for what is delivered to an address of the host's own."""
    deadline = time.monotonic() + programs.START_WITHIN_S
    while f"local {address} dev {interface} " not in host.run("ip", "-6", "route", "show", "table", "local").stdout.decode():
        assert time.monotonic() < deadline, (host.name, address, interface)
        time.sleep(0.01)
