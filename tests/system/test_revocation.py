"""Whom the registrar hears, and for how long: revocation and expiry (rows DTLS-9, RE-6, SES-3), and what the EST server saw of it."""

import json

import pytest

import coap
import programs
import revocation
from dtls import Closed, DtlsError
from enrolment import POST_OPTIONS, certificates, enrol, get, is_for, join_domain, make_csr, path
from revocation import make_crl, put, serial_of

REVOKED = b"the client certificate is revoked"
EXPIRED = b"the client certificate has expired"
PATIENCE = {"ack_timeout_ms": 1000, "ack_random_factor": 1, "separate_after_ms": 500}  # an expelled device is heard for 2 s


def reached(est_server):
    """How many requests reached the EST server."""
    return len(est_server.stats()["log"])


def with_issuer(pki, tmp_path):
    """A trust file with the manufacturer's issuing CA beside its root: the issuing CA signs lists."""
    file = tmp_path / "manufacturer.pem"
    file.write_bytes((pki / "manufacturer-ca.pem").read_bytes() + (pki / "manufacturer-sub.pem").read_bytes())
    return {"manufacturer_trust": [str(file)]}


def expect_refusal(connect, registrar, device, reason):
    """The handshake fails with this alert."""
    with pytest.raises(DtlsError, match=reason):
        connect(registrar, device)


def await_close(peer):
    with pytest.raises(Closed):
        while peer.receive() is not None:
            pass


def test_revoked_at_the_handshake(start_registrar, connect, est_server, pki, tmp_path):
    """DTLS-9: alert certificate_revoked, for a device and for all below a revoked CA; nothing reaches the EST server."""
    culprit, friend = join_domain(pki, "culprit"), join_domain(pki, "friend")
    pki.device("stolen")
    crl = tmp_path / "all.crl"
    lists = [make_crl(pki, "est-ca", [1, serial_of(pki, culprit), 2]),
             make_crl(pki, "manufacturer-sub", [serial_of(pki, "stolen")])]
    put(crl, revocation.pem(*lists))
    registrar = start_registrar({"workers": 2, "dtls": {"crls": [str(crl)], **with_issuer(pki, tmp_path)}})
    registrar.program.wait_for("4 certificates are revoked, by 2 issuers")
    expect_refusal(connect, registrar, culprit, "certificate revoked")
    expect_refusal(connect, registrar, "stolen", "certificate revoked")
    registrar.program.wait_for("handshake with .* failed: certificate verify failed: certificate revoked")
    assert reached(est_server) == 0
    for device in (friend, "meter"):
        assert enrol(connect(registrar, device), make_csr(pki, device))[0].status == "2.04"
    assert reached(est_server) == 2

    issuing_ca = revocation.load(pki / "manufacturer-sub.pem").serial_number
    put(crl, revocation.pem(*lists, make_crl(pki, "manufacturer-ca", [issuing_ca])))
    registrar.reload()
    expect_refusal(connect, registrar, "meter", "certificate revoked")
    assert get(connect(registrar, friend))[0].status == "2.05"


def test_revoked_while_the_association_is_open(start_registrar, connect, est_server, pki, tmp_path):
    """DTLS-9: 4.01 with a diagnostic for every further request, nothing upstream, and the association ends; so does its session."""
    culprit, friend = join_domain(pki, "culprit"), join_domain(pki, "friend")
    crl = tmp_path / "est-ca.crl"
    put(crl, make_crl(pki, "est-ca"))
    registrar = start_registrar({"workers": 2, "dtls": {"crls": [str(crl)]}, "coap": PATIENCE})
    peers = {device: connect(registrar, device) for device in (culprit, friend)}
    session = peers[culprit].dtls.session()
    for device, peer in peers.items():
        assert enrol(peer, make_csr(pki, device))[0].status == "2.04"
    before = reached(est_server)
    csr = make_csr(pki, culprit)
    put(crl, make_crl(pki, "est-ca", [serial_of(pki, culprit)]))
    registrar.reload()
    for operation in ("sen", "sren"):
        answer = enrol(peers[culprit], csr, operation)[0]
        assert (answer.status, answer.payload) == ("4.01", REVOKED)
    answer = get(peers[culprit])[0]
    assert (answer.status, answer.payload) == ("4.01", REVOKED)
    registrar.program.wait_for('client="[^"]*CN=culprit[^"]*" .*operation=crts .*code=4.01 .*revoked')
    await_close(peers[culprit])
    registrar.await_counter("associations_expelled", 1)
    expect_refusal(lambda *args: connect(*args, session=session), registrar, culprit, "certificate revoked")
    assert reached(est_server) == before
    assert enrol(peers[friend], make_csr(pki, friend), "sren")[0].status == "2.04"
    assert reached(est_server) == before + 1


