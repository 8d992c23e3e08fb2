"""Sessions resumed by ticket (row SES-3; RFC 5077), by our own client and by other people's."""

import time

import programs
import pytest

from dtls import DtlsError
from enrolment import certificates, enrol, get, is_for, make_csr

HELLO_VERIFY_REQUEST, CHANGE_CIPHER_SPEC = 3, 20
SESSION_LIFETIME_S = 7200


def test_any_worker_resumes(start_registrar, connect, est_server, pki):
    """The identity comes with the session, whichever worker began it; nothing is served to an unknown client."""
    registrar = start_registrar({"workers": 2})
    first = connect(registrar)
    session = first.dtls.session()
    assert not first.dtls.resumed() and session.has_ticket() and session.lifetime() == SESSION_LIFETIME_S
    peers = [connect(registrar, session=session) for _ in range(11)]  # by as many ports, and so by both workers
    peers.append(connect(registrar, session=session, local=("127.0.0.2", 0)))  # and by a device that has moved
    assert all(peer.dtls.resumed() for peer in peers)
    for peer in peers:
        assert get(peer, "crts")[0].status == "2.05"
    csr = make_csr(pki)
    response, body = enrol(peers[0], csr)
    assert response.status == "2.04" and is_for(certificates(body)[0], csr)
    assert enrol(peers[1], make_csr(pki, "thief"))[0].status == "4.03"  # the client is still who it was
    registrar.program.wait_for("operation=sen .*code=4.03")
    assert all("CN=meter" in line and "trust=manufacturer" in line for line in registrar.program.lines if "operation=" in line)
    registrar.await_counter("handshakes_resumed", 12)


def test_the_cookie_comes_first(start_registrar, connect):
    """DTLS-6: a ClientHello with a ticket is answered by a HelloVerifyRequest like any other, and costs nothing before."""
    registrar = start_registrar()
    session = connect(registrar).dtls.session()
    before = registrar.counters()
    peer = connect(registrar, session=session)
    after = registrar.counters()
    assert peer.dtls.resumed() and peer.dtls.received[0][13] == HELLO_VERIFY_REQUEST
    assert after["cookies_sent"] == before["cookies_sent"] + sum(len(d) > 13 and d[13] == HELLO_VERIFY_REQUEST for d in peer.dtls.received)
    assert after["handshakes_started"] == before["handshakes_started"] + 1


@pytest.mark.parametrize("mtu", [256, 1200])
def test_small_datagrams(start_registrar, connect, mtu):
    """DTLS-7: the ticket makes ClientHello and NewSessionTicket longer than a datagram; they are fragmented, and put together."""
    registrar = start_registrar({"dtls": {"handshake_mtu": mtu}})
    first = connect(registrar, mtu=mtu)
    peer = connect(registrar, mtu=mtu, session=first.dtls.session())
    assert peer.dtls.resumed() and get(peer, "crts")[0].status == "2.05"
    assert max(len(d) for d in first.dtls.received[:-1] + peer.dtls.received[:2]) <= mtu


def test_tickets_of_another_registrar(start_registrar, connect):
    """Another process has other keys: a full handshake follows, and gives a ticket that works."""
    one, other = start_registrar(), start_registrar()
    session = connect(one).dtls.session()
    peer = connect(other, session=session)
    assert not peer.dtls.resumed() and get(peer, "crts")[0].status == "2.05"
    assert connect(other, session=peer.dtls.session()).dtls.resumed()
    assert connect(one, session=session).dtls.resumed()
    one.await_counter("handshakes_resumed", 1)
    other.await_counter("handshakes_resumed", 1)


