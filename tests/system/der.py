"""As much DER as tests need to put into a CSR what openssl req cannot."""


def tlv(tag, *parts):
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def read(octets):
    """The first element: tag, content, and what follows it."""
    length, start = octets[1], 2
    if length >= 0x80:
        start += length & 0x7f
        length = int.from_bytes(octets[2:start], "big")
    return octets[0], octets[start:start + length], octets[start + length:]


def elements(octets):
    found = []
    while octets:
        _, _, rest = read(octets)
        found.append(octets[:len(octets) - len(rest)])
        octets = rest
    return found


def oid(text):
    first, second, *rest = (int(part) for part in text.split("."))
    octets = bytearray([first * 40 + second])
    for number in rest:
        septets = [number & 0x7f]
        while number := number >> 7:
            septets.append(number & 0x7f | 0x80)
        octets += bytes(reversed(septets))
    return tlv(0x06, bytes(octets))


def attribute(name, value):
    return tlv(0x30, oid(name), tlv(0x31, value))


def change_csr(csr, attributes=(), key_info=None, sign=None):
    """The CSR with more attributes or another subjectPKInfo. Its signature is then wrong, unless sign(octets) gives another one."""
    info, algorithm, signature = elements(read(csr)[1])
    version, subject, old_key_info, old_attributes = elements(read(info)[1])
    new = tlv(0xa0, read(old_attributes)[1], *attributes)
    changed = tlv(0x30, version, subject, key_info or old_key_info, new)
    return tlv(0x30, changed, algorithm, tlv(0x03, b"\0", sign(changed)) if sign else signature)


# RFC 7030 section 4.4.1

def capabilities(*names):
    return attribute("1.2.840.113549.1.9.15", tlv(0x30, *(tlv(0x30, oid(name)) for name in names)))


# AES-128 wrap and CBC, and for keys that transport them rsaEncryption
CAPABILITIES = capabilities("2.16.840.1.101.3.4.1.5", "2.16.840.1.101.3.4.1.2", "1.2.840.113549.1.1.1")
SYMMETRIC_KEY = attribute("1.2.840.113549.1.9.16.2.37", tlv(0x04, b"kek"))
ASYMMETRIC_KEY = attribute("1.2.840.113549.1.9.16.2.54", tlv(0x04, b"some key"))
