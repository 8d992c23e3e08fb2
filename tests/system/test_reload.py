"""SIGHUP: everything reloadable changes at once or not at all, and nothing that is under way is lost."""

import datetime
import json
import os
import signal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

import coap
import der
import programs
from dtls import DtlsError
from enrolment import certificates, enrol, get, is_for, label, make_csr, path, POST_OPTIONS
from revocation import put
from webhook import DENY, Webhook


@pytest.fixture
def files(pki, tmp_path):
    """Copies of the PKI's files that a test may spoil."""
    def copy(name):
        target = tmp_path / name
        target.write_bytes((pki / name).read_bytes())
        return target

    return copy


@pytest.fixture
def second(pki):
    """Another certificate of the registrar, from the same CA."""
    certificate, key = pki / "registrar-2.pem", pki / "registrar-2.key"
    if not certificate.exists():
        run = programs.run
        run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])
        csr, extensions = pki / "registrar-2.csr", pki / "registrar-2.ext"
        run(["openssl", "req", "-new", "-key", key, "-subj", "/O=Example/CN=Second registrar", "-out", csr])
        extensions.write_text("extendedKeyUsage=serverAuth,1.3.6.1.5.5.7.3.28\nsubjectAltName=IP:127.0.0.1\n")
        run(["openssl", "x509", "-req", "-in", csr, "-CA", pki / "est-ca.pem", "-CAkey", pki / "est-ca.key", "-days", "365",
             "-extfile", extensions, "-out", certificate])
    return certificate, key


def common_name(peer):
    certificate = x509.load_der_x509_certificate(peer.dtls.peer_certificate())
    return certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value


@pytest.mark.parametrize("workers", [1, 2])
def test_certificate_and_key(start_registrar, connect, pki, second, workers):
    """New handshakes see the new certificate; an open association goes on with the old one."""
    one = start_registrar({"workers": workers})
    before = connect(one)
    one.reload({"dtls": {"certificate": str(second[0]), "private_key": str(second[1])}})
    assert get(before, "crts")[0].status == "2.05"
    for _ in range(4):
        assert common_name(connect(one)) == "Second registrar"
    assert common_name(before) == "Estuary registrar"
    assert enrol(before, make_csr(pki))[0].status == "2.04"


def test_nothing_under_way_is_lost(start_registrar, connect, est_server, pki, second, tmp_path):
    """A Block1 transfer half done, and an enrolment that waits for the EST server, end as they would have, whatever is reloaded."""
    one = start_registrar({"est": {"labels": ["hold"]}, "coap": {"separate_after_ms": 100}})
    waiting, halfway = connect(one), connect(one, device="valve")
    waiting_csr, halfway_csr = make_csr(pki), make_csr(pki, "valve")
    request = waiting.send(waiting.message(coap.POST, path("sen", "hold"), waiting_csr, options=POST_OPTIONS))
    assert waiting.receive().code == coap.EMPTY

    def send_block(number, more):
        block = (coap.BLOCK1, coap.block(number, more, 3))
        return halfway.request(coap.POST, path("sen"), halfway_csr[number * 128:(number + 1) * 128], options=[*POST_OPTIONS, block])

    count = (len(halfway_csr) + 127) // 128
    assert send_block(0, True).status == "2.31"
    crl, serials, keys = RevocationList(pki, tmp_path / "crl"), tmp_path / "serials", tmp_path / "keys"
    crl.revoke()
    serials.write_text("allow SN-valve\n")
    keys.mkdir(mode=0o700)
    good = one.settings["upstream"]["servers"]
    for change in ({"dtls": {"certificate": str(second[0]), "private_key": str(second[1])}},
                   {"dtls": {"domain_trust": [str(pki / "other-ca.pem")]}},
                   {"dtls": {"manufacturer_trust": [str(pki / f"{name}.pem") for name in ("manufacturer-ca", "manufacturer-sub", "other-ca")],
                             "crls": [str(crl.file)]}},
                   {"access": {"file": str(serials), "default": "deny", "csr_identity": "same-subject"}},
                   {"est": {"key_directory": str(keys)}}, {"log": {"level": "debug"}},
                   {"upstream": {"certificate": str(pki / "est-server.pem"), "private_key": str(pki / "est-server.key")}},
                   {"upstream": {"servers": ["https://localhost:1"], "trust": [str(pki / "other-ca.pem")]}}):
        one.reload(change)
    one.reload({"upstream": {"certificate": str(pki / "ra.pem"), "private_key": str(pki / "ra.key"), "servers": good,
                             "trust": [str(pki / "est-ca.pem")]}})
    for number in range(1, count):
        answer = send_block(number, number < count - 1)
    body = halfway.fetch_rest(coap.POST, path("sen"), answer, options=POST_OPTIONS)
    assert answer.status == "2.04" and is_for(certificates(body)[0], halfway_csr)
    est_server.ask("/release", "POST")
    answer = waiting.answer_to(request)
    assert answer.status == "2.04"
    body = waiting.fetch_rest(coap.POST, path("sen", "hold"), answer, options=POST_OPTIONS)
    assert is_for(certificates(body)[0], waiting_csr)


