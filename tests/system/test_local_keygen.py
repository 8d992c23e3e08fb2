"""Keys that the registrar makes for devices, in the EST server's place (SKG-5 to SKG-8)."""

import base64
import time

import coap
import programs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import der
import key_traces
from enrolment import POST_OPTIONS, certificates, enrol, is_for, make_csr, path, spki
from server_keys import (BOTH, KEK, MULTIPART, SERVER_KEY, assert_pair, certificate_of, enrol_patiently, only_key, open_package, plain_key, posts, scalar,
                         unpack)


@pytest.mark.parametrize("operation", ["skg", "skc"])
def test_keys_made_here(start_registrar, connect, est_server, pki, operation):
    """SKG-5: simpleenroll with another key, for the device's name and extensions and without its challengePassword; key and certificate
    come together, and a lost answer comes again."""
    registrar = start_registrar({"est": {**BOTH, "server_keygen": "local"}})
    peer = connect(registrar)
    link = base64.b64encode(peer.dtls.finished()).decode()
    csr = make_csr(pki, "meter", "--key-usage", "digitalSignature", "--challenge-password", link, "--bad-signature")
    response, body = enrol(peer, csr, operation)
    assert response.status == "2.04" and response.number(coap.CONTENT_FORMAT) == MULTIPART
    items = assert_pair(body, operation)
    asked = x509.load_der_x509_csr(csr)
    certificate = certificate_of(items)
    assert certificate.subject == asked.subject and spki(certificate.public_key()) != spki(asked.public_key())
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert posts(est_server) == ["simpleenroll"]
    assert enrol(connect(registrar), csr, operation)[1] == body
    assert posts(est_server) == ["simpleenroll"]


