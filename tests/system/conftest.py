"""What the system tests share: one PKI and one well-behaved or misbehaving est-server a run, registrars as each test needs them."""

import pytest

import programs
from coap_peer import CoapPeer
from dtls import DtlsClient


def pytest_sessionfinish():
    programs.Program.kill_all()


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return programs.Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def running_est_server(pki, tmp_path_factory):
    server = programs.EstServer(pki, tmp_path_factory.mktemp("est-server"))
    yield server
    server.program.stop()


@pytest.fixture
def est_server(running_est_server):
    """Counts from zero for each test; every misbehaviour is chosen by label."""
    running_est_server.reset()
    return running_est_server


@pytest.fixture
def start_registrar(pki, est_server, tmp_path_factory):
    """start_registrar({"coap": {…}}) starts one with these changes; all of them are stopped, and must stop cleanly, at the end."""
    started = []

    def start(changes=None, **more):
        folder = tmp_path_factory.mktemp("registrar")
        url = more.pop("upstream_url", est_server.url)
        started.append(programs.Registrar(pki, url, folder, changes, **more))
        return started[-1]

    yield start
    try:
        for registrar in started:
            if registrar.program.process.poll() is None:
                registrar.stop()
    finally:
        for registrar in started:
            if not registrar.program.process.stderr.closed:
                registrar.program.kill()


@pytest.fixture
def connect(pki):
    """connect(registrar) gives a CoapPeer over DTLS with the certificate of a device; before(client) is called ahead of its handshake, and
    the other keyword arguments go to DtlsClient."""
    clients = []

    def open_association(registrar, device="meter", serial=None, address=None, before=None, **options):
        certificate, key = pki.device(device, serial)
        settings = {"certificate": certificate, "key": key, "trust": pki / "est-ca.pem", **options}
        client = DtlsClient(address or registrar.address, **settings)
        clients.append(client)
        if before:
            before(client)
        client.handshake()
        peer = CoapPeer(client)
        peer.dtls = client
        return peer

    yield open_association
    for client in clients:
        client.close()
