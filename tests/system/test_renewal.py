"""The registrar's own certificates, renewed before they end (row RA-7), and new roots of the EST CA (row RA-2)."""

import re
import subprocess
import time

import pytest

import programs
import short_lived as made
from cryptography import x509
from enrolment import enrol, enrol_at_once, get, make_csr, many_devices

RA_PURPOSES = [made.CLIENT, made.CMC_RA]
DTLS_PURPOSES = [made.SERVER, made.CMC_RA]
RENEWED = r"renewal: (upstream|dtls)\.certificate: .* is renewed"


@pytest.fixture
def old_ra(pki, tmp_path):
    """An RA certificate, two thirds of whose life are over."""
    return made.write_both(tmp_path / "ra.pem", *made.issue(pki, "old RA", purposes=RA_PURPOSES))


def renewing(old_ra, **more):
    return {"upstream": {"certificate": str(old_ra), "private_key": str(old_ra), "renew": True, **more}}


def await_use_of(certificate_file, registrar, connect):
    """A connection whose handshake shows what is in the file; each renewal is followed by a reload."""
    wanted = made.load(certificate_file)
    deadline = time.monotonic() + programs.START_WITHIN_S
    while time.monotonic() < deadline:
        peer = connect(registrar)
        if x509.load_der_x509_certificate(peer.dtls.peer_certificate()) == wanted:
            return peer
        peer.dtls.close()
    raise AssertionError("the renewed certificate is not in use:\n" + registrar.program.text())


def test_ra_and_dtls_certificates(start_registrar, connect, est_server, pki, old_ra, tmp_path):
    """RA-7: both are renewed with new keys and the same names, kept as .old, and used without a restart."""
    old_dtls = made.write_both(tmp_path / "dtls.pem", *made.issue(pki, "old registrar", purposes=DTLS_PURPOSES, names=made.LOCAL))
    before = {file: (made.load(file), file.read_bytes()) for file in (old_ra, old_dtls)}
    changes = renewing(old_ra)
    changes["dtls"] = {"certificate": str(old_dtls), "private_key": str(old_dtls), "renew": True}
    one = start_registrar(changes)
    one.program.wait_for(r"upstream\.certificate: .* is renewed")
    one.program.wait_for(r"dtls\.certificate: .* is renewed")
    one.program.wait_for(r"reloaded: ")
    for file, (certificate, content) in before.items():
        new, key = made.load(file), made.load_key(file)
        assert new.subject == certificate.subject and new.not_valid_after > certificate.not_valid_after
        assert new.public_key().public_numbers() == key.public_key().public_numbers()
        assert new.public_key().public_numbers() != certificate.public_key().public_numbers()
        for kind in (x509.ExtendedKeyUsage, x509.KeyUsage):
            assert new.extensions.get_extension_for_class(kind).value == certificate.extensions.get_extension_for_class(kind).value
        assert file.with_name(file.name + ".old").read_bytes() == content
        assert file.stat().st_mode & 0o777 == 0o600
        assert not file.with_name(file.name + ".renewal-key").exists()
    names = made.load(old_dtls).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == made.LOCAL

    peer = await_use_of(old_dtls, one, connect)
    assert enrol(peer, make_csr(pki))[0].status == "2.04"
    issued = {entry["serial"].lower(): entry for entry in est_server.stats()["issued"]}
    assert format(made.load(old_ra).serial_number, "x") in {serial.lstrip("0") for serial in issued}
    counters = one.counters()
    assert counters["renewals"] == 2 and counters["renewals_failed"] == 0
    assert len(issued) == 3 # two renewals, one device: no certificate was asked for twice


def test_lists_are_no_reason_to_look(start_registrar, pki, tmp_path):
    """RA-7: an access.file that changes often leaves renewal, and what it waits for, alone."""
    ra = made.write_both(tmp_path / "ra.pem", *made.issue(pki, "young RA", days=(-1, 30), purposes=RA_PURPOSES))
    serials = tmp_path / "serials"
    serials.write_text("allow SN-meter\n")
    one = start_registrar({**renewing(ra), "watch_interval_ms": 100, "access": {"file": str(serials)}})
    for device in ("valve", "pump", "meter"):
        since = len(one.program.lines)
        serials.write_text(f"allow SN-{device}\n")
        one.program.wait_for("reloaded: what has changed", since=since)
        ra.write_text("somebody writes here")  # after the look at the start
    assert one.counters()["renewals_failed"] == 0