def test_trust(start_registrar, connect, pki):
    """A device whose CA was removed cannot connect any more; one whose CA was added can."""
    one = start_registrar()
    peer = connect(one)
    assert get(peer, "crts")[0].status == "2.05"
    one.reload({"dtls": {"manufacturer_trust": [str(pki / "manufacturer-ca.pem"), str(pki / "other-ca.pem")]}})
    assert get(peer, "crts")[0].status == "2.05"
    one.reload({"dtls": {"manufacturer_trust": [str(pki / "other-ca.pem")]}})
    assert get(peer, "crts")[0].code >> 5 == 4
    with pytest.raises(DtlsError):
        connect(one)
    one.reload({"dtls": {"manufacturer_trust": [str(pki / "manufacturer-ca.pem")]}})
    assert get(connect(one), "crts")[0].status == "2.05"


def test_key_directory(start_registrar, connect, pki, tmp_path):
    """SKG-7: a device's key that was added is found."""
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    one = start_registrar({"est": {"skg": True, "server_keygen": "local", "key_directory": str(keys)}})
    peer = connect(one)

    def ask():
        identifier = der.attribute("1.2.840.113549.1.9.16.2.37", der.tlv(0x04, b"kek"))
        return enrol(peer, der.change_csr(make_csr(pki), [der.CAPABILITIES, identifier]), "skg")[0].status

    assert ask() == "4.03"
    key = keys / (b"kek".hex() + ".key")
    key.write_text("nonsense\n")
    key.chmod(0o600)
    assert any(str(key) in line for line in one.reload(refused=True))
    key.write_text("0123456789abcdef" * 2 + "\n")
    one.reload()
    assert ask() == "2.04"


@pytest.fixture
def webhooks(pki, tmp_path):
    """Two services that decide: one over HTTPS, one at a socket."""
    both = Webhook(pki), Webhook(socket_path=tmp_path / "decide")
    yield both
    for one in both:
        one.stop()


def asking(service, pki, trust="est-ca", **terms):
    return {"access": {"rules": [{"action": "ask"}], "webhook": {"url": service.url, "trust": [str(pki / f"{trust}.pem")], **terms}}}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_webhook(start_registrar, connect, est_server, pki, webhooks, workers):
    """DTLS-10: who waits for the old service has its answer, whoever asks then has the new one's; no trust outlives its withdrawal."""
    first, second = webhooks
    one = start_registrar({"workers": workers, "coap": {"separate_after_ms": 50}})
    peer, waiting = connect(one), connect(one, device="valve")
    one.reload(asking(first, pki, timeout_ms=15000))
    assert enrol(peer, make_csr(pki))[0].status == "2.04" and len(first.questions) == 1

    first.go.clear()
    second.say(DENY)
    csr = make_csr(pki, "valve")
    request = waiting.send(waiting.message(coap.POST, path("sen"), csr, options=POST_OPTIONS))
    first.wait_for_questions(2)
    one.reload(asking(second, pki))
    refused = enrol(peer, make_csr(pki))[0]
    assert (refused.status, refused.payload) == ("4.03", b"not on our list") and len(second.questions) == 1
    one.await_counter("exchanges", 1)
    first.go.set()
    answer = waiting.answer_to(request)
    assert answer.status == "2.04"
    assert is_for(certificates(waiting.fetch_rest(coap.POST, path("sen"), answer, options=POST_OPTIONS))[0], csr)

    one.reload(asking(first, pki))
    assert enrol(peer, make_csr(pki))[0].status == "2.04"
    one.reload(asking(first, pki, trust="manufacturer-ca"))
    assert enrol(peer, make_csr(pki))[0].status == "5.03"  # its open connection is not used any more
    one.reload(asking(first, pki, trust="manufacturer-ca", fail="open"))
    assert enrol(peer, make_csr(pki))[0].status == "2.04"
    missing = asking(second, pki, trust="missing")
    assert any("access.webhook.trust[0]: " in line and "missing.pem" in line for line in one.reload(missing, refused=True))
    assert enrol(peer, make_csr(pki))[0].status == "2.04"  # nothing has changed
    one.reload({"access": {"rules": [{"action": "deny"}], "webhook": None}})
    assert enrol(peer, make_csr(pki))[0].status == "4.03"
    assert len(first.questions) == 3 and len(second.questions) == 1
    assert len([r for r in est_server.stats()["log"] if r["method"] == "POST"]) == 5


