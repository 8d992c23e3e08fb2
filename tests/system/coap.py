"""CoAP messages (RFC 7252 section 3, RFC 7959 section 2), written for the tests alone: no code of the registrar's."""

import dataclasses
import struct

CON, NON, ACK, RST = range(4)
EMPTY, GET, POST, PUT, DELETE = 0, 1, 2, 3, 4

IF_MATCH, URI_HOST, ETAG, OBSERVE, URI_PORT, URI_PATH, CONTENT_FORMAT, MAX_AGE = 1, 3, 4, 6, 7, 11, 12, 14
URI_QUERY, ACCEPT, BLOCK2, BLOCK1, SIZE2, PROXY_URI, PROXY_SCHEME, SIZE1 = 15, 17, 23, 27, 28, 35, 39, 60


def code(text):
    """code("2.04") is the octet 0x44."""
    number, detail = text.split(".")
    return int(number) << 5 | int(detail)


def code_text(octet):
    return f"{octet >> 5}.{octet & 31:02d}"


def uint(value):
    """The shortest form of an option's unsigned integer (section 3.2)."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def block(num, more, szx):
    return uint(num << 4 | (8 if more else 0) | szx)


@dataclasses.dataclass(frozen=True)
class Block:
    num: int
    more: bool
    szx: int

    @property
    def size(self):
        return 1 << (self.szx + 4)


@dataclasses.dataclass
class Message:
    type: int = CON
    code: int = EMPTY
    mid: int = 0
    token: bytes = b""
    options: list = dataclasses.field(default_factory=list)  # (number, value) in the order of the wire
    payload: bytes = b""

    @property
    def status(self):
        return code_text(self.code)

    def all(self, number):
        return [value for n, value in self.options if n == number]

    def get(self, number):
        values = self.all(number)
        return values[0] if values else None

    def number(self, option):
        value = self.get(option)
        return None if value is None else int.from_bytes(value, "big")

    def block(self, option):
        value = self.number(option)
        return None if value is None else Block(value >> 4, bool(value & 8), value & 7)

    def encode(self):
        out = bytearray(struct.pack("!BBH", 0x40 | self.type << 4 | len(self.token), self.code, self.mid))
        out += self.token
        last = 0
        for number, value in sorted(self.options, key=lambda option: option[0]):
            out += _option_head(number - last, len(value)) + value
            last = number
        if self.payload:
            out += b"\xff" + self.payload
        return bytes(out)


def _nibble(value):
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes([value - 13])
    return 14, struct.pack("!H", value - 269)


def _option_head(delta, length):
    (d, d_extra), (n, n_extra) = _nibble(delta), _nibble(length)
    return bytes([d << 4 | n]) + d_extra + n_extra


def decode(datagram):
    first, octet, mid = struct.unpack_from("!BBH", datagram)
    assert first >> 6 == 1, "not CoAP version 1"
    at = 4 + (first & 15)
    message = Message(first >> 4 & 3, octet, mid, datagram[4:at])
    number = 0
    while at < len(datagram):
        if datagram[at] == 0xFF:
            message.payload = datagram[at + 1:]
            assert message.payload, "payload marker without payload"
            break
        delta, length = datagram[at] >> 4, datagram[at] & 15
        at += 1
        delta, at = _extended(datagram, at, delta)
        length, at = _extended(datagram, at, length)
        number += delta
        assert at + length <= len(datagram), "option runs past the end"
        message.options.append((number, datagram[at:at + length]))
        at += length
    return message


def _extended(datagram, at, nibble):
    assert nibble != 15, "reserved nibble"
    if nibble == 13:
        return datagram[at] + 13, at + 1
    if nibble == 14:
        return struct.unpack_from("!H", datagram, at)[0] + 269, at + 2
    return nibble, at
