"""The DTLS side as other stacks see it (rows DTLS-1 to DTLS-8, DTLS-11 to DTLS-14, SES-1, SES-2, SES-4, SES-5, SEC-4)."""

import os
import socket
import time

import coap
import dtls
import pytest
from cryptography import x509

import programs
from coap_peer import CoapPeer
from dtls import DTLS1_VERSION, MFL_512, PATIENCE_S, Closed, DtlsClient, DtlsError, records
from enrolment import EST, POST_OPTIONS, certificates, enrol, get, is_for, make_csr, path


def dtls_client(registrar, pki, device="meter", **options):
    certificate, key = pki.device(device)
    return DtlsClient(registrar.address, **{"certificate": certificate, "key": key, "trust": pki / "est-ca.pem", **options})


def refused(client):
    """The handshake ends in an alert, and no CoAP passes."""
    with client, pytest.raises(DtlsError) as error:
        client.handshake()
    return str(error.value)


def test_clients_without_a_certificate(start_registrar, pki):
    """DTLS-2: refused, for /crts and /att too, since no handshake comes about."""
    assert "alert" in refused(DtlsClient(start_registrar().address))


def test_psk(start_registrar, pki):
    """DTLS-2: no pre-shared keys."""
    assert "alert" in refused(DtlsClient(start_registrar().address, ciphers="PSK-AES128-CCM8", psk=b"0123456789abcdef"))


@pytest.mark.parametrize("device, options", [("stranger", ("--ca", "other-ca")), ("stale", ("--expired",)), ("weak", ("--sha1",))])
def test_certificates_that_do_not_verify(start_registrar, pki, device, options):
    """DTLS-2, DTLS-9: an unknown issuer, an expired certificate, a SHA-1 signature."""
    pki.device(device, None, *options)
    assert "alert" in refused(dtls_client(start_registrar(), pki, device, ciphers="ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"))


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-CCM8", "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES128-GCM-SHA256"])
def test_ciphers(start_registrar, pki, cipher):
    """DTLS-3: the mandatory suite, and its neighbours."""
    with dtls_client(start_registrar(), pki, ciphers=cipher) as client:
        assert client.handshake().cipher() == cipher


def test_the_mandatory_cipher_comes_first(start_registrar, pki):
    """DTLS-3: where the client offers all, CCM_8 is chosen."""
    everything = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM8"
    with dtls_client(start_registrar(), pki, ciphers=everything) as client:
        assert client.handshake().cipher() == "ECDHE-ECDSA-AES128-CCM8"


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0", "ECDHE-RSA-AES128-GCM-SHA256"])
def test_ciphers_that_are_refused(start_registrar, pki, cipher):
    """DTLS-5: AEAD and ECDSA only."""
    assert "alert" in refused(dtls_client(start_registrar(), pki, ciphers=cipher))


@pytest.mark.parametrize("group", ["P-256", "P-384", "X25519"])
def test_groups(start_registrar, pki, group):
    """DTLS-4: group 23 alone is enough; P-384 and X25519 as well."""
    groups = group if group == "P-256" else group + ":P-256"
    with dtls_client(start_registrar(), pki, groups=groups) as client:
        client.handshake()


def test_dtls_1_0(start_registrar, pki):
    """DTLS-5: protocol_version."""
    assert "protocol version" in refused(dtls_client(start_registrar(), pki, version=DTLS1_VERSION, ciphers="ALL:@SECLEVEL=0"))


def with_extensions(hello, extensions):
    """A ClientHello in one record, with more extensions at its end."""
    body = bytearray(hello[25:])
    at = 34  # behind version and random: session id, cookie, cipher suites, compression methods
    for width in (1, 1, 2, 1):
        at += width + int.from_bytes(body[at:at + width], "big")
    more = b"".join(kind.to_bytes(2, "big") + len(octets).to_bytes(2, "big") + octets for kind, octets in extensions.items())
    body[at:at + 2] = (int.from_bytes(body[at:at + 2], "big") + len(more)).to_bytes(2, "big")
    body += more
    octets = len(body).to_bytes(3, "big")
    return hello[:11] + (12 + len(body)).to_bytes(2, "big") + hello[13:14] + octets + hello[17:22] + octets + bytes(body)


def server_hello(record):
    """Version, random and extensions (RFC 5246 section 7.4.1.3)."""
    assert record[0] == 22 and record[13] == 2
    body = record[25:25 + int.from_bytes(record[22:25], "big")]
    at, extensions = 35 + body[34] + 5, {}  # behind session id, cipher suite, compression method, length
    while at < len(body):
        kind, length = int.from_bytes(body[at:at + 2], "big"), int.from_bytes(body[at + 2:at + 4], "big")
        extensions[kind] = body[at + 4:at + 4 + length]
        at += 4 + length
    return body[:2], body[2:34], extensions


