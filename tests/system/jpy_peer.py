"""Hand-made JPY peers with a CBOR of their own: one in the registrar's place that echoes, and one in the join proxy's."""

import os
import threading

import cbor2

import programs


class JpyEcho:
    """Answers each JPY message with its content, or with what `answer` makes of (header, content); keeps all that came."""

    def __init__(self, udp, answer=lambda header, content: [cbor2.dumps([header, content])]):
        self.udp, self.answer, self.seen, self.raw, self.peers = udp, answer, [], [], []
        self.udp.settimeout(0.1)
        self.running = True
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while self.running:
            try:
                datagram, peer = self.udp.recvfrom(65535)
            except TimeoutError:
                continue
            header, content = cbor2.loads(datagram)
            self.raw.append(datagram)
            self.seen.append((header, content))
            self.peers.append(peer)
            for reply in self.answer(header, content):
                self.udp.sendto(reply, peer)

    def close(self):
        self.running = False
        self.thread.join()
        self.udp.close()


def wrap_pair(header, content):
    """82 <bstr header> <bstr content>"""
    return cbor2.dumps([header, content])


def unwrap_pair(datagram):
    header, content = cbor2.loads(datagram)
    return header, content


def wrap_five(header, content):
    """The form of drafts -01 to -10: the header is four elements, already encoded."""
    return b"\x85" + header + cbor2.dumps(content)


def unwrap_five(datagram):
    assert datagram[:1] == b"\x85"
    content = cbor2.loads(datagram)[4]
    return datagram[1:-len(cbor2.dumps(content))], content


def wrap_seed(header, content):
    """The first draft's, made valid by RFC 8710."""
    return cbor2.dumps([60, header, 42, content])


def unwrap_seed(datagram):
    kind, header, format_, content = cbor2.loads(datagram)
    assert (kind, format_) == (60, 42)
    return header, content


def flood(udp, registrar, program, hundreds):
    """A rogue join proxy that invents a header for each ClientHello; no faster than the registrar's receive buffer takes it, so that all are answered."""
    hello = (programs.ROOT / "tests" / "vectors" / "cjp20-appA-request.dtls-content.bin").read_bytes()
    before = programs.counters(program)["cookies_sent"]
    for number in range(1, hundreds + 1):
        for _ in range(100):
            udp.sendto(cbor2.dumps([os.urandom(30), hello]), registrar)
        programs.await_counters(program, lambda counters: counters["cookies_sent"] == before + 100 * number)


class JpySocket:
    """A stateless join proxy by hand: stands in a DtlsClient for its UDP socket, and wraps what one pledge says with this header. Answers must have
    the same header, octet by octet. Several of one join proxy's port share a socket and what came for each other."""

    def __init__(self, udp, header, wrap=wrap_pair, unwrap=unwrap_pair, shelf=None):
        self.udp, self.header, self.wrap, self.unwrap = udp, header, wrap, unwrap
        self.shelf = {} if shelf is None else shelf
        self.sent, self.received = [], []  # whole messages

    def settimeout(self, seconds):
        self.udp.settimeout(seconds)

    def sendto(self, content, peer):
        self.sent.append(self.wrap(self.header, content))
        self.udp.sendto(self.sent[-1], peer)

    def recvfrom(self, size):
        while not self.shelf.get(self.header):
            datagram, peer = self.udp.recvfrom(size)
            header, content = self.unwrap(datagram)
            self.shelf.setdefault(header, []).append((datagram, content, peer))
        datagram, content, peer = self.shelf[self.header].pop(0)
        self.received.append(datagram)
        return content, peer

    def fileno(self):
        return self.udp.fileno()

    def close(self):
        self.udp.close()
