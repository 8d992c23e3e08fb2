"""IPv6 link-local addresses and multicast, between hosts of our own (rows DISC-3, DISC-5; flows told apart by scope id)."""

import re

import pytest

import programs
from namespaces import Host, join


@pytest.fixture
def hosts():
    """A border router with two links, `meters` and `lights`, and a device on each; both devices have the same link-local address."""
    made = [Host(), Host(), Host()]
    router, meter, light = made
    try:
        join(router, meter, "meters")
        join(router, light, "lights")
        for device, interface in ((meter, "meters"), (light, "lights")):
            device.run("ip", "-6", "address", "add", "fe80::d/64", "dev", interface, "nodad")
        for interface in ("meters", "lights"):
            router.run("ip", "-6", "address", "add", "fe80::1/64", "dev", interface, "nodad")
        yield router, meter, light
    finally:
        for host in made:
            host.remove()


@pytest.fixture
def registrar(hosts, pki, tmp_path):
    """est-server and est-registrar on the border router."""
    router = hosts[0]
    port_file, config = tmp_path / "port", tmp_path / "registrar.json"
    server = programs.Program(router.command(programs.EST_SERVER, "--pki", pki.folder, "--port-file", port_file, "--log", tmp_path / "log"), stdout=None)
    programs.await_file(port_file, server)
    settings = programs.merge(programs.default_settings(pki, f"https://localhost:{port_file.read_text().strip()}"), {
        "listen": {"coaps": ["[::]:5684"], "discovery": ["[::]:5683"], "multicast_interfaces": ["meters", "lights"]}, "workers": 2})
    config.write_text(programs.json.dumps(settings))
    registrar = programs.Program(router.command(programs.REGISTRAR, "--config", config))
    registrar.wait_for("ready:")
    yield registrar
    try:
        registrar.stop()
    finally:
        server.stop()


def device(host, pki, *arguments):
    certificate, key = pki.device("linked")
    return host.run(programs.EST_DEVICE, "--json", "--certificate", certificate, "--key", key, "--trust", pki / "est-ca.pem", *arguments, check=False)


def test_enrolment_over_link_local_addresses(hosts, registrar, pki):
    """Two devices with one address and one port, on two links: the scope id tells their flows apart, and answers leave from fe80::1."""
    _, meter, light = hosts
    for host, interface in ((meter, "meters"), (light, "lights"), (meter, "meters")):
        result = device(host, pki, "--server", f"[fe80::1%{interface}]:5684", "--source-port", "40000", "crts", "sen")
        assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()


def test_multicast_discovery(hosts, registrar, pki):
    """DISC-5: NON to ff02::fd, one answer from the interface's own address whatever the number of workers, with absolute links."""
    router, meter, _ = hosts
    result = device(meter, pki, "--discover-uri", "coap://[ff02::fd%meters]", "--rt", "ace.est*", "discover")
    text = result.stdout.decode()
    assert result.returncode == 0, text + result.stderr.decode()
    assert len(set(re.findall(r"coaps://\[(fe80:[0-9a-f:]*)\]:5684/est/sen", text))) == 1
    assert text.count("/est/sen") == 1, text


def test_multicast_silence(hosts, registrar, pki):
    """DISC-5: nothing matches, nobody answers; never an error."""
    _, meter, _ = hosts
    result = device(meter, pki, "--discover-uri", "coap://[ff02::fd%meters]", "--rt", "nosuch", "discover")
    assert result.returncode == 1 and b"/est/" not in result.stdout