def test_what_is_not_negotiated(start_registrar, pki):
    """DTLS-14, SES-4, POP-3: a client that offers DTLS 1.3 and a connection id gets DTLS 1.2 without, and no sign of a forced downgrade
    (RFC 8446 section 4.1.3): so it is always tls-unique that links a CSR."""
    supported_versions, connection_id, old_connection_id = 43, 54, 53
    offer = {supported_versions: bytes.fromhex("04fefcfefd"), connection_id: b"\x08" + 8 * b"i", old_connection_id: b"\x00"}
    with dtls_client(start_registrar(), pki) as client:
        client.deliver = lambda record: client.udp.sendto(with_extensions(record, offer), client.server) and False
        client.say_hello()
        assert client.pull(5)
        version, random, extensions = server_hello(next(records(client.received[1])))
    assert version == b"\xfe\xfd" and not set(offer) & set(extensions)
    assert not random.endswith((b"DOWNGRD\x00", b"DOWNGRD\x01"))


def test_another_source_port(start_registrar, connect):
    """SES-4: without connection ids a record from another port belongs to no association; it gets no answer and does no harm."""
    registrar = start_registrar()
    peer = connect(registrar)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rebound:
        peer.dtls.deliver = lambda record: rebound.sendto(record, registrar.address) and False
        peer.send(peer.message(coap.GET, path("crts")))
        peer.dtls.deliver = lambda record: True
        assert get(peer, "crts")[0].status == "2.05"  # and all that came before it has been read
        rebound.setblocking(False)
        with pytest.raises(BlockingIOError):
            rebound.recv(100)
    assert registrar.counters()["associations"] == 1


def test_no_renegotiation(start_registrar, connect):
    """DTLS-5: a ClientHello inside an association starts nothing; the association goes on."""
    peer = connect(start_registrar())
    dtls.ssl.SSL_renegotiate(peer.dtls.ssl)
    dtls.ssl.SSL_do_handshake(peer.dtls.ssl)
    before = len(peer.dtls.received)
    peer.dtls.flush()
    peer.dtls.pull(1)
    assert not any(record[0] == 22 for record in peer.dtls.received[before:])


def test_the_cookie_comes_first(start_registrar, pki):
    """DTLS-6: a first ClientHello gets a HelloVerifyRequest no larger than itself."""
    with dtls_client(start_registrar(), pki) as client:
        client.handshake()
        first = client.received[0]
        assert first[0] == 22 and first[13] == 3 and len(first) <= len(client.sent[0])


def test_no_state_for_those_without_cookie(start_registrar, pki):
    """DTLS-6, SEC-3: 20,000 ClientHellos leave nothing behind, and an honest device gets in meanwhile."""
    # What AddressSanitizer holds back of freed memory is not the registrar's.
    registrar = start_registrar(environment={"ASAN_OPTIONS": "quarantine_size_mb=0:thread_local_quarantine_size_kb=0"})
    with dtls_client(registrar, pki) as warm:
        warm.handshake()
    with dtls_client(registrar, pki, udp=None) as model:
        model.deliver = lambda record: False
        with pytest.raises(TimeoutError):
            model.handshake(0.01)
        hello = bytearray(model.sent[0])
    before = registrar.resident_kib()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood, dtls_client(registrar, pki) as honest:
        flood.connect(registrar.address)
        for number in range(20000):
            hello[27:59] = os.urandom(32)
            flood.send(hello)
            if number == 10000:
                honest.handshake()
    counters = registrar.counters()
    assert counters["handshakes"] == 0 and counters["handshakes_started"] == 2
    assert registrar.resident_kib() - before < 1024


@pytest.mark.parametrize("mtu", [256, 512, 1024, 1200])
def test_handshake_mtu(start_registrar, pki, mtu):
    """DTLS-7: no datagram of a handshake is larger."""
    registrar = start_registrar({"dtls": {"handshake_mtu": mtu}})
    with dtls_client(registrar, pki) as client:
        client.handshake()
        assert max(map(len, client.received)) <= mtu
        assert get(CoapPeer(client), "crts")[0].status == "2.05"


def test_fragmented_client_flights(start_registrar, pki):
    """DTLS-7: a client with an MTU of 256 sends its certificate in pieces."""
    with dtls_client(start_registrar(), pki, mtu=256) as client:
        client.handshake()
        assert max(map(len, client.sent)) <= 256
        assert get(CoapPeer(client), "crts")[0].status == "2.05"


