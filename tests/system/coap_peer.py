"""A CoAP client over a DtlsClient or a plain UDP socket that sends exactly what a test asks for and keeps a trace of both directions."""

import itertools
import os
import time

import coap
from dtls import PATIENCE_S


class CoapPeer:
    """`transport` has send(bytes) and receive(timeout) -> bytes | None."""

    def __init__(self, transport):
        self.transport = transport
        self.mids = itertools.count(int.from_bytes(os.urandom(2), "big") >> 1)
        self.trace = []  # ("→" or "←", Message)

    def send(self, message):
        self.trace.append(("→", message))
        self.transport.send(message.encode())
        return message

    def receive(self, timeout=PATIENCE_S):
        datagram = self.transport.receive(timeout)
        if datagram is None:
            return None
        message = coap.decode(datagram)
        self.trace.append(("←", message))
        return message

    def message(self, code, path, payload=b"", type=coap.CON, options=(), queries=(), token=None):
        all_options = [(coap.URI_PATH, s.encode() if isinstance(s, str) else s) for s in path]
        all_options += [(coap.URI_QUERY, q.encode()) for q in queries]
        all_options += list(options)
        token = os.urandom(4) if token is None else token
        return coap.Message(type, code, next(self.mids) & 0xFFFF, token, all_options, payload)

    def answer_to(self, request, timeout=PATIENCE_S):
        """The response that belongs to the request's token, after whatever acknowledgements it takes."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            response = self.receive(left)
            if response is None:
                return None
            if response.code == coap.EMPTY:
                continue
            if response.token != request.token:
                continue
            if response.type == coap.CON:
                self.send(coap.Message(coap.ACK, coap.EMPTY, response.mid))
            return response
        return None

    def request(self, code, path, payload=b"", timeout=PATIENCE_S, **more):
        return self.answer_to(self.send(self.message(code, path, payload, **more)), timeout)

    def get(self, path, **more):
        return self.request(coap.GET, path, **more)

    def post_blocks(self, path, body, szx=5, options=(), size1=False, first_options=(), **more):
        """Sends a body in Block1 blocks and returns the final response and the number of 2.31 before it; follows a smaller
        size that the server asks for (RFC 7959 section 2.3)."""
        offset, continues = 0, 0
        while True:
            size = 1 << (szx + 4)
            last = offset + size >= len(body)
            block = (coap.BLOCK1, coap.block(offset // size, not last, szx))
            extra = [(coap.SIZE1, coap.uint(len(body)))] if size1 and offset == 0 else []
            extra += list(first_options) if offset == 0 else []
            response = self.request(coap.POST, path, body[offset:offset + size], options=[*options, block, *extra], **more)
            if response is None or response.status != "2.31" or last:
                return response, continues
            continues += 1
            echoed = response.block(coap.BLOCK1)
            offset += size
            szx = min(szx, echoed.szx)

    def fetch_rest(self, code, path, first, options=(), szx=None, **more):
        """Collects the remaining Block2 blocks of a representation, and returns its octets."""
        body = bytearray(first.payload)
        block = first.block(coap.BLOCK2)
        while block is not None and block.more:
            szx = block.szx if szx is None else szx
            size = 1 << (szx + 4)
            assert len(body) % size == 0
            number = len(body) // size
            response = self.request(code, path, options=[*options, (coap.BLOCK2, coap.block(number, False, szx))], **more)
            assert response is not None and response.code >> 5 == 2, response
            block = response.block(coap.BLOCK2)
            assert block.num == number, (block, number)
            body += response.payload
        return bytes(body)
