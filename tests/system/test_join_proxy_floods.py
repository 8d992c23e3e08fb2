"""est-join-proxy on a link full of invented pledges, and how small it is (rows JP-5, JP-7, JP-10)."""

import concurrent.futures
import itertools
import re
import threading
import time

import programs
from enrolment import certificates, get
from join_proxy import PROXY_LOCAL, REGISTRAR, invent_sources, net, pledge, start_proxy  # noqa: F401  fixtures
from test_join_proxy import echo  # noqa: F401  fixture
from test_join_proxy_faults import JPY_PORT, jpy_echo  # noqa: F401  fixture
from test_join_proxy_pair import associate, start_pair  # noqa: F401  fixtures


def assert_no_growth(proxy, before, room_kib=256):
    """Of resident memory; the sanitizers keep what was freed."""
    assert programs.resident_kib(proxy.program) - before <= room_kib or programs.is_sanitized(proxy.program)


def test_a_link_full_of_invented_pledges(net, start_proxy, pledge, echo):
    """JP-7, JP-10, stateful: a hundred thousand sources. A pledge that is being relayed goes on meanwhile; the proxy grows by nothing; a new pledge
    gets in when the mappings of those that were invented have stood idle for three seconds, not thirty."""
    echo(answer=lambda payload: payload if payload.startswith(b"honest") else None)
    proxy = start_proxy()
    honest = pledge(net.pledges[0], "mesh0", proxy.port)
    for _ in range(2):
        assert honest.exchange(b"honest") == b"honest"
    resident, began = programs.resident_kib(proxy.program), time.monotonic()
    for number in range(10):
        invent_sources(net.pledges[0], net.proxy, "mesh0", (PROXY_LOCAL, proxy.port), 10000 * [b"invented"], 10000 * number)
        assert any(honest.exchange(b"honest %d" % number, 0.5) for _ in range(5))
    counters = proxy.counters()
    assert counters["mappings"] == 10 and counters["icmp_refusals"] <= 10 * (time.monotonic() - began + 2), counters
    assert_no_growth(proxy, resident)
    newcomer = pledge(net.pledges[0], "mesh0", proxy.port)
    assert any(newcomer.exchange(b"honest newcomer", 0.5) for _ in range(12))
    assert proxy.counters()["mappings_displaced"] > 0


def test_a_link_full_of_invented_pledges_stateless(net, start_proxy, pledge, jpy_echo):
    """JP-10, stateless: nothing is kept of them, what reaches the registrar stays within the interface's limit, and the answers to them, which
    wait for neighbours that do not exist, do not stop those to an honest pledge, who repeats what is not answered as DTLS does."""
    jpy_echo()
    proxy = start_proxy({"mode": "stateless", "registrars": [f"[{REGISTRAR}]:{JPY_PORT}"]})
    honest = pledge(net.pledges[0], "mesh0", proxy.port)
    assert honest.exchange(b"honest") == b"honest"
    resident = programs.resident_kib(proxy.program)
    for number in range(5):
        invent_sources(net.pledges[0], net.proxy, "mesh0", (PROXY_LOCAL, proxy.port), 10000 * [b"invented"], 10000 * number)
        assert any(honest.exchange(b"honest %d" % number, 0.5) for _ in range(10))
    assert_no_growth(proxy, resident)
    counters = proxy.counters()
    assert counters["rate_limited"] > 25000 and counters["unknown_neighbours"] > 0


def test_the_registrar_on_such_a_link(net, start_pair, associate):
    """SEC-3: a cookie costs no state, but a HelloVerifyRequest to a neighbour that does not exist waits for seconds in the socket; those of a thousand
    invented neighbours of the registrar hold up neither its answers to a device that is connected nor the handshake of another."""
    hello = (programs.ROOT / "tests" / "vectors" / "cjp20-appA-request.dtls-content.bin").read_bytes()
    registrar, proxy = start_pair("stateful")
    peer = associate(proxy)
    enough = threading.Event()

    def flood():
        for number in itertools.takewhile(lambda _: not enough.is_set(), itertools.count(1)):
            before = programs.counters(registrar)["datagrams_received"]
            invent_sources(net.proxy, net.registrar, "backbone", (REGISTRAR, 5684), 100 * [hello], 100 * number)
            programs.await_counters(registrar, lambda counters, before=before: counters["datagrams_received"] >= before + 100)

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        flooding = executor.submit(flood)
        try:
            programs.await_counters(registrar, lambda counters: counters["cookies_withheld"] > 100)
            assert certificates(get(peer)[1]) and certificates(get(associate(proxy))[1])
        finally:
            enough.set()
        flooding.result()
    assert programs.counters(registrar)["associations"] == 2


def test_it_is_small(net, start_proxy, pledge, echo):
    """Small enough for a border router: docs/join-proxy.md's figures are upper bounds, of what is the proxy's own; no TLS library is loaded."""
    echo()
    proxy = start_proxy({"stateful": {"max_per_pledge": 100, "max_per_interface": 1000}, "limits": {"pledge_packets_per_s": 1000}})
    libraries = programs.libraries(proxy.program)
    assert "libcrypto" in libraries and not libraries & {"libssl", "libgnutls", "libcurl"}, libraries
    page = (programs.ROOT / "docs" / "join-proxy.md").read_text()
    at_start, each = map(int, re.search(r"(\d+) KiB of memory of its own after\s+start, and (\d+) octets for each mapping", page).groups())
    assert programs.resident_kib(proxy.program, "RssAnon") <= at_start or programs.is_sanitized(proxy.program)
    before = programs.resident_kib(proxy.program)
    for number in range(3):
        net.add(net.pledges[0], f"fe80::{number + 1:x}:1/64", "mesh0")
        for port in range(100):
            one = pledge(net.pledges[0], "mesh0", proxy.port, f"fe80::{number + 1:x}:1", 40000 + port)
            assert one.exchange(b"x") == b"x"
            one.close()
    assert proxy.counters()["mappings"] == 300
    assert_no_growth(proxy, before, 300 * each // 1024)
