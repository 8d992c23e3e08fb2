"""What a device does, on each DTLS stack that devices have: OpenSSL, GnuTLS, Mbed TLS, wolfSSL (dtls_stacks.py)."""

import base64
import time

import pytest

from coap_peer import CoapPeer
from dtls import Closed, DtlsError, records
from dtls_stacks import Options, device
from enrolment import certificates, enrol, get, is_for, make_csr
from relay import Relay

STACKS = ["openssl", "gnutls", "mbedtls", "wolfssl"]
# wolfSSL 5.5 does not (RFC 6347 section 4.2.4): it drops the repeated ServerHello that would tell it to, because that is not encrypted.
REPEATS_LAST_FLIGHT = ["openssl", "gnutls", "mbedtls"]
MTU = 256
CHANGE_CIPHER_SPEC, HANDSHAKE, APPLICATION_DATA, CCM_8_OVERHEAD = 20, 22, 23, 16


@pytest.fixture
def start_device(pki):
    """start_device(stack, address) is a device with a manufacturer's certificate, to be opened."""
    devices = []

    def start(stack, address, certificate=("meter",), **options):
        devices.append(device(stack, address, Options(*pki.device(*certificate), pki / "est-ca.pem", **options)))
        return devices[-1]

    yield start
    for started in devices:
        started.end()


class PatientPeer(CoapPeer):
    """Sends a request again until it is answered (RFC 7252 section 4.2), sooner than the RFC's two seconds."""

    def request(self, code, path, payload=b"", timeout=20, **more):
        message = self.message(code, path, payload, **more)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if response := self.answer_to(self.send(message), 0.3):
                return response
        return None


def enrol_linked(peer, pki, device_name="meter", szx=3):
    """Enrols with proof of possession; the certificate is for the key of the CSR."""
    binding = base64.b64encode(peer.transport.tls_unique()).decode()
    csr = make_csr(pki, device_name, "--challenge-password", binding)
    response, body = enrol(peer, csr, szx=szx)
    assert response.status == "2.04", response
    assert is_for(certificates(body)[0], csr)


@pytest.mark.parametrize("stack", STACKS)
def test_enrolment_over_a_small_mtu(start_registrar, start_device, pki, stack):
    """DTLS-3, DTLS-7, POP-1: CCM_8, flights in small datagrams in both directions, tls-unique as this library has it."""
    registrar = start_registrar({"est": {"pop": "required"}, "dtls": {"handshake_mtu": MTU}, "coap": {"block_size": 128}})
    fragments = stack != "wolfssl"  # Debian's build has no wolfSSL_dtls_set_mtu

    def fits(direction, datagram):
        return len(datagram) <= MTU or direction == "up" and not fragments

    with Relay(registrar.address, seed=1, passes=fits) as relay:
        meter = start_device(stack, relay.address, mtu=MTU if fragments else 0)
        meter.open()
        assert "CCM8" in meter.cipher().replace("_", "").replace("-", "")
        peer = CoapPeer(meter)
        assert certificates(get(peer)[1])
        enrol_linked(peer, pki)
        assert relay.lost == 0


@pytest.mark.parametrize("length", [512, 1024])
@pytest.mark.parametrize("stack", STACKS)
def test_max_fragment_length(start_registrar, start_device, pki, stack, length):
    """DTLS-7: no record is longer than the device can take, in the handshake and after it, whatever the configured sizes. Nor is a datagram:
    GnuTLS cuts off what is beyond one such record."""
    registrar = start_registrar({"dtls": {"handshake_mtu": 1200}, "coap": {"block_size": 1024}})
    # wolfSSL 5.5 forgets the header of a handshake message: where a Certificate is longer than 512 octets, its record has 524.
    certificate = ("short", None, "--ca", "manufacturer-ca") if stack == "wolfssl" else ("meter",)
    longest, datagrams = {CHANGE_CIPHER_SPEC: 0, HANDSHAKE: 0, APPLICATION_DATA: 0}, []

    def note(direction, datagram):
        if direction == "up":
            return True
        datagrams.append(len(datagram))
        for record in records(datagram):
            plain = len(record) - 13 - (CCM_8_OVERHEAD if record[3:5] != b"\0\0" else 0)
            longest[record[0]] = max(longest[record[0]], plain)
        return True

    with Relay(registrar.address, seed=1, passes=note) as relay:
        meter = start_device(stack, relay.address, certificate, max_fragment_length=length)
        meter.open()
        enrol_linked(CoapPeer(meter), pki, certificate[0], szx=4)
    assert 256 < longest[HANDSHAKE] <= length and 256 < longest[APPLICATION_DATA] <= length
    assert max(datagrams) <= 13 + length + CCM_8_OVERHEAD


