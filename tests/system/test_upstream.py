"""The EST server's side (rows RA-1 to RA-6, RA-9; a trap of libcurl; permits). Faults: test_faults.py; several servers: test_servers.py."""

import coap
import pytest

import programs
from enrolment import POST_OPTIONS, certificates, enrol, enrol_at_once, get, is_for, make_csr, many_devices, path


PARALLEL = 60


def upstream_posts(est_server):
    return [r for r in est_server.stats()["log"] if r["method"] == "POST"]


def test_ra_credentials(start_registrar, connect, est_server, pki):
    """RA-1: the EST server sees the RA's certificate with id-kp-cmcRA; HTTP/1.1, TLS 1.2 or later."""
    assert enrol(connect(start_registrar()), make_csr(pki))[0].status == "2.04"
    record = upstream_posts(est_server)[-1]
    assert record["ra"] is True and record["client"]
    assert record["tls"] in ("TLSv1.2", "TLSv1.3")


@pytest.fixture
def misnamed_server(pki, tmp_path):
    """An EST server whose certificate is for another host."""
    certificate, key = pki.device("misnamed", None, "--ca", "est-ca", "--san", "dns:other.example")
    server = programs.EstServer(pki, tmp_path, "--certificate", certificate, "--key", key)
    yield server
    server.program.stop()


@pytest.mark.parametrize("wrong", ["trust", "name"])
def test_servers_that_do_not_verify(start_registrar, connect, est_server, misnamed_server, pki, wrong):
    """RA-2: a wrong CA or a wrong host name is 5.02, and no request is made."""
    server = misnamed_server if wrong == "name" else est_server
    changes = {"upstream": {"trust": [str(pki / "other-ca.pem")]}} if wrong == "trust" else {}
    peer = connect(start_registrar(changes, upstream_url=server.url))
    assert get(peer, "crts")[0].status == "5.02"
    assert enrol(peer, make_csr(pki))[0].status == "5.02"
    assert not server.stats()["log"]


def test_connections_are_reused(start_registrar, connect, est_server, pki):
    """RA-4: one connection for many enrolments, where reuse is on; as many as requests where it is off."""
    for reuse, most in ((True, 1), (False, 4)):
        est_server.reset()
        peer = connect(start_registrar({"upstream": {"reuse_connections": reuse}}))
        for _ in range(4):
            assert enrol(peer, make_csr(pki))[0].status == "2.04"
        connections = {r["connection"] for r in upstream_posts(est_server)}
        assert len(connections) == most


def test_a_kept_connection_that_dies(start_registrar, connect, est_server, pki):
    """RA-4, trap 1 of libcurl: the second POST is processed, the connection dies without an octet: no third POST, 5.02."""
    words = "keepalive-die"
    peer = connect(start_registrar({"est": {"labels": [words]}, "upstream": {"reuse_connections": True}}))
    assert enrol(peer, make_csr(pki), label_name=words)[0].status == "2.04"
    assert enrol(peer, make_csr(pki), label_name=words)[0].status == "5.02"
    assert len(upstream_posts(est_server)) == 2
    assert len(est_server.stats()["issued"]) == 2


FOLLOWED = {"redirect-307": 1, "redirect-308": 1, "redirect-307-same": 1}
NOT_FOLLOWED = {"redirect-301": 1, "redirect-302": 1, "redirect-303": 1, "redirect-307-other": 1, "redirect-307-loop": 6}


def test_redirects(start_registrar, connect, est_server, pki):
    """RA-9: to the same origin, with the body by 307 and 308 only, five times at most; else 5.02, in doubt with 303 alone."""
    registrar = start_registrar({"est": {"labels": [*FOLLOWED, *NOT_FOLLOWED]}})
    peer = connect(registrar)
    for word, hops in {**FOLLOWED, **NOT_FOLLOWED}.items():
        est_server.reset()
        csr = make_csr(pki)
        answer, body = enrol(peer, csr, label_name=word)
        assert answer.status == ("2.04" if word in FOLLOWED else "5.02"), word
        assert len(upstream_posts(est_server)) == hops + (word in FOLLOWED), word
        assert len(est_server.stats()["issued"]) == (word in FOLLOWED), word
        assert all(r["body_length"] for r in upstream_posts(est_server))
        if word in FOLLOWED:
            assert is_for(certificates(body)[0], csr)
    assert registrar.counters()["in_doubt"] == 1


