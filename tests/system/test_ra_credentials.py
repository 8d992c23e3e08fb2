"""What the registrar shows the EST server, and whom it takes for it (rows RA-1, RA-2, RA-8, RA-10)."""

import subprocess

import pytest

import programs
import short_lived as made
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from enrolment import enrol, get, join_domain, make_csr, subject

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
SECRET = "correct horse battery"


def posts(server):
    return [record for record in server.stats()["log"] if record["method"] == "POST"]


def secret_file(folder, text=SECRET):
    file = folder / "secret"
    file.write_text(text + "\n")
    file.chmod(0o600)
    return str(file)


def enciphered_pem(pki, folder):
    file = made.write_both(folder / "ra.pem", made.load(pki / "ra.pem"), made.load_key(pki / "ra.key"), SECRET.encode())
    return {"certificate": str(file), "private_key": str(file), "passphrase_file": secret_file(folder)}, None


def pkcs12_file(pki, folder):
    file = folder / "ra.p12"
    file.write_bytes(pkcs12.serialize_key_and_certificates(b"ra", made.load_key(pki / "ra.key"), made.load(pki / "ra.pem"), None,
                                                           BestAvailableEncryption(SECRET.encode())))
    file.chmod(0o600)
    return {"certificate": str(file), "private_key": str(file), "passphrase_file": secret_file(folder)}, None


def token(pki, folder):
    """A SoftHSM token with the RA's key."""
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    environment = {"SOFTHSM2_CONF": str(folder / "softhsm2.conf")}
    for command in (["--init-token", "--free", "--label", "est", "--pin", "73519", "--so-pin", "4711"],
                    ["--import", pki / "ra.key", "--token", "est", "--label", "ra", "--id", "01", "--pin", "73519"]):
        programs.run(["softhsm2-util", *command], env={"PATH": "/usr/bin", **environment})
    return {"certificate": str(pki / "ra.pem"), "private_key": "pkcs11:token=est;object=ra;type=private", "pkcs11_module": MODULE,
            "passphrase_file": secret_file(folder, "73519")}, environment


@pytest.mark.parametrize("kind", [enciphered_pem, pkcs12_file, token])
def test_where_the_key_lies(start_registrar, connect, est_server, pki, tmp_path, kind):
    """RA-1: the EST server sees the RA, wherever its key lies; two workers share a token; no secret is logged or printed."""
    upstream, environment = kind(pki, tmp_path)
    one = start_registrar({"upstream": {**upstream, "reuse_connections": False}, "workers": 2, "log": {"level": "debug"}},
                          environment=environment)
    for device in ("meter", "valve", "pump"):
        assert enrol(connect(one, device=device), make_csr(pki, device))[0].status == "2.04"
    assert all(record["ra"] for record in posts(est_server)) and len(posts(est_server)) == 3
    one.reload({})
    assert enrol(connect(one), make_csr(pki))[0].status == "2.04"
    printed = programs.run([programs.REGISTRAR, "--config", one.config, "--print-config"]).stdout.decode()
    for secret in (SECRET, "73519"):
        assert secret not in one.program.text() and secret not in printed


@pytest.fixture(scope="module")
def demanding(pki, tmp_path_factory):
    """An EST server like libest by default: a certificate and a password."""
    folder = tmp_path_factory.mktemp("demanding")
    (folder / "password").write_text(SECRET + "\n")
    server = programs.EstServer(pki, folder, "--auth", "both", "--user", "registrar", "--password-file", folder / "password")
    yield server
    server.program.stop()


def with_password(folder, text=SECRET, **more):
    return {"upstream": {"username": "registrar", "password_file": secret_file(folder, text), **more}}


@pytest.mark.parametrize("profile", ["rfc7030", "libest"])
@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_password(start_registrar, connect, demanding, pki, tmp_path, scheme, profile):
    """RA-8: Basic or Digest beside the certificate, after a 401; each device has one certificate issued."""
    demanding.reset()
    one = start_registrar({**with_password(tmp_path, profile=profile, default_label=f"{scheme}.tag-{profile}")},
                          upstream_url=demanding.url)
    for device in ("meter", "valve"):
        assert enrol(connect(one, device=device), make_csr(pki, device))[0].status == "2.04"
    assert [record["outcome"] for record in posts(demanding)] == ["401", "200"] * 2
    assert len(demanding.stats()["issued"]) == 2
    assert SECRET not in one.program.text()


@pytest.mark.parametrize("given", ["wrong", None])
def test_password_that_will_not_do(start_registrar, connect, demanding, pki, tmp_path, given):
    """RA-8: one attempt with a password, or none without one; then 4.01."""
    demanding.reset()
    one = start_registrar(with_password(tmp_path, given) if given else {}, upstream_url=demanding.url)
    assert enrol(connect(one), make_csr(pki))[0].status == "4.01"
    assert [record["outcome"] for record in posts(demanding)] == ["401"] * (2 if given else 1)


@pytest.fixture
def serve_as(pki, tmp_path):
    """serve_as(certificate, key): an EST server with that TLS certificate, which asks for a password."""
    started = []

    def start(certificate, key, *options):
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        (folder / "tls.pem").write_bytes(made.pem(certificate))
        (folder / "tls.key").write_bytes(made.key_pem(key))
        (folder / "password").write_text(SECRET + "\n")
        started.append(programs.EstServer(pki, folder, "--certificate", folder / "tls.pem", "--key", folder / "tls.key", *options,
                                          "--auth", "both", "--user", "registrar", "--password-file", folder / "password"))
        return started[-1]

    yield start
    for server in started:
        server.program.stop()


