"""A hand-made JPY peer in the registrar's place: unwraps and wraps with a CBOR of its own, and terminates DTLS or echoes behind it."""

import socket
import threading

import cbor2


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


class JpyGateway:
    """In front of a registrar without a JPY port: each (proxy address, port, header) is a flow with a UDP socket of its own towards it."""

    def __init__(self, udp, open_udp, registrar):
        self.udp, self.open_udp, self.registrar = udp, open_udp, registrar
        self.flows, self.contents = {}, []
        self.running = True
        self.threads = [threading.Thread(target=self._from_proxy)]
        self.udp.settimeout(0.1)
        self.threads[0].start()

    def _from_proxy(self):
        while self.running:
            try:
                datagram, peer = self.udp.recvfrom(65535)
            except TimeoutError:
                continue
            header, content = cbor2.loads(datagram)
            self.contents.append(len(content))
            flow = (peer, header)
            if flow not in self.flows:
                self.flows[flow] = self.open_udp()
                self.flows[flow].settimeout(0.1)
                self.threads.append(threading.Thread(target=self._from_registrar, args=flow))
                self.threads[-1].start()
            self.flows[flow].sendto(content, self.registrar)

    def _from_registrar(self, peer, header):
        back = self.flows[peer, header]
        while self.running:
            try:
                content = back.recv(65535)
            except (TimeoutError, ConnectionRefusedError):
                continue
            try:
                self.udp.sendto(cbor2.dumps([header, content]), peer)
            except socket.error:
                return

    def close(self):
        self.running = False
        for thread in self.threads:
            thread.join()
        for each in [self.udp, *self.flows.values()]:
            each.close()