@pytest.mark.parametrize("listed", [False, True])
def test_redirects_to_another_origin(start_registrar, connect, est_server, pki, listed):
    """RA-9: only to where upstream.redirect_origins says; for GETs, whose answer 302 may give, as well."""
    other = [f"https://127.0.0.1:{est_server.port}"] if listed else []
    registrar = start_registrar({"est": {"labels": ["redirect-307-other", "redirect-302-other"]},
                                 "upstream": {"redirect_origins": other}})
    peer = connect(registrar)
    csr = make_csr(pki)
    answer, body = enrol(peer, csr, label_name="redirect-307-other")
    assert answer.status == ("2.04" if listed else "5.02")
    assert get(peer, "crts", "redirect-302-other")[0].status == ("2.05" if listed else "5.02")
    assert not listed or is_for(certificates(body)[0], csr)
    assert len(est_server.stats()["log"]) == (4 if listed else 2)
    assert registrar.counters()["upstream_redirects"] == (2 if listed else 0)


@pytest.mark.parametrize("is_server", [False, True])
def test_redirects_and_the_password(start_registrar, connect, pki, tmp_path, is_server):
    """RA-8, RA-9: an EST server of ours gets the password when it asks for it, an origin that is only redirected to never."""
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    server = programs.EstServer(pki, tmp_path, "--user", "ra", "--password-file", tmp_path / "password")
    other = f"https://127.0.0.1:{server.port}"
    settings = {"username": "ra", "password_file": str(tmp_path / "password"), "probe_interval_ms": 0}
    settings |= {"servers": [server.url, other]} if is_server else {"redirect_origins": [other]}
    try:
        peer = connect(start_registrar({"est": {"labels": ["basic", "redirect-307-other.basic"]}, "upstream": settings}, upstream_url=server.url))
        assert enrol(peer, make_csr(pki), label_name="basic")[0].status == "2.04"
        assert enrol(peer, make_csr(pki), label_name="redirect-307-other.basic")[0].status == ("2.04" if is_server else "4.01")
        there = [r for r in upstream_posts(server) if r["host"].startswith("127.0.0.1")]
        assert [bool(r.get("authorization")) for r in there] == ([False, True] if is_server else [False])
    finally:
        server.program.stop()


def test_slow_enrolments_delay_nobodys_crts(start_registrar, connect, est_server, pki):
    """The reserved permit: all permits for POSTs hang, /crts answers, first from the EST server, then from memory."""
    hang = "hang"
    registrar = start_registrar({"est": {"labels": [hang, "max-age-0"]}, "upstream": {"max_connections": 3}, "drain_ms": 0})
    for number in range(4):
        peer = connect(registrar, device=f"hanging{number}")
        peer.send(peer.message(coap.POST, path("sen", hang), make_csr(pki, f"hanging{number}"), options=POST_OPTIONS))
    quick = connect(registrar)
    for label in (None, None, "max-age-0", "max-age-0"):
        assert get(quick, "crts", label)[0].status == "2.05"
    assert len(upstream_posts(est_server)) <= 2


def test_the_queue_is_bounded(start_registrar, connect, est_server, pki):
    """RA-5: two connections, one for GETs, a queue of one: the third POST hears 5.03 with Max-Age at once."""
    hang = "hang"
    registrar = start_registrar({"est": {"labels": [hang]}, "upstream": {"max_connections": 2, "queue": 1}, "drain_ms": 0})
    for number in range(2):
        peer = connect(registrar, device=f"waiting{number}")
        peer.send(peer.message(coap.POST, path("sen", hang), make_csr(pki, f"waiting{number}"), options=POST_OPTIONS))
        assert peer.receive().code == coap.EMPTY
    answer = connect(registrar).request(coap.POST, path("sen", hang), make_csr(pki), options=POST_OPTIONS)
    assert answer.status == "5.03" and answer.number(coap.MAX_AGE) >= 1
    assert registrar.counters()["upstream_refused"] == 1


def test_many_devices_at_once(start_registrar, est_server, pki, tmp_path):
    """RA-5: parallel clients stay apart; never more connections than allowed, with two workers."""
    registrar = start_registrar({"workers": 2, "upstream": {"max_connections": 4}})
    assert not enrol_at_once(registrar, pki, many_devices(pki, tmp_path, PARALLEL))
    stats = est_server.stats()
    assert len(stats["issued"]) == PARALLEL
    assert len({i["csr_sha256"] for i in stats["issued"]}) == PARALLEL
    assert stats["connections"]["max_open_est"] <= 4