def test_a_reload_may_name_other_files(start_registrar, pki, est_server, old_ra, tmp_path):
    """RA-7: what is renewed is what the configuration names now, its pass-phrase included; a failure of the file before delays nothing."""
    locked, secret = tmp_path / "locked.pem", tmp_path / "secret"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    certificate, key = made.issue(pki, "second RA", purposes=RA_PURPOSES)
    locked.write_bytes(made.pem(certificate) + made.key_pem(key, b"open sesame"))
    locked.chmod(0o600)
    content = old_ra.read_bytes()
    one = start_registrar(renewing(old_ra, default_label="status-500.times-1"))
    one.program.wait_for(r"warning.*could not be renewed")
    one.reload({"upstream": {"certificate": str(locked), "private_key": str(locked), "passphrase_file": str(secret)}})
    one.program.wait_for(rf"{locked}\" is renewed")
    assert made.load(locked).serial_number != certificate.serial_number
    assert made.load(locked).subject == certificate.subject
    assert b"ENCRYPTED PRIVATE KEY" in locked.read_bytes()
    assert old_ra.read_bytes() == content


def test_failure_is_told_and_tried_again(start_registrar, est_server, old_ra):
    """RA-7: the EST server refuses; the log says so and the old certificate stays."""
    content = old_ra.read_bytes()
    one = start_registrar(renewing(old_ra, default_label="status-500"))
    line = one.program.wait_for(r"warning.*renewal: upstream\.certificate: .*")[0]
    assert "HTTP status 500" in line and ("it ends in 119 hours" in line or "it ends in 120 hours" in line)
    assert old_ra.read_bytes() == content
    assert one.counters()["renewals_failed"] == 1


def test_another_subject_is_refused(start_registrar, est_server, old_ra):
    """RA-7, RFC 7030 section 4.2.2: who would be somebody else afterwards stays who it is."""
    content = old_ra.read_bytes()
    one = start_registrar(renewing(old_ra, default_label="other-subject"))
    one.program.wait_for(r"warning.*could not be renewed: the new certificate has another subject than the present one; it ends in 1\d\d hours")
    assert old_ra.read_bytes() == content and not old_ra.with_name("ra.pem.old").exists()
    assert one.counters()["renewals"] == 0


def test_near_the_end_it_is_an_error(start_registrar, pki, tmp_path):
    """RA-7: louder near expiry."""
    ending = made.write_both(tmp_path / "ra.pem", *made.issue(pki, "ending RA", purposes=RA_PURPOSES, days=(-50, 1)))
    one = start_registrar(renewing(ending, default_label="wrong-key"))
    one.program.wait_for(r"error.*renewal: upstream\.certificate: .* could not be renewed")


def test_an_approval_that_does_not_come_in_time_is_an_error(start_registrar, pki, tmp_path):
    """RA-7: louder near expiry, and asked for before that, whatever Retry-After says."""
    ending = made.write_both(tmp_path / "ra.pem", *made.issue(pki, "ending RA", purposes=RA_PURPOSES, days=(-50, 1)))
    one = start_registrar(renewing(ending, default_label="manual.retry-86400.tag-late"))
    line = one.program.wait_for(r"error.*renewal: .*not decided yet; it is asked again in \d+ s; it ends in 2[34] hours")[0]
    assert int(re.search(r"again in (\d+) s", line)[1]) <= 24 * 3600 / 8


def test_approval_outlives_a_restart(start_registrar, est_server, pki, old_ra):
    """RA-7, RFC 7030 section 4.2.3: a 202 is waited out with the same key, which is kept on the disk."""
    label = "manual.approve-attempts-2.retry-600.tag-renewal"
    one = start_registrar(renewing(old_ra, default_label=label))
    one.program.wait_for(r"renewal: .*not decided yet")
    kept = made.load_key(old_ra.with_name("ra.pem.renewal-key"))
    one.stop()
    assert made.load(old_ra).subject == made.name("old RA")
    two = start_registrar(renewing(old_ra, default_label=label))
    two.program.wait_for(RENEWED)
    assert made.load(old_ra).public_key().public_numbers() == kept.public_key().public_numbers()


def test_approval_is_asked_for_where_it_waits(start_registrar, est_server, pki, old_ra, tmp_path):
    """RFC 7030 section 4.2.3: of two EST servers that take turns, the one that said 202 is asked again."""
    (tmp_path / "second").mkdir()
    second = programs.EstServer(pki, tmp_path / "second")
    try:
        both = {"servers": [est_server.url, second.url], "selection": "round-robin", "probe_interval_ms": 0}
        one = start_registrar(renewing(old_ra, default_label="manual.approve-attempts-2.retry-1.tag-turns", **both))
        one.program.wait_for(RENEWED)
        assert [len([r for r in server.stats()["log"] if r["method"] == "POST"]) for server in (est_server, second)] == [2, 0]
    finally:
        second.program.stop()


