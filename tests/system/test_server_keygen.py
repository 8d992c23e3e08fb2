"""Keys that the device does not make itself: /skg and /skc (requirements A7 and A11)."""

import base64
import os
import pathlib
import resource
import signal
import subprocess
import time

import cbor2
import coap
import programs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import der
import key_traces
from enrolment import POST_OPTIONS, certificates, enrol, make_csr, path, spki

BOTH = {"skg": True, "skc": True}
KEK = "000102030405060708090a0b0c0d0e0f"
MULTIPART, SERVER_KEY, CERTS_ONLY, PKCS8, ONE_CERT = 62, 280, 281, 284, 287


def unpack(body):
    """MP-1: the key first, with its Content-Format, then the certificate; canonical CBOR."""
    items = cbor2.loads(body)
    assert len(items) == 4 and cbor2.dumps(items) == body
    return items


def certificate_of(items):
    if items[2] == ONE_CERT:
        return x509.load_der_x509_certificate(items[3])
    assert items[2] == CERTS_ONLY
    return next(c for c in certificates(items[3]) if not is_ca(c))


def is_ca(certificate):
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def plain_key(items):
    assert items[0] == PKCS8
    key = serialization.load_der_private_key(items[1], None)
    tag, content, rest = der.read(items[1])
    assert tag == 0x30 and not rest and [e[0] for e in der.elements(content)][:3] == [0x02, 0x30, 0x04], "PKCS#8"
    return key


def assert_pair(body, operation):
    items = unpack(body)
    assert items[2] == (ONE_CERT if operation == "skc" else CERTS_ONLY)
    assert spki(plain_key(items).public_key()) == spki(certificate_of(items).public_key())
    return items


def scalar(key):
    return key.private_numbers().private_value.to_bytes(32, "big")


def open_package(cms, folder, decryption, verification):
    """What openssl gets out of EnvelopedData(SignedData(content)). The encrypted content is SignedData without a ContentInfo around it
    (RFC 5652 section 6.1), which openssl cms -verify wants to see again."""
    (folder / "key.cms").write_bytes(cms)
    signed = programs.run(["openssl", "cms", "-decrypt", "-inform", "DER", "-in", folder / "key.cms", "-binary", *decryption]).stdout
    (folder / "signed").write_bytes(der.tlv(0x30, der.oid("1.2.840.113549.1.7.2"), der.tlv(0xa0, signed)))
    return programs.run(["openssl", "cms", "-verify", "-inform", "DER", "-in", folder / "signed", "-binary", *verification]).stdout


def only_key(package):
    """AsymmetricKeyPackage (RFC 5958 section 2): a SEQUENCE OF one key."""
    tag, keys, rest = der.read(package)
    assert tag == 0x30 and not rest and len(der.elements(keys)) == 1
    return der.elements(keys)[0]


def serverkeygens(est_server):
    return [r for r in est_server.stats()["log"] if r["path"].endswith("/serverkeygen")]


def test_off_unless_switched_on(start_registrar, connect, est_server, pki):
    """SKG-1, DISC-2: 4.04 and not discovered; each switch for itself."""
    for changes, links, codes in (({}, set(), ("4.04", "4.04")), ({"skg": True}, {"skg"}, ("2.04", "4.04")),
                                  ({"skc": True}, {"skc"}, ("4.04", "2.04"))):
        peer = connect(start_registrar({"est": changes}))
        assert tuple(enrol(peer, make_csr(pki), operation)[0].status for operation in ("skg", "skc")) == codes
        found = peer.get((".well-known", "core"), queries=["rt=ace.est.sk*"]).payload.decode()
        assert {name for name in ("skg", "skc") if f"/est/{name}>" in found} == links
    assert len(serverkeygens(est_server)) == 2


FORMS = ["tag-plain", "key-sec1", "key-pkcs1", "certificate-first", "multipart-lf", "preamble", "quoted-boundary", "cte-none",
         "base64-76crlf", "base64-tabs", "libest", "with-ca", "ca-first", "preamble.multipart-lf.key-sec1.certificate-first", "chunked"]