def test_est_server_and_its_trust(start_registrar, connect, pki, tmp_path_factory):
    """Requests go to the new EST server, with its trust anchors; what the old one said of its CA is forgotten."""
    one = start_registrar({"upstream": {"trust": [str(pki / "other-ca.pem")]}})
    assert enrol(connect(one), make_csr(pki))[0].status == "5.02"
    one.reload({"upstream": {"trust": [str(pki / "est-ca.pem")]}})
    peer = connect(one)
    assert enrol(peer, make_csr(pki))[0].status == "2.04"
    assert get(peer, "crts")[0].status == "2.05"
    other_pki = programs.Pki(tmp_path_factory.mktemp("other-pki"))
    other = programs.EstServer(other_pki, tmp_path_factory.mktemp("other-est"))
    try:
        one.reload({"upstream": {"servers": [other.url], "trust": [str(other_pki / "est-ca.pem")],
                                 "certificate": str(other_pki / "ra.pem"), "private_key": str(other_pki / "ra.key")}})
        response, body = get(peer, "crts")
        assert response.status == "2.05"
        assert x509.load_pem_x509_certificate((other_pki / "est-ca.pem").read_bytes()) in certificates(body)
        response, body = enrol(peer, make_csr(pki))
        assert response.status == "2.04"
        assert other.stats()["requests"]
    finally:
        other.program.stop()


def test_access(start_registrar, connect, pki):
    one = start_registrar({"access": {"csr_identity": "any"}})
    peer = connect(one)
    csr = make_csr(pki, subject_name="/O=Example/CN=somebody/serialNumber=else")
    assert enrol(peer, csr)[0].status == "2.04"
    one.reload({"access": {"csr_identity": "same-serial"}})
    assert enrol(peer, make_csr(pki, subject_name="/O=Example/CN=somebody/serialNumber=else"))[0].status == "4.03"


def test_log_level(start_registrar, connect):
    one = start_registrar()
    get(connect(one), "crts")
    assert " debug " not in one.program.text()
    one.reload({"log": {"level": "debug"}})
    since = len(one.program.lines)
    get(connect(one), "crts")
    one.program.wait_for(" debug ", since=since)
    one.reload({"log": {"level": "info"}})


def test_bad_files_change_nothing(start_registrar, connect, pki, files, second):
    """All or nothing: each mistake has its line, and the registrar goes on as it was."""
    names = ["registrar.pem", "registrar.key", "manufacturer-ca.pem", "est-ca.pem", "ra.pem", "ra.key"]
    own = {name: files(name) for name in names}
    one = start_registrar({"dtls": {"certificate": str(own["registrar.pem"]), "private_key": str(own["registrar.key"]),
                                    "manufacturer_trust": [str(own["manufacturer-ca.pem"])]},
                           "upstream": {"trust": [str(own["est-ca.pem"])], "certificate": str(own["ra.pem"]),
                                        "private_key": str(own["ra.key"])}})
    good = {name: file.read_bytes() for name, file in own.items()}
    for name, file in own.items():
        for content in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None):
            file.unlink() if content is None else file.write_bytes(content)
            said = one.reload(refused=True)
            assert any(" error " in line and str(file) in line for line in said), (name, said)
        file.write_bytes(good[name])
    own["registrar.pem"].write_bytes(b"")
    own["ra.pem"].write_bytes(b"")
    said = one.reload({"log": {"level": "debug"}, "dtls": {"domain_trust": [str(pki / "nowhere.pem")]}}, refused=True)
    for mistake in ("registrar.pem", "ra.pem", "nowhere.pem"):
        assert sum(mistake in line for line in said) == 1, said
    one.settings["log"]["level"], one.settings["dtls"]["domain_trust"] = "info", [str(pki / "est-ca.pem")]
    own["registrar.pem"].write_bytes(good["registrar.pem"])
    own["ra.pem"].write_bytes(good["ra.pem"])
    bad = files("registrar.pem").with_name("bad")
    bad.write_text("no such thing")
    before = one.settings
    for section, key, value in (("dtls", "crls", [str(bad)]), ("access", "file", str(bad)), ("est", "key_directory", str(bad)),
                                ("access", "rules", [{"match": {}, "action": "perhaps"}]), ("upstream", "password_file", str(bad) + "x")):
        said = one.reload({section: {key: value}}, refused=True)
        assert any(" error " in line and f"{section}.{key}" in line for line in said), said
        one.settings = before
    one.config.write_text("{")
    since = len(one.program.lines)
    one.program.process.send_signal(signal.SIGHUP)
    one.program.wait_for("registrar.json.*line 1", since=since)
    one.program.wait_for("reload refused", since=since)
    peer = connect(one)
    assert common_name(peer) == "Estuary registrar"
    assert enrol(peer, make_csr(pki))[0].status == "2.04"
    assert " debug " not in one.program.text()