@pytest.mark.parametrize("algorithm, kind", [(["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], 384), (["rsa", "-pkeyopt", "rsa_keygen_bits:2048"], 2048)])
def test_type_of_keys_made_here(start_registrar, connect, pki, algorithm, kind, tmp_path):
    """SKG-5: that of the CSR's own public key; meanwhile others are served."""
    peer = connect(start_registrar({"est": {**BOTH, "server_keygen": "local"}}))
    programs.run(["openssl", "genpkey", "-algorithm", *algorithm, "-out", tmp_path / "key"])
    csr = pki.csr(tmp_path / "key", "/O=Example/CN=meter/serialNumber=SN-meter")
    response, body = enrol(peer, csr, "skg")
    assert response.status == "2.04" and plain_key(assert_pair(body, "skg")).key_size == kind


def test_many_ask_for_long_keys(start_registrar, connect, est_server, pki):
    """SKG-5, SEC-3: what RSA takes holds nobody else up, the queue for it is bounded, who finds it full is told to come back, and whoever stops the
    registrar does not wait for it."""
    registrar = start_registrar({"est": {**BOTH, "server_keygen": "local", "key_type": "RSA-4096", "max_pending_per_client": 1000},
                                 "coap": {"separate_after_ms": 10}, "drain_ms": 1000})  # nobody acknowledges
    any_csr = make_csr(pki)
    peers = [connect(registrar) for _ in range(30)]
    for n, peer in enumerate(peers * 3):  # all at once: none waits for its answer
        csr = der.change_csr(any_csr, [der.attribute("1.2.840.113549.1.9.2", der.tlv(0x0c, b"%d" % n))])  # unstructuredName
        peer.send(peer.message(coap.POST, path("skg"), csr, options=POST_OPTIONS))
    registrar.program.wait_for("operation=skg upstream=registrar code=5.03")
    csr = make_csr(pki)
    assert is_for(certificates(enrol_patiently(connect(registrar), csr, "sen")[1])[0], csr)
    registrar.stop()
    assert "exchanges unfinished" not in registrar.program.text()


P384_ATTRIBUTE = "301430120607" + "2a8648ce3d0201" + "310706052b81040022"  # id-ecPublicKey: secp384r1


@pytest.mark.parametrize("key_type, label, curve, asked", [
    ("P-384", None, "secp384r1", ["simpleenroll"]),
    ("csrattrs", f"csrattrs-{P384_ATTRIBUTE}", "secp384r1", ["csrattrs", "simpleenroll"]),
    ("csrattrs", "csrattrs-3000", "secp256r1", ["csrattrs", "simpleenroll"]),
    ("csrattrs", "csrattrs-204", "secp256r1", ["csrattrs", "simpleenroll"]),
    ("csr", f"csrattrs-{P384_ATTRIBUTE}", "secp256r1", ["simpleenroll"]),
])
def test_who_decides_of_the_type(start_registrar, connect, est_server, pki, key_type, label, curve, asked):
    """SKG-5: the configuration, the EST server's csrattrs, which are asked for once, or the CSR."""
    registrar = start_registrar({"est": {**BOTH, "server_keygen": "local", "key_type": key_type, "labels": [label] if label else []}})
    for device in ("meter", "lamp"):
        response, body = enrol(connect(registrar, device=device), make_csr(pki, device), "skg", label_name=label)
        assert response.status == "2.04" and plain_key(assert_pair(body, "skg")).curve.name == curve
    paths = [r["path"].rsplit("/", 1)[1] for r in est_server.stats()["log"]]
    assert paths == [*asked, "simpleenroll"]


def test_a_type_that_cannot_be_known(start_registrar, connect, est_server, pki):
    """SKG-5: no key is made where the EST server fails to say which, and no certificate asked for."""
    label = "times-1.status-500"
    peer = connect(start_registrar({"est": {**BOTH, "server_keygen": "local", "key_type": "csrattrs", "labels": [label]}}))
    assert enrol(peer, make_csr(pki), "skg", label_name=label)[0].status == "5.00"
    assert not posts(est_server)
    assert enrol(peer, make_csr(pki), "skg", label_name=label)[0].status == "2.04"


def test_keys_all_differ(start_registrar, connect, est_server, pki):
    """SKG-5: a key of its own for each device and each operation."""
    registrar = start_registrar({"est": {**BOTH, "server_keygen": "local"}})
    keys = set()
    for n in range(8):
        peer = connect(registrar, device=f"crowd{n}")
        for operation in ("skg", "skc"):
            keys.add(scalar(plain_key(assert_pair(enrol(peer, make_csr(pki, f"crowd{n}"), operation)[1], operation))))
    assert len(keys) == 16


@pytest.mark.parametrize("mode, words, status, asked", [
    ("relay-then-local", "times-1.status-404", "2.04", ["serverkeygen", "simpleenroll"]),
    ("relay-then-local", "times-1.status-501", "2.04", ["serverkeygen", "simpleenroll"]),
    ("relay-then-local", "tag-works", "2.04", ["serverkeygen"]),
    ("relay-then-local", "status-403", "4.03", ["serverkeygen"]),
    ("relay-then-local", "status-500", "5.00", ["serverkeygen"]),
    ("relay-then-local", "key-other", "5.02", ["serverkeygen"]),
    ("relay", "times-1.status-404", "4.04", ["serverkeygen"]),
    ("local", "status-404", "4.04", ["simpleenroll"]),
    ("local", "wrong-key", "5.02", ["simpleenroll"]),
    ("local", "no-certificate", "5.02", ["simpleenroll"]),
])
def test_who_makes_the_key(start_registrar, connect, est_server, pki, mode, words, status, asked):
    """SKG-6: the registrar steps in only where the EST server has no serverkeygen, and only when told to."""
    peer = connect(start_registrar({"est": {**BOTH, "labels": [words], "server_keygen": mode}}))
    response, body = enrol(peer, make_csr(pki), "skg", label_name=words)
    assert response.status == status and posts(est_server) == asked
    if status == "2.04":
        assert_pair(body, "skg")


def csrs_of_posts(est_server):
    return [r["csr_sha256"] for r in est_server.stats()["log"] if r["method"] == "POST"]


def test_approval_by_hand(start_registrar, connect, est_server, pki, tmp_path):
    """SKG-5, SKG-9, DLY-3: while somebody has to approve (202) the device is told to come back, the EST server is asked again in the same words, and
    the device gets the key that was made first; over another association, too, and once more if the answer was lost. Nothing of it is on the disk."""
    words = "manual.retry-1"
    registrar = start_registrar({"est": {**BOTH, "labels": [words], "server_keygen": "local"}, "state_directory": str(tmp_path)})
    csr = make_csr(pki)
    response, _ = enrol(connect(registrar), csr, "skg", label_name=words)
    assert response.status == "5.03" and response.number(coap.MAX_AGE) == 1
    time.sleep(1)
    response, _ = enrol(connect(registrar), csr, "skg", label_name=words)
    assert response.status == "5.03" and registrar.counters()["in_doubt"] == 0
    asked = csrs_of_posts(est_server)
    assert len(asked) == 2 and len(set(asked)) == 1
    est_server.ask(f"/approve?label={words}", "POST")
    response, body = enrol_patiently(connect(registrar), csr, "skg", words)
    assert response.status == "2.04" and enrol(connect(registrar), csr, "skg", label_name=words)[1] == body
    key = plain_key(assert_pair(body, "skg"))
    assert spki(key.public_key()) != spki(x509.load_der_x509_csr(csr).public_key())
    assert set(csrs_of_posts(est_server)) == set(asked) and set(posts(est_server)) == {"simpleenroll"}
    assert not any(key_traces.is_in_octets(octets, scalar(key)) for octets in key_traces.files_below(tmp_path).values())


def test_an_approval_that_takes_too_long(start_registrar, connect, est_server, pki):
    """SKG-9: no key waits for longer than est.key_grace_s, and no device for one that cannot."""
    slow, long = "manual.retry-1", "manual.retry-2"
    registrar = start_registrar({"est": {**BOTH, "labels": [slow, long], "server_keygen": "local", "key_grace_s": 2}})
    response, _ = enrol(connect(registrar), make_csr(pki), "skg", label_name=long)
    assert response.status == "5.02" and b"est.key_grace_s" in response.payload and registrar.counters()["in_doubt"] == 1
    csr = make_csr(pki)
    assert enrol(connect(registrar), csr, "skc", label_name=slow)[0].status == "5.03"
    registrar.program.wait_for("no device has fetched", timeout=10)
    assert registrar.counters()["in_doubt"] == 2
    est_server.ask(f"/approve?label={slow}", "POST")  # too late: another key, which waits anew
    assert enrol(connect(registrar), csr, "skc", label_name=slow)[0].status == "5.03"
    assert len(set(csrs_of_posts(est_server))) == 3


def test_an_approval_across_a_restart(start_registrar, connect, est_server, pki, tmp_path):
    """SKG-9: the key is gone with the process; the journal knows that there may be a certificate for it."""
    words = "manual.retry-1"
    changes = {"est": {**BOTH, "labels": [words], "server_keygen": "local"}, "state_directory": str(tmp_path)}
    first = start_registrar(changes)
    csr = make_csr(pki)
    assert enrol(connect(first), csr, "skg", label_name=words)[0].status == "5.03"
    first.stop()
    second = start_registrar(changes)
    assert "enrolment in doubt" in second.program.text()
    assert enrol(connect(second), csr, "skg", label_name=words)[0].status == "5.03"
    assert "may become a second issue" in second.program.text() and len(set(csrs_of_posts(est_server))) == 2


@pytest.mark.parametrize("est, warns", [
    ({"server_keygen": "local", "key_grace_s": 60}, True), ({"server_keygen": "relay-then-local", "key_grace_s": 60}, True),
    ({"server_keygen": "local"}, False), ({"key_grace_s": 60}, False)])
def test_the_limit_is_told(start_registrar, est, warns):
    """SKG-9: --check-config and the start name it, for whoever has an EST server with approval by hand."""
    registrar = start_registrar({"est": {**BOTH, **est}})
    checked = programs.run([programs.REGISTRAR, "--check-config", "--config", registrar.config])
    for text in (registrar.program.text(), (checked.stdout + checked.stderr).decode()):
        assert ("est.key_grace_s: 60: a key made here waits no longer" in text) == warns


@pytest.fixture
def key_folder(tmp_path):
    """est.key_directory with one key-encryption key, and the public keys of an RSA and an EC device, each with its identifier."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    kek = folder / (b"kek".hex() + ".key")
    kek.write_text(KEK + "\n")
    kek.chmod(0o600)
    for name, options in ((b"rsa", ["rsa", "-pkeyopt", "rsa_keygen_bits:2048"]), (b"ec", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])):
        programs.run(["openssl", "genpkey", "-algorithm", *options, "-out", tmp_path / name.decode()])
        programs.run(["openssl", "pkey", "-in", tmp_path / name.decode(), "-pubout", "-out", folder / f"{name.hex()}.pem"])
    return folder


@pytest.mark.parametrize("mode, warns", [("relay", True), ("local", False), ("relay-then-local", False)])
def test_a_key_directory_of_no_use(start_registrar, key_folder, mode, warns):
    """SKG-4, SKG-7: who relies on it hears that the EST server alone protects keys."""
    registrar = start_registrar({"est": {**BOTH, "server_keygen": mode, "key_directory": str(key_folder)}})
    assert ("est.key_directory: of no use" in registrar.program.text()) == warns


def identifier(kind, name):
    return der.attribute(f"1.2.840.113549.1.9.16.2.{kind}", der.tlv(0x04, name))


@pytest.mark.parametrize("kind, name", [(37, b"kek"), (54, b"rsa"), (54, b"ec")])
def test_protected_keys_made_here(start_registrar, connect, pki, key_folder, tmp_path, kind, name):
    """SKG-7, SKG-8: EnvelopedData for the device's key around SignedData of the registrar; openssl opens it."""
    peer = connect(start_registrar({"est": {**BOTH, "server_keygen": "local", "key_directory": str(key_folder)}}))
    for operation in ("skg", "skc"):
        response, body = enrol(peer, der.change_csr(make_csr(pki), [der.CAPABILITIES, identifier(kind, name)]), operation)
        assert response.status == "2.04", response.payload
        items = unpack(body)
        assert items[0] == SERVER_KEY
        assert der.elements(der.read(items[1])[1])[0] == der.oid("1.2.840.113549.1.7.3")
        how = ["-secretkey", KEK, "-secretkeyid", name.hex()] if kind == 37 else ["-inkey", tmp_path / name.decode()]
        package = open_package(items[1], tmp_path, how, ["-CAfile", pki / "est-ca.pem", "-purpose", "any", "-certfile", pki / "registrar.pem"])
        key = serialization.load_der_private_key(only_key(package), None)
        assert spki(key.public_key()) == spki(certificate_of(items).public_key())


@pytest.mark.skipif(not key_traces.are_findable(programs.REGISTRAR), reason="AddressSanitizer has its own ideas of memory")
def test_a_protected_key_is_not_kept_plain(start_registrar, connect, est_server, pki, key_folder, tmp_path):
    """SKG-7, SKG-9: what waits for its certificate (202), and then for its device, is CMS; the plain key is gone once that is written."""
    words = "manual.retry-1"
    registrar = start_registrar({"est": {**BOTH, "labels": [words], "server_keygen": "local", "key_directory": str(key_folder)}})
    peer = connect(registrar)
    csr = der.change_csr(make_csr(pki), [der.CAPABILITIES, identifier(37, b"kek")])
    assert enrol(peer, csr, "skg", label_name=words)[0].status == "5.03"
    while_it_waits = list(key_traces.used_memory(registrar.pid))
    est_server.ask(f"/approve?label={words}", "POST")
    cms = unpack(enrol_patiently(peer, csr, "skg", words)[1])[1]
    how = ["-secretkey", KEK, "-secretkeyid", b"kek".hex()]
    plain = scalar(serialization.load_der_private_key(only_key(open_package(cms, tmp_path, how, ["-noverify"])), None))
    assert not any(key_traces.is_in_octets(octets, plain) for _, octets in while_it_waits)
    assert not key_traces.occurrences(registrar.pid, plain)
    assert any(cms[-64:] in octets for _, octets in while_it_waits), "the search finds what is there"


@pytest.mark.parametrize("attributes, status", [
    ([der.CAPABILITIES, identifier(37, b"unknown")], "4.03"), ([der.CAPABILITIES, identifier(54, b"unknown")], "4.03"),
    ([identifier(37, b"kek")], "4.00"), ([identifier(54, b"rsa")], "4.00"),
    ([der.CAPABILITIES, identifier(37, b"kek"), identifier(54, b"rsa")], "4.00"),
    ([der.capabilities("1.2.840.113549.3.7"), identifier(37, b"kek")], "4.00"),
])
def test_never_a_plain_key_instead(start_registrar, connect, est_server, pki, key_folder, attributes, status):
    """SKG-3, SKG-7: unknown identifier, no common algorithm, half or double wishes: an error, and no certificate is asked for."""
    peer = connect(start_registrar({"est": {**BOTH, "server_keygen": "local", "key_directory": str(key_folder)}}))
    response, _ = enrol(peer, der.change_csr(make_csr(pki), attributes), "skg")
    assert response.status == status and response.payload
    assert not posts(est_server)


def test_capabilities_alone(start_registrar, connect, pki):
    """SKG-3: SMIMECapabilities without an identifier gets a plain key."""
    peer = connect(start_registrar({"est": {**BOTH, "server_keygen": "local"}}))
    assert_pair(enrol(peer, der.change_csr(make_csr(pki), [der.CAPABILITIES]), "skg")[1], "skg")