def without_numbers(datagram):
    """The datagram with the sequence number of each of its records cleared."""
    cleared, rest = b"", datagram
    while rest:
        length = 13 + int.from_bytes(rest[11:13], "big")
        cleared += rest[:5] + bytes(6) + rest[11:length]
        rest = rest[length:]
    return cleared


def test_flights_are_resent_verbatim(start_registrar, pki):
    """A client that hears nothing gets the same datagrams again, octet for octet, in records of new numbers: RFC 6347
    section 4.2.2 has it so, and a client that could not use a record yet would take its number for a replay."""
    registrar = start_registrar({"dtls": {"handshake_mtu": 256, "retransmit_timeout_ms": 500}})
    with dtls_client(registrar, pki) as client:
        muted = [False]

        def deliver(record):
            muted[0] = muted[0] or (record[0] == 22 and record[13] not in (1,))
            return not muted[0]

        client.deliver = deliver
        deadline, flight, copies = time.monotonic() + PATIENCE_S, [], []
        while not copies or set(copies) != set(flight):  # until every datagram of the flight has come again as it was
            assert time.monotonic() < deadline, (flight, copies)
            with pytest.raises(TimeoutError):
                client.handshake(0.1)
            sent = [r for r in client.received if not (r[0] == 22 and r[13] == 3)]
            flight = [without_numbers(r) for r in sent]
            copies = [r for r in flight if flight.count(r) > 1]
    assert len(set(sent)) == len(sent), "but for the numbers of its records"


def test_two_trust_stores(start_registrar, pki):
    """DTLS-8: manufacturer and domain certificates are both welcome, and the log says which store vouched."""
    pki.device("ldevid", None, "--ca", "est-ca")
    registrar = start_registrar()
    for device in ("meter", "ldevid"):
        with dtls_client(registrar, pki, device) as client:
            client.handshake()
            assert enrol(CoapPeer(client), make_csr(pki, device))[0].status == "2.04"
    registrar.program.wait_for("trust=manufacturer")
    registrar.program.wait_for("trust=domain")


def test_a_trust_store_switched_off(start_registrar, pki):
    """DTLS-8: without manufacturer_trust an IDevID fails in the handshake."""
    registrar = start_registrar({"dtls": {"manufacturer_trust": []}})
    pki.device("ldevid", None, "--ca", "est-ca")
    assert "alert" in refused(dtls_client(registrar, pki))
    with dtls_client(registrar, pki, "ldevid") as client:
        client.handshake()


def test_the_server_certificate(start_registrar, pki):
    """DTLS-11: id-kp-cmcRA beside serverAuth."""
    with dtls_client(start_registrar(), pki) as client:
        certificate = x509.load_der_x509_certificate(client.handshake().peer_certificate())
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {"1.3.6.1.5.5.7.3.28", "1.3.6.1.5.5.7.3.1"} <= {oid.dotted_string for oid in usage}


def test_any_server_name(start_registrar, pki):
    """DTLS-12: SNI is ignored."""
    with dtls_client(start_registrar(), pki, server_name="no.such.name.example") as client:
        client.handshake()


def test_a_device_that_rebooted(start_registrar, connect, pki):
    """RFC 6347 section 4.2.8, SES-5: a new handshake from the same port succeeds at once."""
    registrar = start_registrar()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        for _ in range(3):
            peer = connect(registrar, udp=udp)
            assert get(peer, "crts")[0].status == "2.05"
            peer.dtls.abandon()
    assert registrar.counters()["associations"] == 1


def test_a_forger_breaks_nothing(start_registrar, connect, pki):
    """SES-5: ClientHellos, with and without cookie, from the device's address leave its association alive."""
    registrar = start_registrar()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        peer = connect(registrar, udp=udp)
        with dtls_client(registrar, pki, udp=udp) as forger:
            with pytest.raises(TimeoutError):
                forger.deliver = lambda record: record[0] == 22 and record[13] == 1
                forger.handshake(0.5)
            forger.abandon()
        while peer.dtls.pull(0.05):
            pass
        assert get(peer, "crts")[0].status == "2.05"


def test_idle_associations_are_closed(start_registrar, connect):
    """SES-2: close_notify after idle_timeout_s."""
    registrar = start_registrar({"dtls": {"idle_timeout_s": 1}})
    peer = connect(registrar)
    with pytest.raises(Closed):
        peer.receive()
    registrar.await_counter("associations", 0)


def test_busy_associations_stay(start_registrar, connect, est_server, pki):
    """SES-2: one that waits for its certificate is not idle; another one that is ends meanwhile."""
    registrar = start_registrar({"dtls": {"idle_timeout_s": 1}, "est": {"labels": ["hold"]}})
    peer = connect(registrar)
    request = peer.send(peer.message(coap.POST, path("sen", "hold"), make_csr(pki), options=POST_OPTIONS))
    with pytest.raises(Closed):
        connect(registrar, "idler").receive()
    est_server.ask("/release", "POST")
    assert peer.answer_to(request).status == "2.04"


