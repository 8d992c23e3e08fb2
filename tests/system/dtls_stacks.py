"""Devices on several DTLS stacks behind one face: OpenSSL through DtlsClient, the others through the programs of tests/peers."""

import contextlib
import dataclasses
import socket
import subprocess

import programs
from dtls import MFL_512, MFL_1024, Closed, DtlsClient, DtlsError, ssl

CLOSED, FAILED = b"C", b"F"


@dataclasses.dataclass(frozen=True)
class Options:
    """How a device is set up."""
    certificate: object
    key: object
    trust: object
    mtu: int = 0
    max_fragment_length: int = 0


class OpenSslDevice:
    """One association at a time; the next one resumes the session of the last."""

    def __init__(self, server, options):
        self.server, self.options, self.client, self.kept = server, options, None, None

    def open(self, timeout=20):
        o = self.options
        self.client = DtlsClient(self.server, o.certificate, o.key, o.trust, mtu=o.mtu or 1200, session=self.kept, retransmit_after_s=0.2,
                                 max_fragment_length={0: None, 512: MFL_512, 1024: MFL_1024}[o.max_fragment_length])
        self.client.handshake(timeout)
        self.kept = self.client.session()

    def renegotiate(self):
        ssl.SSL_renegotiate(self.client.ssl)
        ssl.SSL_do_handshake(self.client.ssl)
        self.client.flush()

    def close(self):
        self.client.close()

    def send(self, octets):
        self.client.send(octets)

    def receive(self, timeout):
        return self.client.receive(timeout)

    def cipher(self):
        return self.client.cipher()

    def resumed(self):
        return self.client.resumed()

    def tls_unique(self):
        return self.client.tls_unique()

    def end(self):
        if self.client:
            self.client.abandon()


class PeerDevice:
    """The same by a program of tests/peers: one packet of a socket a command, or what it tells."""

    def __init__(self, stack, server, options):
        self.packets, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [programs.BUILD / "tests" / "peers" / f"peer-{stack}", server[1], options.certificate, options.key, options.trust, options.mtu,
                   options.max_fragment_length]
        with theirs:
            self.process = subprocess.Popen([str(part) for part in command], stdin=theirs, stderr=subprocess.PIPE)

    def open(self, timeout=20):
        self.packets.send(b"O")
        self._take_facts(self._told(timeout))

    def renegotiate(self):
        self.packets.send(b"R")

    def close(self):
        self.packets.send(b"C")
        with contextlib.suppress(Closed):
            while self._told(5):
                pass

    def send(self, octets):
        self.packets.send(b"D" + octets)

    def receive(self, timeout):
        told = self._told(timeout)
        return told and told[1:]

    def cipher(self):
        return self.facts[0]

    def resumed(self):
        return self.facts[1] == "1"

    def tls_unique(self):
        return bytes.fromhex(self.facts[2])

    def end(self):
        self.packets.close()
        said = self.process.communicate(timeout=10)[1].decode()
        assert self.process.returncode == 0, said

    def _take_facts(self, told):
        assert told and told[:1] == b"O", told
        self.facts = told[1:].decode().split()

    def _told(self, timeout):
        self.packets.settimeout(max(timeout, 0.0001))
        try:
            told = self.packets.recv(4096)
        except TimeoutError:
            return None
        if told[:1] == CLOSED:
            raise Closed("close_notify")
        if told[:1] == FAILED:
            raise DtlsError(told[1:].decode())
        assert told, self.process.stderr.read().decode()
        return told


def device(stack, server, options):
    return OpenSslDevice(server, options) if stack == "openssl" else PeerDevice(stack, server, options)
