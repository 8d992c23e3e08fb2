"""Discovery (rows DISC-1 to DISC-6; RFC 6690, RFC 9148 section 4.1)."""

import re
import socket

import coap
import pytest

from coap_peer import CoapPeer
from enrolment import EST, get, path

CORE = (".well-known", "core")


class PlainUdp:
    """Unsecured CoAP."""

    def __init__(self, server, family=socket.AF_INET):
        self.udp = socket.socket(family, socket.SOCK_DGRAM)
        self.server = server

    def send(self, data):
        self.udp.sendto(data, self.server)

    def receive(self, timeout):
        self.udp.settimeout(timeout)
        try:
            data, self.peer = self.udp.recvfrom(2048)
            return data
        except TimeoutError:
            return None


@pytest.fixture
def plain():
    opened = []

    def open_plain(address):
        opened.append(PlainUdp(address))
        return CoapPeer(opened[-1])

    yield open_plain
    for transport in opened:
        transport.udp.close()


def links(payload):
    """{target: {parameter: value}} of a link-format document."""
    found = {}
    for link in re.findall(r"<([^>]*)>((?:;[^,\"]+=(?:\"[^\"]*\"|[^;,]*))*)", payload.decode()):
        found[link[0]] = {k: v.strip('"') for k, v in re.findall(r";([^=]+)=(\"[^\"]*\"|[^;]*)", link[1])}
    return found


def test_over_coaps(start_registrar, connect):
    """DISC-1, DISC-2, DISC-3: relative links, one ct each, Content-Format 40, no line feed."""
    peer = connect(start_registrar())
    answer = peer.get(CORE)
    assert (answer.status, answer.number(coap.CONTENT_FORMAT)) == ("2.05", 40) and b"\n" not in answer.payload
    found = links(answer.payload)
    assert set(found) == {"/est/crts", "/est/sen", "/est/sren", "/est/att"}
    assert {found[f"/est/{name}"]["rt"] for name in ("crts", "sen", "sren", "att")} == {
        "ace.est.crts", "ace.est.sen", "ace.est.sren", "ace.est.att"}
    assert [found[f"/est/{name}"]["ct"] for name in ("crts", "sen", "sren", "att")] == ["281 287 62", "281 287", "281 287", "285"]


@pytest.mark.parametrize("query, count", [("rt=ace.est*", 4), ("rt=ace.est.sen", 1), ("rt=ace.est.s*", 2), ("rt=ace.est", 0), ("rt=nosuch", 0),
                                          ("rt=*", 4), (None, 4), ("rt=ace.est.sen*", 1)])
def test_filters(start_registrar, connect, query, count):
    """DISC-1, DISC-6: exact or prefix; no match is 2.05 without payload."""
    answer = connect(start_registrar()).get(CORE, queries=[query] if query else [])
    assert answer.status == "2.05" and len(links(answer.payload)) == count
    assert count or not answer.payload


def test_what_is_off_is_not_listed(start_registrar, connect):
    """DISC-2: att only when enabled; and then it is not served either."""
    peer = connect(start_registrar({"est": {"att": False, "root": "/e"}}))
    assert set(links(peer.get(CORE).payload)) == {"/e/crts", "/e/sen", "/e/sren"}
    assert peer.get(path("att")).status == "4.04"


def test_on_the_unsecured_port(start_registrar, plain):
    """DISC-3, DISC-4: absolute coaps:// links with the address that was asked and the port of the secured service."""
    registrar = start_registrar({"listen": {"discovery": ["127.0.0.1:0"]}})
    answer = plain(registrar.coap[0]).get(CORE, queries=["rt=ace.est*"])
    assert answer.status == "2.05" and answer.number(coap.CONTENT_FORMAT) == 40
    assert set(links(answer.payload)) == {f"coaps://127.0.0.1:{registrar.coaps[0][1]}/est/{n}"
                                          for n in ("crts", "sen", "sren", "att")}


def test_in_blocks(start_registrar, plain, connect):
    """BLK-1 for discovery, on both ports."""
    registrar = start_registrar({"listen": {"discovery": ["127.0.0.1:0"]}})
    for peer in (plain(registrar.coap[0]), connect(registrar)):
        whole = peer.get(CORE).payload
        first = peer.get(CORE, options=[(coap.BLOCK2, coap.block(0, False, 1))])
        assert len(first.payload) == 32
        assert peer.fetch_rest(coap.GET, CORE, first) == whole


@pytest.mark.parametrize("method, target, status", [(coap.GET, (*EST, "crts"), "4.04"), (coap.POST, (*EST, "sen"), "4.04"), (coap.GET, ("x",), "4.04"),
                                                    (coap.POST, CORE, "4.05")])
def test_nothing_else_without_dtls(start_registrar, plain, est_server, method, target, status):
    """DTLS-1."""
    registrar = start_registrar({"listen": {"discovery": ["127.0.0.1:0"]}})
    assert plain(registrar.coap[0]).request(method, target).status == status
    assert not est_server.stats()["log"]