def test_what_needs_a_restart_is_named(start_registrar, connect):
    one = start_registrar({"est": {"labels": []}})
    said = one.reload({"est": {"labels": ["new"]}, "workers": 2, "dtls": {"idle_timeout_s": 10}, "log": {"level": "debug"}})
    for key in ("est.labels", "workers", "dtls.idle_timeout_s"):
        assert sum(f"{key} has changed, which needs a restart" in line for line in said) == 1, said
    assert not any("log.level" in line for line in said)
    assert get(connect(one), "crts", "new")[0].status == "4.04"


def test_a_storm(start_registrar, connect, pki):
    """A hundred SIGHUPs in a row, and two workers that serve meanwhile."""
    one = start_registrar({"workers": 2})
    peer = connect(one)
    for _ in range(100):
        one.program.process.send_signal(signal.SIGHUP)
    assert enrol(peer, make_csr(pki))[0].status == "2.04"
    one.reload()
    assert enrol(peer, make_csr(pki))[0].status == "2.04"
    assert get(connect(one), "crts")[0].status == "2.05"


def test_a_reload_and_the_end(start_registrar):
    """SIGTERM right after SIGHUP."""
    one = start_registrar({"workers": 2})
    one.program.process.send_signal(signal.SIGHUP)
    one.stop()


class RevocationList:
    """A CRL of the manufacturer, in a file that is replaced by renaming."""

    def __init__(self, pki, file):
        self.issuer = x509.load_pem_x509_certificate((pki / "manufacturer-sub.pem").read_bytes())
        self.key = serialization.load_pem_private_key((pki / "manufacturer-sub.key").read_bytes(), None)
        self.file, self.number = file, 0

    def revoke(self, *certificates):
        now, self.number = datetime.datetime.utcnow(), self.number + 1
        builder = x509.CertificateRevocationListBuilder(self.issuer.subject, now, now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.CRLNumber(self.number), critical=False)
        for certificate in certificates:
            serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build())
        fresh = self.file.with_suffix(".new")
        fresh.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        fresh.rename(self.file)


def test_revocation_lists_and_access_file(start_registrar, connect, pki, tmp_path):
    """They are loaded as soon as they change, and by SIGHUP; a bad one leaves the one before in use, and is named once. Nothing
    else is read then: a configuration that is being edited waits for its SIGHUP."""
    listed, serials = RevocationList(pki, tmp_path / "manufacturer.crl"), tmp_path / "serials"
    listed.revoke()
    serials.write_text("allow SN-meter\nallow SN-valve\n")
    one = start_registrar({"watch_interval_ms": 150, "dtls": {"crls": [str(listed.file)], "manufacturer_trust": [str(pki / "manufacturer-sub.pem")]},
                           "access": {"file": str(serials), "default": "deny"}})

    def after(change):
        since = len(one.program.lines)
        change()
        one.program.wait_for("reloaded: what has changed", since=since)

    meter, valve = connect(one), connect(one, device="valve")
    assert enrol(meter, make_csr(pki))[0].status == enrol(valve, make_csr(pki, "valve"))[0].status == "2.04"
    one.config.write_text("{")
    after(lambda: listed.revoke(pki / "meter.crt"))
    assert enrol(meter, make_csr(pki))[0] is None or enrol(meter, make_csr(pki))[0].status != "2.04"
    with pytest.raises(DtlsError):
        connect(one)
    after(lambda: put(serials, b"allow SN-meter\n"))
    assert enrol(valve, make_csr(pki, "valve"))[0].status == "4.03"

    since = len(one.program.lines)
    listed.file.write_text("nothing")
    one.program.wait_for("reload refused", since=since)
    after(listed.revoke)
    after(lambda: put(serials, b"allow SN-meter\nallow SN-valve\n"))
    assert sum(str(listed.file) in line and " error " in line for line in one.program.lines if line) == 1
    assert enrol(valve, make_csr(pki, "valve"))[0].status == "2.04"
    assert enrol(connect(one), make_csr(pki))[0].status == "2.04"
    listed.revoke(pki / "valve.crt")
    one.reload({"watch_interval_ms": 0})
    with pytest.raises(DtlsError):
        connect(one, device="valve")