def test_other_trust(start_registrar, connect, pki):
    """A ticket does not outlive the trust anchor that vouched for its client; a reload that leaves that alone spares it."""
    registrar = start_registrar()
    session = connect(registrar).dtls.session()
    registrar.reload({"dtls": {"domain_trust": [str(pki / "est-ca.pem"), str(pki / "other-ca.pem")]}})
    assert connect(registrar, session=session).dtls.resumed()
    registrar.reload({"dtls": {"manufacturer_trust": [str(pki / "manufacturer-ca.pem"), str(pki / "other-ca.pem")]}})
    peer = connect(registrar, session=session)
    assert peer.dtls.resumed() and get(peer, "crts")[0].status == "2.05"
    registrar.reload({"dtls": {"manufacturer_trust": [str(pki / "other-ca.pem")]}})
    with pytest.raises(DtlsError, match="alert"):
        connect(registrar, session=peer.dtls.session())


def test_without_the_extended_master_secret(start_registrar, connect):
    """RFC 7627 section 5.3: no ticket is given then, and none is taken."""
    registrar = start_registrar()
    assert not connect(registrar, extended_master_secret=False).dtls.session().has_ticket()
    session = connect(registrar).dtls.session()
    peer = connect(registrar, session=session, extended_master_secret=False)
    assert not peer.dtls.resumed() and get(peer, "crts")[0].status == "2.05"
    registrar.await_counter("handshakes_resumed", 0)


def test_switched_off(start_registrar, connect):
    """dtls.session_resumption: false"""
    registrar = start_registrar({"dtls": {"session_resumption": False}})
    session = connect(registrar).dtls.session()
    assert not session.has_ticket()
    assert not connect(registrar, session=session).dtls.resumed()


def test_the_clients_last_flight_is_lost(start_registrar, connect, pki):
    """RFC 6347 section 4.2.4: the client believes that it is through; the registrar's Finished, in a new record, tells it otherwise."""
    registrar = start_registrar({"dtls": {"retransmit_timeout_ms": 100}})
    session = connect(registrar).dtls.session()
    peer = connect(registrar, session=session, before=lose_last_flight)
    assert peer.dtls.resumed() and peer.dtls.lost == 2
    deadline = time.monotonic() + 10
    while registrar.counters()["handshakes_completed"] < 2:
        assert peer.dtls.receive(0.1) is None and time.monotonic() < deadline
    assert get(peer, "crts")[0].status == "2.05"
    assert registrar.counters()["flights_retransmitted"] >= 1


def lose_last_flight(client):
    """ChangeCipherSpec and what follows it in the same flight, once."""
    client.lost = 0

    def deliver(record):
        lose = client.lost == 0 and record[0] == CHANGE_CIPHER_SPEC or client.lost == 1
        client.lost += lose
        return not lose

    client.deliver = deliver


def test_openssl_s_client(start_registrar, pki, tmp_path):
    """Stock OpenSSL: one run keeps its session in a file, the next one resumes it."""
    registrar = start_registrar()
    certificate, key = pki.device("stock", None, "--ca", "manufacturer-ca")
    command = ["openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{registrar.address[1]}", "-cert", certificate, "-key", key,
               "-CAfile", pki / "est-ca.pem", "-cipher", "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"]
    first = programs.run([*command, "-sess_out", tmp_path / "session"], input=b"Q\n", check=False, timeout=20)
    assert b"\nNew, " in first.stdout
    second = programs.run([*command, "-sess_in", tmp_path / "session"], input=b"Q\n", check=False, timeout=20)
    assert b"\nReused, " in second.stdout, second.stdout
    registrar.await_counter("handshakes_resumed", 1)


def test_gnutls_cli(start_registrar, pki):
    """An independent DTLS stack resumes: gnutls-cli connects twice."""
    registrar = start_registrar()
    certificate, key = pki.device("stock", None, "--ca", "manufacturer-ca")
    result = programs.run(["gnutls-cli", "--udp", "--resume", "-p", registrar.address[1], "--x509certfile", certificate, "--x509keyfile",
                           key, "--x509cafile", pki / "est-ca.pem", "--priority",
                           "NORMAL:-VERS-ALL:+VERS-DTLS1.2:+AES-128-CCM-8", "localhost"], input=b"", check=False, timeout=20)
    assert b"This is a resumed session" in result.stdout, result.stdout + result.stderr
    registrar.await_counter("handshakes_resumed", 1)