def test_within_the_connections_of_libest(start_registrar, pki, old_ra, tmp_path):
    """RA-5, RA-7, RA-8: two renewals, the look for new roots and twenty devices: four connections in all, passwords included."""
    old_dtls = made.write_both(tmp_path / "dtls.pem", *made.issue(pki, "old registrar", purposes=DTLS_PURPOSES, names=made.LOCAL))
    secret = tmp_path / "secret"
    secret.write_text("estpwd\n")
    secret.chmod(0o600)
    (tmp_path / "libest").mkdir()
    server = programs.EstServer(pki, tmp_path / "libest", "--libest", "--auth", "both", "--http-auth", "digest", "--user", "estuser",
                                "--password-file", secret)
    try:
        changes = renewing(old_ra, profile="libest", username="estuser", password_file=str(secret), learnt_trust=str(tmp_path / "roots.pem"))
        changes["dtls"] = {"certificate": str(old_dtls), "private_key": str(old_dtls), "renew": True}
        one = start_registrar({**changes, "workers": 2}, upstream_url=server.url)
        assert not enrol_at_once(one, pki, many_devices(pki, tmp_path, 20))
        one.program.wait_for(r"upstream\.certificate: .* is renewed")
        one.program.wait_for(r"dtls\.certificate: .* is renewed")
        stats = server.stats()
        assert len(stats["issued"]) == 22 and stats["connections"]["max_open_est"] <= 4
    finally:
        server.program.stop()


def renew_by_hand(config):
    return subprocess.run([programs.REGISTRAR, "--config", config, "--renew"], capture_output=True, timeout=30, text=True)


def test_by_hand(start_registrar, est_server, pki, tmp_path):
    """RA-7: --renew renews what is not due, beside a registrar that runs; SIGHUP takes it into use."""
    fresh = made.write_both(tmp_path / "ra.pem", *made.issue(pki, "fresh RA", purposes=RA_PURPOSES, days=(-1, 300)))
    serial = made.load(fresh).serial_number
    one = start_registrar({"upstream": {"certificate": str(fresh), "private_key": str(fresh)}})
    result = renew_by_hand(one.config)
    assert result.returncode == 0 and "SIGHUP" in result.stdout, result.stderr
    assert made.load(fresh).serial_number != serial
    one.reload({})

    two_files = programs.run([programs.REGISTRAR, "--config", start_registrar().config, "--renew"], check=False)
    assert two_files.returncode == 1 and b"are not one file" in two_files.stderr


def generations(pki):
    """A new root of the EST CA: NewWithNew and its key, NewWithOld."""
    old, old_key = made.load(pki / "est-ca.pem"), made.load_key(pki / "est-ca.key")
    key = made.ec.generate_private_key(made.ec.SECP256R1())
    new = made.certify(old.subject, key, old.subject, key, days=(-1, 3000), ca=True)
    with_old = made.certify(old.subject, key, old, old_key, days=(-1, 3000), ca=True)
    return new, key, with_old


def server_of(pki, new, key, folder):
    """An est-server whose TLS certificate is of the new root."""
    server_key = made.ec.generate_private_key(made.ec.SECP256R1())
    certificate = made.certify(made.name("localhost"), server_key, new, key, days=(-1, 90), purposes=[made.SERVER], names=made.LOCAL)
    (folder / "new.pem").write_bytes(made.pem(certificate))
    (folder / "new.key").write_bytes(made.key_pem(server_key))
    (folder / "new").mkdir()
    return programs.EstServer(pki, folder / "new", "--certificate", folder / "new.pem", "--key", folder / "new.key")


@pytest.mark.parametrize("vouched", [True, False])
def test_new_root(start_registrar, connect, pki, tmp_path, vouched):
    """RA-2, RFC 7030 section 4.1.3: a new root is trusted, at once and after a restart, if the old one vouches for it."""
    new, key, with_old = generations(pki)
    (tmp_path / "root.pem").write_bytes(made.pem(new))
    shown = [made.load(pki / "est-ca.pem"), new] + ([with_old] if vouched else [])
    (tmp_path / "shown.pem").write_bytes(b"".join(made.pem(certificate) for certificate in shown))
    (tmp_path / "announcing").mkdir()
    learnt = tmp_path / "learnt.pem"
    announcing = programs.EstServer(pki, tmp_path / "announcing", "--cacerts", tmp_path / "shown.pem")
    changed = server_of(pki, new, key, tmp_path)
    try:
        one = start_registrar({"upstream": {"learnt_trust": str(learnt)}, "log": {"level": "debug"}}, upstream_url=announcing.url)
        if vouched:
            one.program.wait_for(r"trust: a new root of the EST CA is trusted")
            one.program.wait_for(r"reloaded: ")
            assert made.load(learnt) == new
        else:
            one.program.wait_for(r"trust: .*no new root")
        one.stop()
        two = start_registrar({"upstream": {"learnt_trust": str(learnt)}}, upstream_url=changed.url)
        assert get(connect(two), "crts")[0].status == ("2.05" if vouched else "5.02")
        assert learnt.exists() == vouched
    finally:
        announcing.program.stop()
        changed.program.stop()
