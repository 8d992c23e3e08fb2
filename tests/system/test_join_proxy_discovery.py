"""Pledges that look for est-join-proxy, and the join proxy that looks for a registrar (rows JPD-1, JPD-2, JPD-4, JPD-6, JP-2)."""

import coap
import programs
from join_proxy import PROXY_LOCAL, REGISTRAR, ask, est_device, net, start_est, start_proxy  # noqa: F401  fixtures


def test_pledges_find_the_proxy(net, start_proxy):
    """JPD-1, JPD-2: by multicast, NON, from a link-local address, CF 40; the names of older drafts too."""
    start_proxy({"registrars": [f"[{REGISTRAR}]:5684", f"[{REGISTRAR}]:5784"], "pledge": {"join_port": 6000}})
    message, address = ask(net.pledges[0], "mesh0", ["brski-jp=*"])
    assert message.type == coap.NON and message.status == "2.05" and message.number(coap.CONTENT_FORMAT) == 40
    assert message.payload == b"<>;brski-jp=6000,<>;brski-jp=6001"
    message, address = ask(net.pledges[1], "mesh1", ["rt=brski.jp"])
    assert message.payload.decode() == f"<coaps://[{address}]:6000>;rt=brski.jp,<coaps://[{address}]:6001>;rt=brski.jp"
    message, address = ask(net.pledges[1], "mesh1", ["rt=brski-proxy"])
    assert message.payload.decode().split(",")[0] == f'<coaps://[{address}]:6000>;rt="brski-proxy"'
    message, _ = ask(net.pledges[1], "mesh1", ["brski-jp=6001"])
    assert message.payload == b"<>;brski-jp=6001"
    # asked directly, in a confirmable message
    message, _ = ask(net.pledges[0], "mesh0", ["brski-jp=*"], to=PROXY_LOCAL, type=coap.CON)
    assert message.type == coap.ACK and message.payload.startswith(b"<>;brski-jp=6000")
    # the group hears no errors, and nothing where nothing matches
    assert ask(net.pledges[0], "mesh0", ["rt=nosuch"], timeout=1.5) is None
    assert ask(net.pledges[0], "mesh0", [], path=("nosuch",), timeout=1.5) is None
    message, _ = ask(net.pledges[0], "mesh0", [], path=("nosuch",), to=PROXY_LOCAL, type=coap.CON)
    assert message.status == "4.04"


def test_legacy_names_are_a_knob(net, start_proxy):
    """JPD-2; asked directly, which is answered at once and with an empty list where nothing matches."""
    start_proxy({"discovery": {"legacy_names": False}})
    for query, links in (("rt=brski.jp", b""), ("rt=brski-proxy", b""), ("brski-jp=*", b"<>;brski-jp=5685")):
        message, _ = ask(net.pledges[0], "mesh0", [query], to=PROXY_LOCAL, type=coap.CON)
        assert (message.status, message.payload) == ("2.05", links)


def test_the_proxy_finds_the_registrar(net, start_proxy, pki, tmp_path):
    """JPD-4, JPD-6, JP-2: the proxy starts first and does not operate; then a registrar with EST alone appears (rt=ace.est*), and a pledge enrols."""
    proxy = start_proxy({"mode": "auto", "registrars": [], "discovery": {"registrar_interfaces": ["backbone"], "retry_s": 1, "retry_max_s": 2}})
    proxy.program.wait_for("no registrar found")
    assert ask(net.pledges[0], "mesh0", ["brski-jp=*"], timeout=1.5) is None
    server, registrar = start_est(net.registrar, pki, tmp_path, {"listen": {"discovery": ["[::]:5683"], "multicast_interfaces": ["backbone"]}})
    try:
        proxy.program.wait_for(r"stateful, to \[2001:db8::1\]:5684", timeout=40)
        assert ask(net.pledges[0], "mesh0", ["brski-jp=*"])[0].payload == b"<>;brski-jp=5685"
        result = programs.run(est_device(net.pledges[0], pki, "--server", f"[{PROXY_LOCAL}%mesh0]:5685", "crts", "sen"), check=False)
        assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()
        registrar.stop()
    finally:
        server.stop()
        if not registrar.process.stderr.closed:
            registrar.kill()