@pytest.mark.parametrize("operation", ["skg", "skc"])
def test_every_form_of_multipart(start_registrar, connect, est_server, pki, operation):
    """MP-1, MP-3, MP-4, CF-5, SKG-4: whatever the EST server's form, true PKCS#8 and its certificate; the CSR arrives unchanged."""
    peer = connect(start_registrar({"est": {**BOTH, "labels": FORMS}}))
    for words in FORMS:
        csr = make_csr(pki)
        response, body = enrol(peer, csr, operation, label_name=words)
        assert response.status == "2.04" and response.number(coap.CONTENT_FORMAT) == MULTIPART, (words, response.status, response.payload)
        assert_pair(body, operation)
    assert [r["path"] for r in serverkeygens(est_server)] == [f"/.well-known/est/{words}/serverkeygen" for words in FORMS]


BAD_FORMS = ["key-other", "key-missing", "key-twice", "no-certificate", "wrong-key", "broken-base64", "trailing", "type-text", "type-none",
             "type-bare", "cut-off", "success-201", "success-204", "key-cms"]


@pytest.mark.parametrize("operation", ["skg", "skc"])
def test_answers_that_do_not_hold_together(start_registrar, connect, pki, operation):
    """MP-4, MP-5, MP-6: 5.02 with a diagnostic that is none of the key."""
    peer = connect(start_registrar({"est": {**BOTH, "labels": BAD_FORMS}}))
    for words in BAD_FORMS:
        response, _ = enrol(peer, make_csr(pki), operation, label_name=words)
        assert response.status == "5.02" and len(response.payload) < 80, (words, response.status)


@pytest.mark.parametrize("operation", ["skg", "skc"])
def test_protected_keys(start_registrar, connect, pki, operation, tmp_path):
    """MP-5, MP-7, SKG-8: what was asked for protected comes protected, and opens; a plain one is not delivered."""
    peer = connect(start_registrar({"est": {**BOTH, "labels": ["key-cms"]}}))
    wish = der.change_csr(make_csr(pki), [der.CAPABILITIES, der.SYMMETRIC_KEY])
    response, body = enrol(peer, wish, operation, label_name="key-cms")
    assert response.status == "2.04", response.payload
    items = unpack(body)
    assert items[0] == SERVER_KEY and items[2] == (ONE_CERT if operation == "skc" else CERTS_ONLY)
    assert der.elements(der.read(items[1])[1])[0] == der.oid("1.2.840.113549.1.7.3"), "EnvelopedData outermost"
    package = open_package(items[1], tmp_path, ["-secretkey", KEK, "-secretkeyid", b"kek".hex()], ["-noverify"])
    key = serialization.load_der_private_key(only_key(package), None)
    assert spki(key.public_key()) == spki(certificate_of(items).public_key())
    for attributes in ([der.CAPABILITIES, der.SYMMETRIC_KEY], [der.CAPABILITIES, der.ASYMMETRIC_KEY]):
        assert enrol(peer, der.change_csr(make_csr(pki), attributes), operation)[0].status == "5.02"


@pytest.mark.parametrize("attributes", [[der.CAPABILITIES], [der.SYMMETRIC_KEY], [der.ASYMMETRIC_KEY]])
def test_half_a_wish(start_registrar, connect, pki, attributes):
    """SKG-3: in relay mode the EST server decides."""
    peer = connect(start_registrar({"est": {**BOTH, "labels": ["key-cms"]}}))
    response, body = enrol(peer, der.change_csr(make_csr(pki), attributes), "skg")
    assert response.status == "2.04" and unpack(body)[0] == PKCS8
    response, body = enrol(peer, der.change_csr(make_csr(pki), attributes), "skg", label_name="key-cms")
    assert response.status == "2.04" and unpack(body)[0] == SERVER_KEY


def test_key_and_signature_of_the_csr_are_ignored(start_registrar, connect, est_server, pki):
    """SKG-2, PAY-10: a wrong signature passes; so does, where it can be read upstream, any public key."""
    peer = connect(start_registrar({"est": BOTH}))
    csr = make_csr(pki, "meter", "--bad-signature")
    assert enrol(peer, csr, "sen")[0].status == "4.00"
    for operation in ("skg", "skc"):
        response, body = enrol(peer, csr, operation)
        assert response.status == "2.04"
        assert spki(certificate_of(assert_pair(body, operation)).public_key()) != spki(x509.load_der_x509_csr(make_csr(pki)).public_key())
    nonsense = der.tlv(0x30, der.tlv(0x30, der.oid("1.2.3.4")), der.tlv(0x03, b"\0nonsense"))
    before = len(serverkeygens(est_server))
    enrol(peer, der.change_csr(csr, key_info=nonsense), "skg")
    assert len(serverkeygens(est_server)) == before + 1, "it is the EST server's to judge"


