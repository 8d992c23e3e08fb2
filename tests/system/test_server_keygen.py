"""Keys that the EST server makes: /skg and /skc in relay mode (requirements A7 and A11)."""

import coap
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import der
from enrolment import POST_OPTIONS, enrol, make_csr, path, spki
from server_keys import (BOTH, CERTS_ONLY, KEK, MULTIPART, ONE_CERT, PKCS8, SERVER_KEY, assert_pair, certificate_of, only_key, open_package,
                         serverkeygens, unpack)


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
    for attributes in ([der.CAPABILITIES, der.SYMMETRIC_KEY], [der.CAPABILITIES, der.ASYMMETRIC_KEY],
                       [der.CAPABILITIES, der.SYMMETRIC_KEY, der.ASYMMETRIC_KEY]):
        response, _ = enrol(peer, der.change_csr(make_csr(pki), attributes), operation)
        assert (response.status, response.payload) == ("5.02", b"the EST server's key is not protected as the CSR asks")


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