def test_revoked_in_the_middle_of_a_request(start_registrar, connect, est_server, pki, tmp_path):
    """DTLS-9: a CSR of which half had arrived goes nowhere."""
    culprit = join_domain(pki, "culprit")
    crl = tmp_path / "est-ca.crl"
    put(crl, make_crl(pki, "est-ca"))
    registrar = start_registrar({"dtls": {"crls": [str(crl)]}, "coap": PATIENCE})
    peer, csr = connect(registrar, culprit), make_csr(pki, culprit)

    def send_block(number, more):
        block = (coap.BLOCK1, coap.block(number, more, 3))
        return peer.request(coap.POST, path("sen"), csr[number * 128:(number + 1) * 128], options=[*POST_OPTIONS, block])

    assert send_block(0, True).status == "2.31"
    put(crl, make_crl(pki, "est-ca", [serial_of(pki, culprit)]))
    registrar.reload()
    answer = send_block(1, False)
    assert 128 < len(csr) <= 256 and (answer.status, answer.payload) == ("4.01", REVOKED)
    await_close(peer)
    assert reached(est_server) == 0


def test_a_lost_refusal_is_repeated(start_registrar, connect, est_server, pki, tmp_path):
    """DTLS-9: a device whose answer got lost hears it again before the association ends."""
    culprit = join_domain(pki, "culprit")
    crl = tmp_path / "est-ca.crl"
    put(crl, make_crl(pki, "est-ca"))
    registrar = start_registrar({"dtls": {"crls": [str(crl)]}, "coap": PATIENCE})
    peer = connect(registrar, culprit)
    put(crl, make_crl(pki, "est-ca", [serial_of(pki, culprit)]))
    registrar.reload()
    request = peer.send(peer.message(coap.GET, path("crts")))
    for _ in range(2):  # the second one as if the first had been lost
        answer = peer.answer_to(request)
        assert (answer.status, answer.mid) == ("4.01", request.mid)
        peer.send(request)
    assert reached(est_server) == 0


def test_what_passes_while_the_association_is_open(start_registrar, connect, est_server, pki, tmp_path):
    """DTLS-9, SES-3: certificates expire, and a list that is not renewed in time is as good as none; sessions are not resumed either."""
    member, crl, clock = join_domain(pki), tmp_path / "est-ca.crl", programs.WallClock(tmp_path)
    join_domain(pki, "ephemeral", "--valid-for", "3600")
    pki.device("mayfly", None, "--valid-for", "3600")
    put(crl, make_crl(pki, "est-ca", until=3600))
    registrar = start_registrar({"dtls": {"crls": [str(crl)]}, "coap": PATIENCE}, environment=clock.environment)
    ends = {"ephemeral": (EXPIRED, "certificate expired"), "mayfly": (EXPIRED, "certificate expired"),
            member: (b"no current CRL tells whether the client certificate is revoked", "unknown ca")}
    peers = {device: connect(registrar, device) for device in ends}
    sessions = {device: peer.dtls.session() for device, peer in peers.items()}
    for device, peer in peers.items():
        assert enrol(peer, make_csr(pki, device))[0].status == "2.04"
    clock.advance(3601)  # for less than the life of a session
    for device, (diagnostic, alert) in ends.items():
        answer = enrol(peers[device], make_csr(pki, device))[0]
        assert (answer.status, answer.payload) == ("4.01", diagnostic)
        expect_refusal(lambda *args: connect(*args, session=sessions[device]), registrar, device, alert)
    for peer in peers.values():
        await_close(peer)
    assert reached(est_server) == len(ends)


def test_expired_idevid(start_registrar, connect, est_server, pki, tmp_path):
    """DTLS-9: refused by default, let in by switch, and never when revoked."""
    pki.device("aged", None, "--expired")
    pki.device("aged-culprit", None, "--expired")
    expired_member = join_domain(pki, "aged-member", "--expired")
    crl = tmp_path / "issuing.crl"
    put(crl, make_crl(pki, "manufacturer-sub", [serial_of(pki, "aged-culprit")]))
    registrar = start_registrar({"dtls": {"crls": [str(crl)], **with_issuer(pki, tmp_path)}})
    expect_refusal(connect, registrar, "aged", "certificate expired")
    expect_refusal(connect, registrar, "aged-culprit", "certificate revoked|certificate expired")
    assert reached(est_server) == 0

    registrar.reload({"dtls": {"accept_expired_idevid": True}})
    assert enrol(connect(registrar, "aged"), make_csr(pki, "aged"))[0].status == "2.04"
    registrar.program.wait_for('is let in as client=".*CN=aged,.*": the client certificate has expired')
    expect_refusal(connect, registrar, "aged-culprit", "certificate revoked")
    expect_refusal(connect, registrar, expired_member, "certificate expired")
    assert reached(est_server) == 1


def test_expired_ldevid(start_registrar, connect, est_server, pki):
    """RE-6: by switch, and then for /sren only."""
    pki.device("aged", None, "--expired")
    member = join_domain(pki, "aged-member", "--expired")
    registrar = start_registrar({"dtls": {"accept_expired_ldevid": True}})
    expect_refusal(connect, registrar, "aged", "certificate expired")
    peer = connect(registrar, member)
    assert get(peer)[0].status == "4.03"
    answer = enrol(peer, make_csr(pki, member))[0]
    assert (answer.status, answer.payload) == ("4.03", b"the client certificate has expired and can only be renewed")
    assert reached(est_server) == 0
    csr = make_csr(pki, member)
    answer, body = enrol(peer, csr, "sren")
    assert answer.status == "2.04" and is_for(certificates(body)[0], csr)
    assert reached(est_server) == 1