def test_requests_that_are_refused(start_registrar, connect, est_server, pki):
    """PAY-10, RE-7, RE-8, CF-1, CF-2: before anything is asked upstream."""
    peer = connect(start_registrar({"est": BOTH}))
    good = make_csr(pki)
    for operation in ("skg", "skc"):
        for body in (b"", b"garbage", good + b"\0", good[:-1]):
            assert peer.request(coap.POST, path(operation), body, options=POST_OPTIONS).status == "4.00"
        for options in (("--ca-true",), ("--key-usage", "keyCertSign"), ("--eku", "1.3.6.1.5.5.7.3.28")):
            assert peer.request(coap.POST, path(operation), make_csr(pki, "meter", *options), options=POST_OPTIONS).status == "4.03"
        assert enrol(peer, make_csr(pki, subject_name="/O=Example/CN=other/serialNumber=SN-other"), operation)[0].status == "4.03"
        for accept in (PKCS8, CERTS_ONLY, ONE_CERT, SERVER_KEY):
            response, _ = enrol(peer, good, operation, accept=accept)
            assert response.status == "4.06" and not response.payload
        assert peer.request(coap.POST, path(operation), good, options=[(coap.CONTENT_FORMAT, coap.uint(MULTIPART))]).status == "4.15"
        assert peer.get(path(operation)).status == "4.05"
    assert not est_server.stats()["log"]
    assert enrol(peer, good, "skg", accept=MULTIPART)[0].status == "2.04"


@pytest.mark.parametrize("words, status", [("status-404", "4.04"), ("status-501", "5.01"), ("status-403", "4.03"), ("status-503", "5.03")])
def test_errors_of_the_est_server(start_registrar, connect, pki, words, status):
    """A8, SKG-6: in relay mode there is no key where the EST server has none."""
    peer = connect(start_registrar({"est": {**BOTH, "labels": [words]}}))
    assert enrol(peer, make_csr(pki), "skg", label_name=words)[0].status == status


def test_a_lost_answer(start_registrar, connect, est_server, pki):
    """DLY-4, SKG-9: within the time of grace the same key; after it the old one is gone, and there is a new one."""
    registrar = start_registrar({"est": {**BOTH, "key_grace_s": 5}})
    csr = make_csr(pki)
    first = enrol(connect(registrar), csr, "skg")[1]
    assert enrol(connect(registrar), csr, "skg")[1] == first
    assert enrol(connect(registrar), csr, "skc")[1] != first, "another transaction"
    assert len(serverkeygens(est_server)) == 2
    time.sleep(7)  # the grace that began with the last delivery, and the sweep after it
    again = enrol(connect(registrar), csr, "skg")[1]
    assert scalar(plain_key(unpack(again))) != scalar(plain_key(unpack(first)))
    assert len(serverkeygens(est_server)) == 3


def test_a_key_that_nobody_fetches(start_registrar, connect, est_server, pki):
    """SKG-9: it does not wait for its device any longer; the operator hears of the certificate, the device gets another key."""
    registrar = start_registrar({"est": {**BOTH, "labels": ["delay-1000"], "key_grace_s": 1}, "coap": {"separate_after_ms": 100}})
    peer = connect(registrar)
    csr = make_csr(pki)
    peer.send(peer.message(coap.POST, path("skg", "delay-1000"), csr, options=POST_OPTIONS))
    assert peer.receive().code == coap.EMPTY
    peer.dtls.close()
    registrar.program.wait_for("no device has fetched", timeout=10)
    assert registrar.counters()["in_doubt"] == 1
    assert enrol(connect(registrar), csr, "skg", label_name="delay-1000")[0].status == "2.04"
    assert len(serverkeygens(est_server)) == 2


def posts(est_server):
    return [r["path"].rsplit("/", 1)[1] for r in est_server.stats()["log"] if r["method"] == "POST"]


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


def test_approval_by_hand(start_registrar, connect, est_server, pki):
    """SKG-5, SKG-9: no key is kept until somebody approves, and the device is not sent round in circles, each time with another CSR."""
    words = "manual.retry-1"
    registrar = start_registrar({"est": {**BOTH, "labels": [words], "server_keygen": "local"}})
    response, _ = enrol(connect(registrar), make_csr(pki), "skg", label_name=words)
    assert response.status == "5.02" and b"by hand" in response.payload
    assert posts(est_server) == ["simpleenroll"] and registrar.counters()["in_doubt"] == 1
    assert "by hand" in registrar.program.text()


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


