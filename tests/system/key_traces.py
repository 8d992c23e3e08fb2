"""Searches a process's memory for a private key, as a core dump of it would have it (SKG-9)."""

import base64
import pathlib

PIECE = 12  # octets: short enough to find what is left of a freed block, too long to be there by chance


def traces(scalar):
    """What a key leaves: pieces of its private number in either order of octets, or of the base64 or hexadecimal of them."""
    found = set()
    for octets in (scalar, scalar[::-1]):
        found.update(octets[at:at + PIECE] for at in range(len(octets) - PIECE + 1))
    for shift in range(3):
        text = base64.b64encode(scalar[shift:shift + (len(scalar) - shift) // 3 * 3])
        found.update(text[at:at + 16] for at in range(len(text) - 15))
    found.update((scalar.hex()[:32].encode(), scalar.hex()[32:].encode(), scalar.hex().upper()[:32].encode()))
    return found


PAGE = 4096


def used_memory(pid):
    """What the process may have written: its writable memory, without pages of zeros."""
    for line, octets in writable_memory(pid):
        begin = None
        for at in range(0, len(octets) + PAGE, PAGE):
            used = octets[at:at + PAGE].strip(b"\0")
            if used and begin is None:
                begin = at
            if not used and begin is not None:
                yield line, octets[begin:at]
                begin = None


def writable_memory(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *rest = line.split()
            if not rights.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(begin)
                yield line, memory.read(end - begin)
            except OSError:
                continue


def occurrences(pid, scalar):
    """Where traces of the key lie in the process's memory."""
    wanted, found = traces(scalar), []
    for line, octets in used_memory(pid):
        found += [f"{line.strip()}: {trace!r}" for trace in wanted if trace in octets]
    return found


def pkcs8_heads(pid):
    """How often the beginning of PKCS#8 of a key on P-256 lies there, in DER or base64."""
    head = bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
    return sum(octets.count(head) + octets.count(base64.b64encode(head)) for _, octets in used_memory(pid))


def are_findable(program):
    """Not in a build with AddressSanitizer: it holds back what was freed, and has terabytes of memory of its own."""
    return b"__asan_init" not in pathlib.Path(program).read_bytes()


def is_in_octets(octets, scalar):
    return any(trace in octets for trace in traces(scalar))


def is_in_text(text, scalar):
    return is_in_octets(text.encode(errors="replace"), scalar)


def files_below(folder):
    return {path: path.read_bytes() for path in pathlib.Path(folder).rglob("*") if path.is_file()}