def foreign(pki, common_name, **more):
    key = made.ec.generate_private_key(made.ec.SECP256R1())
    return made.certify(made.name(common_name), key, made.load(pki / "other-ca.pem"), made.load_key(pki / "other-ca.key"), **more), key


ELSEWHERE = [x509.DNSName("other.example")]


def requests_seen(server):
    return [line for line in server.program.lines if line and "/.well-known/est/" in line]


@pytest.mark.parametrize("what", ["another CA", "expired", "wrong name", "wrong name, cmcRA of another CA", "cmcRA, but no server"])
def test_impostors(start_registrar, connect, pki, tmp_path, serve_as, what):
    """RA-2, RA-8: whoever does not verify gets 5.02 for the device, no request, and never a password."""
    shape = {"another CA": lambda: foreign(pki, "localhost", purposes=[made.SERVER], names=made.LOCAL),
             "expired": lambda: made.issue(pki, "localhost", purposes=[made.SERVER], names=made.LOCAL, days=(-20, -1)),
             "wrong name": lambda: made.issue(pki, "localhost", purposes=[made.SERVER], names=ELSEWHERE),
             "wrong name, cmcRA of another CA": lambda: foreign(pki, "x", purposes=[made.SERVER, made.CMC_RA], names=ELSEWHERE),
             "cmcRA, but no server": lambda: made.issue(pki, "localhost", purposes=[made.CLIENT, made.CMC_RA], names=made.LOCAL)}
    server = serve_as(*shape[what]())
    one = start_registrar(with_password(tmp_path), upstream_url=server.url)
    peer = connect(one)
    assert get(peer, "crts")[0].status == "5.02"
    assert enrol(peer, make_csr(pki))[0].status == "5.02"
    assert not requests_seen(server)


def test_cmc_ra_for_a_name(start_registrar, connect, pki, tmp_path, serve_as):
    """RA-2, RFC 7030 section 3.6.1: with explicit trust, id-kp-cmcRA stands for the host name; with implicit trust nothing does."""
    server = serve_as(*made.issue(pki, "some host", purposes=[made.SERVER, made.CMC_RA], names=ELSEWHERE))
    one = start_registrar(with_password(tmp_path), upstream_url=server.url)
    assert enrol(connect(one), make_csr(pki))[0].status == "2.04"
    server.program.wait_for(r"/\.well-known/est/")
    ca = [str(pki / "est-ca.pem")]
    implicit = start_registrar(with_password(tmp_path, trust=[], implicit_trust=ca), upstream_url=server.url)
    assert get(connect(implicit), "crts")[0].status == "5.02"
    named = serve_as(*foreign(pki, "web", purposes=[made.SERVER], names=made.LOCAL))
    web = start_registrar(with_password(tmp_path, implicit_trust=[str(pki / "other-ca.pem")]), upstream_url=named.url)
    assert enrol(connect(web), make_csr(pki))[0].status == "2.04"


def test_tls_of_our_choice(start_registrar, connect, pki, tmp_path, serve_as):
    """RA-1: neither a lower version of TLS nor other ciphers than those that are allowed."""
    server = serve_as(*made.issue(pki, "localhost", purposes=[made.SERVER], names=made.LOCAL), "--tls-max", "1.2")
    fits = start_registrar(with_password(tmp_path, tls_ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"), upstream_url=server.url)
    assert enrol(connect(fits), make_csr(pki))[0].status == "2.04"
    fits.reload({"upstream": {"tls_ciphers": "ECDHE-RSA-AES256-GCM-SHA384"}}) # the server's key is an EC key
    assert get(connect(fits), "crts")[0].status == "5.02"
    fits.reload({"upstream": {"tls_ciphers": "", "tls_min_version": "1.3"}})
    assert get(connect(fits), "crts")[0].status == "5.02"


@pytest.mark.parametrize("operation", ["simplereenroll", "simpleenroll"])
def test_what_sren_becomes(start_registrar, connect, est_server, pki, operation):
    """RA-10."""
    one = start_registrar({"upstream": {"sren_operation": operation}})
    member = join_domain(pki)
    assert enrol(connect(one, device=member), make_csr(pki, member, new_key=True), operation="sren")[0].status == "2.04"
    assert posts(est_server)[-1]["path"].endswith("/" + operation)


def check_config(registrar, **upstream):
    registrar.settings = programs.merge(registrar.settings, {"upstream": upstream})
    registrar.config.write_text(programs.json.dumps(registrar.settings))
    return subprocess.run([programs.REGISTRAR, "--config", registrar.config, "--check-config"], capture_output=True, text=True, timeout=30)


def test_check_config(start_registrar, pki, tmp_path):
    """RA-1, RA-2, RA-8: all of it is loaded, and what will hurt is told, but never a secret."""
    one = start_registrar()
    one.stop()
    upstream, _ = enciphered_pem(pki, tmp_path)
    good = check_config(one, **upstream)
    assert good.returncode == 0, good.stderr
    (tmp_path / "secret").chmod(0o644)
    assert "upstream.passphrase_file" in check_config(one).stderr
    (tmp_path / "secret").write_text("something else\n")
    wrong = check_config(one)
    assert wrong.returncode == 1 and "upstream.private_key" in wrong.stderr and "something else" not in wrong.stderr
    token_missing = check_config(one, private_key="pkcs11:token=none", certificate=str(pki / "ra.pem"), pkcs11_module="/nowhere.so")
    assert token_missing.returncode == 1 and "pkcs11" in token_missing.stderr
    two_files = check_config(one, private_key=str(pki / "ra.key"), passphrase_file="", pkcs11_module="", renew=True)
    assert two_files.returncode == 1 and "upstream.renew" in two_files.stderr