ORDINARY_BUILD = pytest.mark.skipif(not key_traces.are_findable(programs.REGISTRAR), reason="AddressSanitizer has its own ideas of memory")


@ORDINARY_BUILD
def test_no_trace_of_a_key(start_registrar, connect, pki, tmp_path):
    """SKG-9: after the time of grace neither memory, hence no core dump, nor log nor files, the journal among them, hold a piece of it."""
    kept = [hand_out_keys(start_registrar, connect, pki, tmp_path, mode, ways) for mode, ways in (
        ("relay", [("tag-secret", 2), ("tag-more", 5), ("key-sec1", 5), ("libest", 5), ("delay-600", 2)]),
        ("local", [("tag-secret", 2), ("tag-more", 5), ("delay-600", 5)]),
        ("relay-then-local", [("times-1.status-404", 5)]))]
    time.sleep(8)  # the grace that began with the last block, and the sweep after it
    for registrar, keys in kept:
        files = [*key_traces.files_below(registrar.folder).values(), *key_traces.files_below(registrar.settings["state_directory"]).values()]
        assert any(b"SN-meter" in octets for octets in files), "the journal knows of the enrolments"
        for key in keys:
            assert not key_traces.occurrences(registrar.pid, key)
            assert not key_traces.is_in_text(registrar.program.text(), key)
            for trace in key_traces.traces(key):
                assert not any(trace in octets for octets in files)


def hand_out_keys(start_registrar, connect, pki, folder, mode, ways):
    """A registrar with a journal, and the keys that its devices got."""
    state = folder / mode
    state.mkdir(mode=0o700)
    registrar = start_registrar({"est": {**BOTH, "labels": [words for words, _ in ways], "key_grace_s": 6, "server_keygen": mode},
                                 "log": {"level": "debug"}, "coap": {"separate_after_ms": 100}, "state_directory": str(state)})
    peer = connect(registrar)
    keys = []
    for words, szx in ways:
        for operation in ("skg", "skc"):
            response, body = enrol(peer, make_csr(pki), operation, label_name=words, szx=szx)
            assert response.status == "2.04"
            keys.append(scalar(plain_key(assert_pair(body, operation))))
    assert key_traces.occurrences(registrar.pid, keys[-1]), "the search finds what is there"
    return registrar, keys


def dumps_core(process):
    """Whether the kernel writes a core of a process that is made to abort, as far as it may."""
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    process.send_signal(signal.SIGABRT)
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended.si_code in (os.CLD_DUMPED, os.CLD_KILLED)
    return ended.si_code == os.CLD_DUMPED


@ORDINARY_BUILD
@pytest.mark.parametrize("skg", [True, False])
def test_no_core(start_registrar, tmp_path, monkeypatch, skg):
    """SKG-9: of the registrar there is no core dump, where any other program leaves one."""
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as other:
        assert dumps_core(other), f"nothing here dumps core: {pathlib.Path('/proc/sys/kernel/core_pattern').read_text()}"
    registrar = start_registrar({"est": {"skg": skg}})
    assert not dumps_core(registrar.program.process)
    registrar.program.kill()


@ORDINARY_BUILD
@pytest.mark.parametrize("words", ["certificate-first.wrong-key", "key-twice", "no-certificate"])
def test_no_trace_of_a_key_that_was_refused(start_registrar, connect, est_server, pki, words):
    """5.02, and the key is wiped at once: no more PKCS#8 of keys on P-256 than before, which are the registrar's own."""
    registrar = start_registrar({"est": {**BOTH, "labels": [words, "tag-refuse"]}})
    assert enrol(connect(registrar), make_csr(pki), "sen", label_name="tag-refuse")[0].status == "2.04"
    before = key_traces.pkcs8_heads(registrar.pid)
    assert enrol(connect(registrar), make_csr(pki), "skg", label_name=words)[0].status == "5.02"
    assert key_traces.pkcs8_heads(registrar.pid) <= before
    assert enrol(connect(registrar), make_csr(pki), "skg")[0].status == "2.04"
    assert key_traces.pkcs8_heads(registrar.pid) > before, "the search finds what is there"