def test_check_config_predicts(start_registrar, pki, tmp_path):
    """--check-config compares with what runs: what a reload will change, and what needs a restart."""
    state = tmp_path / "state"
    state.mkdir()
    one = start_registrar({"state_directory": str(state), "workers": 2})

    def predict(changes):
        wanted = one.config.with_name("wanted.json")
        wanted.write_text(json.dumps(programs.merge(one.settings, changes)))
        result = programs.run([programs.REGISTRAR, "--config", wanted, "--check-config"])
        return result.stdout.decode().splitlines()[1:]

    assert [line for line in predict({}) if "is what runs" in line]
    changes = {"workers": 1, "est": {"labels": ["new"]}, "log": {"level": "debug"}, "dtls": {"domain_trust": []},
               "access": {"webhook": {"timeout_ms": 1500}}}
    said = predict(changes)
    for key in ("workers", "est.labels"):
        assert sum(f"{key}: needs a restart" in line for line in said) == 1, said
    for key in ("log.level", "dtls.domain_trust", "access.webhook.timeout_ms"):
        assert sum(f"{key}: a reload (SIGHUP) will change it" in line for line in said) == 1, said
    assert len(said) == 5

    logged = one.reload(changes)
    assert sum("which needs a restart" in line for line in logged) == 2, logged
    said = predict({})
    assert len(said) == 2 and all("needs a restart" in line for line in said), said
    (state / "running.json").write_text("{}")  # of another version
    assert "another version" in predict({})[0]
    one.stop()
    assert "no registrar runs" in predict({})[0] and not (state / "running.json").exists()


def test_what_a_crash_leaves_behind_is_not_taken_for_a_registrar(start_registrar, tmp_path):
    one = start_registrar({"state_directory": str(tmp_path)})
    one.program.process.send_signal(signal.SIGKILL)
    one.program.process.wait()
    assert (tmp_path / "running.json").exists()
    result = programs.run([programs.REGISTRAR, "--config", one.config, "--check-config"])
    assert b"no registrar runs" in result.stdout
    one.program.kill()


@pytest.mark.parametrize("kind", ["irectory", "no regular file"])
def test_a_directory_is_no_file(start_registrar, pki, tmp_path, kind):
    """Nor is a FIFO, whose writer nobody waits for. Said as it is, and with the name of the configuration file."""
    one = start_registrar()
    if kind != "irectory":
        tmp_path = tmp_path / "fifo"
        os.mkfifo(tmp_path)
    for section, key in (("dtls", "certificate"), ("dtls", "private_key"), ("upstream", "certificate"), ("upstream", "trust")):
        value = [str(tmp_path)] if key == "trust" else str(tmp_path)
        said = one.reload({section: {key: value}}, refused=True)
        lines = [line for line in said if str(tmp_path) in line and " error " in line]
        assert len(lines) == 1 and kind in lines[0] and f"{one.config}: {section}.{key}" in lines[0], said
        one.settings[section][key] = programs.default_settings(pki, one.settings["upstream"]["servers"][0])[section][key]
    one.reload()


@pytest.mark.parametrize("what", ["a FIFO", "/dev/zero", "a folder", "gone", "empty", "huge"])
def test_a_configuration_that_is_none(start_registrar, connect, what):
    """What takes the place of the configuration file is refused, and neither the next reload nor the end waits for it."""
    one = start_registrar()
    good = one.config.read_bytes()
    one.config.unlink()
    make = {"a FIFO": lambda: os.mkfifo(one.config), "/dev/zero": lambda: one.config.symlink_to("/dev/zero"), "a folder": one.config.mkdir,
            "gone": lambda: None, "empty": lambda: one.config.write_bytes(b""), "huge": lambda: one.config.write_bytes(b" " * (2 << 20))}
    make[what]()
    one.program.process.send_signal(signal.SIGHUP)
    one.program.wait_for("reload refused")
    assert sum(f"error reload: {one.config}: " in line for line in one.program.lines if line) == 1
    if what == "a folder":
        one.config.rmdir()
    elif what != "gone":
        one.config.unlink()
    one.config.write_bytes(good)
    one.reload()
    assert get(connect(one), "crts")[0].status == "2.05"