@pytest.mark.parametrize("stack", STACKS)
def test_resumption(start_registrar, start_device, pki, stack):
    """SES-3, DTLS-15: close_notify, then the session by its ticket, which only an extended master secret gets; a CSR linked to the new association."""
    registrar = start_registrar({"est": {"pop": "required"}})
    meter = start_device(stack, registrar.address)
    meter.open()
    first = meter.tls_unique()
    enrol_linked(CoapPeer(meter), pki)
    meter.close()
    registrar.await_counter("associations", 0)
    meter.open()
    assert meter.resumed() and meter.tls_unique() != first
    enrol_linked(CoapPeer(meter), pki)
    registrar.await_counter("handshakes_resumed", 1)


@pytest.mark.parametrize("stack", STACKS)
def test_loss(start_registrar, start_device, est_server, pki, stack, seed=3):
    """A handshake and an enrolment, and a resumed one, while a fifth of all datagrams is lost in each direction, and some come twice or late."""
    registrar = start_registrar({"dtls": {"retransmit_timeout_ms": 200, "handshake_mtu": MTU}, "coap": {"block_size": 256}})
    rounds = (False, True) if stack in REPEATS_LAST_FLIGHT else (False,)
    with Relay(registrar.address, seed=seed, loss=0.2, duplicate=0.05, reorder=0.05) as relay:
        meter = start_device(stack, relay.address)
        for resumed in rounds:
            meter.open()
            enrol_linked(PatientPeer(meter), pki, szx=4)
            assert meter.resumed() == resumed
            meter.close()
        assert relay.lost > 0
    assert len(est_server.stats()["issued"]) == len(rounds)


@pytest.mark.parametrize("stack", REPEATS_LAST_FLIGHT)
def test_the_last_flight_of_a_resumed_handshake_is_lost(start_registrar, start_device, stack):
    """RFC 6347 section 4.2.4: the device believes that it is through; the registrar's Finished, in a new record, tells it otherwise."""
    registrar = start_registrar({"dtls": {"retransmit_timeout_ms": 100}})
    flights = []

    def lose_second(direction, datagram):
        if direction == "up" and any(record[0] == CHANGE_CIPHER_SPEC for record in records(datagram)):
            flights.append(datagram)
            return len(flights) != 2
        return True

    with Relay(registrar.address, seed=1, passes=lose_second) as relay:
        meter = start_device(stack, relay.address)
        meter.open()
        meter.close()
        meter.open()
        assert meter.resumed() and certificates(get(PatientPeer(meter))[1])
        assert len(flights) >= 3


@pytest.mark.parametrize("stack", STACKS)
def test_the_registrar_says_goodbye(start_registrar, start_device, stack):
    """The registrar is stopped: devices hear close_notify, and know that they have to begin anew."""
    registrar = start_registrar()
    meter = start_device(stack, registrar.address)
    meter.open()
    registrar.stop()
    with pytest.raises(Closed):
        meter.receive(5)


@pytest.mark.parametrize("stack", [stack for stack in STACKS if stack != "wolfssl"])  # Debian's build cannot renegotiate
def test_no_renegotiation(start_registrar, start_device, stack):
    """DTLS-5: refused by an alert; each library gives its association up, and a new one works."""
    registrar = start_registrar()
    meter = start_device(stack, registrar.address)
    meter.open()
    meter.renegotiate()
    with pytest.raises(DtlsError):
        meter.receive(5)
    meter.open()
    assert certificates(get(CoapPeer(meter))[1])
    assert registrar.counters()["handshakes_completed"] == 2