@pytest.mark.parametrize("policy, outdated, missing", [("soft", True, True), ("listed", False, True), ("require", False, False)])
def test_what_a_missing_or_outdated_list_means(start_registrar, connect, est_server, pki, tmp_path, policy, outdated, missing):
    """DTLS-9: dtls.crl_policy; what an outdated list names is revoked in any case."""
    member, culprit = join_domain(pki), join_domain(pki, "culprit")
    crl = tmp_path / "est-ca.crl"
    put(crl, make_crl(pki, "est-ca", [serial_of(pki, culprit)], since=-7200, until=-3600))
    registrar = start_registrar({"dtls": {"crls": [str(crl)], "crl_policy": policy}})
    registrar.program.wait_for(r'dtls.crls\[0\]: ".*est-ca.crl" holds a CRL of .*CN=EST CA that is outdated from')
    for device, let_in in ((member, outdated), ("meter", missing)):
        if let_in:
            assert get(connect(registrar, device))[0].status == "2.05"
        else:
            expect_refusal(connect, registrar, device, "unknown ca")
    if policy == "soft":
        for device in (member, "meter"):
            registrar.program.wait_for(f'is let in as client=".*CN={device},.*": .*no current CRL')
    expect_refusal(connect, registrar, culprit, "certificate revoked")
    if policy == "listed":  # and a new one mends it
        put(crl, make_crl(pki, "est-ca"))
        registrar.reload()
        assert get(connect(registrar, member))[0].status == "2.05"


def test_bad_lists_are_named(pki, tmp_path):
    """DTLS-9: nothing starts with a list that cannot be believed; each mistake is told with its cure, all at once."""
    bad = {
        "forged": make_crl(pki, "est-ca", signer="other-ca"),
        "stranger": make_crl(pki, "other-ca"),
        "delta": make_crl(pki, "est-ca", extensions=[revocation.DELTA_CRL_INDICATOR]),
        "indirect": make_crl(pki, "est-ca", extensions=[revocation.INDIRECT]),
        "garbage": b"\x30\x03abc",
        "cut": make_crl(pki, "est-ca", [1, 2, 3])[:-1],
        "text": b"-----BEGIN X509 CRL-----\nAAAA",
        "certificate": (pki / "est-ca.pem").read_bytes(),
        "empty": b"",
    }
    files = [tmp_path / name for name in bad]
    for file, content in zip(files, bad.values()):
        file.write_bytes(content)
    files += [tmp_path / "missing", tmp_path]
    config = tmp_path / "registrar.json"
    config.write_text(json.dumps(programs.merge(programs.default_settings(pki, "https://localhost:1"),
                                                {"dtls": {"crls": [str(file) for file in files]}})))
    result = programs.run([programs.REGISTRAR, "--config", config, "--check-config"], check=False)
    errors = [line for line in result.stderr.decode().splitlines() if ": dtls.crls[" in line]
    reasons = ["forged or damaged", "is in no file of dtls.manufacturer_trust", "delta CRL", "indirect CRL", "no CRL, or a damaged", "no CRL, or a damaged",
               "damaged", "holds no CRL", "is no file, empty", "No such file or directory", "is no file, empty"]
    assert result.returncode == 1 and len(errors) == len(files), result.stderr.decode()
    for number, (line, reason) in enumerate(zip(errors, reasons)):
        assert line.startswith("error: ") and f": dtls.crls[{number}]: " in line and reason in line, line


def test_a_bad_list_changes_nothing(start_registrar, connect, pki, tmp_path):
    """A reload that finds a forged list is refused; the list before it goes on to count."""
    culprit = join_domain(pki, "culprit")
    crl = tmp_path / "est-ca.crl"
    put(crl, make_crl(pki, "est-ca", [serial_of(pki, culprit)]))
    registrar = start_registrar({"dtls": {"crls": [str(crl)]}})
    put(crl, make_crl(pki, "est-ca", signer="other-ca"))
    assert any("forged or damaged" in line for line in registrar.reload(refused=True))
    expect_refusal(connect, registrar, culprit, "certificate revoked")


def test_a_huge_list(start_registrar, connect, est_server, pki, tmp_path):
    """DTLS-9: a hundred thousand entries, and whoever is in them is found."""
    culprit, friend = join_domain(pki, "culprit"), join_domain(pki, "friend")
    crl = tmp_path / "est-ca.crl"
    many = range(1 << 60, (1 << 60) + 100000)
    put(crl, make_crl(pki, "est-ca", [*many, serial_of(pki, culprit)]))
    registrar = start_registrar({"dtls": {"crls": [str(crl)]}})
    registrar.program.wait_for("100001 certificates are revoked, by 1 issuer")
    expect_refusal(connect, registrar, culprit, "certificate revoked")
    assert enrol(connect(registrar, friend), make_csr(pki, friend))[0].status == "2.04"
    assert reached(est_server) == 1