def test_told_to_come_back(start_registrar, connect, pki):
    """SES-2: an association whose device was told Max-Age outlives it, and others that are idle."""
    words = "status-503.retry-60"
    registrar = start_registrar({"dtls": {"idle_timeout_s": 1}, "est": {"labels": [words]}})
    peer = connect(registrar)
    assert enrol(peer, make_csr(pki), label_name=words)[0].status == "5.03"
    with pytest.raises(Closed):
        connect(registrar, "idler").receive()
    assert get(peer, "crts")[0].status == "2.05"


def test_close_notify_of_the_device(start_registrar, connect):
    """RFC 5246 section 7.2.1: the association is gone at once."""
    registrar = start_registrar()
    peer = connect(registrar)
    assert registrar.counters()["associations"] == 1
    peer.dtls.close()
    registrar.await_counter("associations", 0)


def test_the_bound_on_associations(start_registrar, connect):
    """SEC-3: the longest idle one makes room."""
    registrar = start_registrar({"dtls": {"max_associations": 4, "max_handshakes": 4}})
    peers = [connect(registrar, device=f"guest{n}") for n in range(6)]
    counters = registrar.counters()
    assert counters["associations"] <= 4 and counters["associations_evicted"] == 2
    assert get(peers[5], "crts")[0].status == "2.05"


def test_the_bound_on_handshakes(start_registrar, pki):
    """SEC-3: half-open handshakes are bounded; when one of them ends, the next device gets in."""
    registrar = start_registrar({"dtls": {"max_handshakes": 2}})
    half_open = [dtls_client(registrar, pki) for _ in range(6)]
    for client in half_open:
        client.say_hello()
    counters = programs.await_counters(registrar.program, lambda counters: counters["handshakes_refused"] >= 4)
    assert counters["handshakes"] == 2
    half_open[0].handshake()
    with dtls_client(registrar, pki) as honest:
        honest.handshake()
    for client in half_open:
        client.abandon()


def test_half_open_handshakes_of_one_address(start_registrar, pki):
    """SEC-3: whoever leaves handshakes half open keeps nobody at another address out."""
    registrar = start_registrar({"dtls": {"max_handshakes": 4}})
    half_open = [dtls_client(registrar, pki) for _ in range(5)]
    for client in half_open:
        client.say_hello()
    programs.await_counters(registrar.program, lambda counters: counters["handshakes_refused"] > 0)
    with dtls_client(registrar, pki, local=("127.0.0.2", 0)) as honest:
        honest.handshake()
    for client in half_open:
        client.abandon()


def test_a_wildcard_answers_from_the_address_that_was_asked(start_registrar, connect, pki):
    """IP_PKTINFO: 127.0.0.2 asked, 127.0.0.2 answers; IPv6 as well, on the same socket."""
    registrar = start_registrar({"listen": {"coaps": ["[::]:0"]}})
    port = registrar.coaps[0][1]
    for address in ("127.0.0.1", "127.0.0.2", "::1"):
        peer = connect(registrar, address=(address, port))
        assert get(peer, "crts")[0].status == "2.05"
        assert peer.dtls.peer[0] == address


def test_local_addresses_tell_flows_apart(start_registrar, connect):
    """One client port, two addresses of ours: two associations."""
    registrar = start_registrar({"listen": {"coaps": ["0.0.0.0:0"]}})
    port = registrar.coaps[0][1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("0.0.0.0", 0))
        one = connect(registrar, address=("127.0.0.1", port), udp=udp)
        two = connect(registrar, address=("127.0.0.3", port), udp=udp)
        assert registrar.counters()["associations"] == 2
        assert get(two, "crts")[0].status == "2.05"
        assert get(one, "crts")[0].status == "2.05"


def test_est_is_not_served_without_dtls(start_registrar, connect, est_server):
    """DTLS-1, SEC-4: plain CoAP gets no EST data, on either port."""
    registrar = start_registrar({"listen": {"discovery": ["127.0.0.1:0"]}})
    plain = coap.Message(coap.CON, coap.GET, 1, b"t", [(coap.URI_PATH, s.encode()) for s in (*EST, "crts")]).encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(PATIENCE_S)
        udp.sendto(plain, registrar.coap[0])
        answer = coap.decode(udp.recv(2048))
        assert answer.status == "4.04" and not answer.get(coap.CONTENT_FORMAT)
        udp.sendto(plain, registrar.address)
        peer = connect(registrar, udp=udp)  # what is heard first is its handshake
        assert peer.dtls.received[0][0] == 22
    assert not est_server.stats()["log"]
