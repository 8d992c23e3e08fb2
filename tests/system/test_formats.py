"""Accept, Content-Format and what bodies may be (rows CF-1 to CF-7, PAY-1, PAY-3 to PAY-10, RE-7, RE-8)."""

import cbor2
import coap
import programs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enrolment import (CERTS_ONLY, ONE_CERT, PKCS10, POST_OPTIONS, certificates, enrol, get, is_for, join_domain, label, make_csr, path,
                       subject)


MULTIPART = 62


def accept(number):
    return (coap.ACCEPT, coap.uint(number))


@pytest.mark.parametrize("operation, number", [("sen", 60), ("sen", 62), ("sren", 286), ("sen", 0), ("sen", 285)])
def test_unservable_accept_on_post(start_registrar, connect, est_server, pki, operation, number):
    """CF-1: 4.06 with empty payload, before any upstream request."""
    peer = connect(start_registrar())
    answer = peer.request(coap.POST, path(operation), make_csr(pki), options=[*POST_OPTIONS, accept(number)])
    assert (answer.status, answer.payload, answer.get(coap.CONTENT_FORMAT)) == ("4.06", b"", None)
    assert not est_server.stats()["log"]


@pytest.mark.parametrize("operation, number", [("crts", 285), ("att", 281), ("crts", 40)])
def test_unservable_accept_on_get(start_registrar, connect, est_server, operation, number):
    """CF-1."""
    peer = connect(start_registrar())
    answer = peer.get(path(operation), options=[accept(number)])
    assert (answer.status, answer.payload) == ("4.06", b"")
    assert not est_server.stats()["log"]


@pytest.mark.parametrize("options", [[], [(coap.CONTENT_FORMAT, coap.uint(60))], [(coap.CONTENT_FORMAT, b"")]])
def test_content_format_of_a_post(start_registrar, connect, est_server, pki, options):
    """CF-2: anything but 286 is 4.15, none at all too; told on the first block."""
    peer = connect(start_registrar())
    csr = make_csr(pki)
    assert peer.request(coap.POST, path("sen"), csr, options=options).status == "4.15"
    first = [*options, (coap.BLOCK1, coap.block(0, True, 2))]
    assert peer.request(coap.POST, path("sen"), csr[:64], options=first).status == "4.15"
    assert not est_server.stats()["log"]


def test_one_ca_certificate(start_registrar, connect):
    """CF-6: the only certificate of /crts as 287."""
    peer = connect(start_registrar())
    bag = certificates(get(peer, "crts")[1])
    response, body = get(peer, "crts", accept=ONE_CERT)
    assert len(bag) == 1 and response.number(coap.CONTENT_FORMAT) == ONE_CERT
    assert body == bag[0].public_bytes(Encoding.DER)


def test_several_ca_certificates(start_registrar, connect):
    """CF-6: refused by policy where 287 cannot stand for all of them."""
    peer = connect(start_registrar({"est": {"labels": ["multi-ca"], "crts_287": "refuse"}}))
    assert len(certificates(get(peer, "crts", "multi-ca")[1])) > 1
    response, _ = get(peer, "crts", "multi-ca", accept=ONE_CERT)
    assert (response.status, response.payload) == ("4.06", b"")


@pytest.fixture
def hierarchy(pki, tmp_path):
    """An EST server whose cacerts are of a hierarchy and of a root beside it, all out of order; and their order."""
    cas = {name: (pki / f"{name}.pem").read_bytes() for name in ("manufacturer-ca", "est-ca", "manufacturer-sub")}
    (tmp_path / "cacerts.pem").write_bytes(b"".join(cas.values()))
    server = programs.EstServer(pki, tmp_path, "--cacerts", tmp_path / "cacerts.pem")
    yield server, [x509.load_pem_x509_certificate(cas[name]) for name in ("manufacturer-sub", "manufacturer-ca", "est-ca")]
    server.program.stop()


@pytest.mark.parametrize("szx", [2, 6])
def test_ca_certificates_in_order(start_registrar, connect, hierarchy, szx):
    """CF-7: [287, issuing CA, 287, next CA, 287, what is not above it], read by another CBOR reader; 281 is as it was, an ETag tells them apart."""
    server, cas = hierarchy
    peer = connect(start_registrar(upstream_url=server.url))
    options = [accept(MULTIPART), (coap.BLOCK2, coap.block(0, False, szx))]
    first = peer.get(path("crts"), options=options)
    body = peer.fetch_rest(coap.GET, path("crts"), first, options=[accept(MULTIPART)])
    assert first.status == "2.05" and first.number(coap.CONTENT_FORMAT) == MULTIPART
    assert cbor2.loads(body) == [item for ca in cas for item in (ONE_CERT, ca.public_bytes(Encoding.DER))]
    assert cbor2.dumps(cbor2.loads(body)) == body
    other, bag = get(peer, "crts")
    assert set(certificates(bag)) == set(cas) and other.get(coap.ETAG) != first.get(coap.ETAG)
    assert peer.get(path("crts"), options=[*options, (coap.ETAG, first.get(coap.ETAG))]).status == "2.03"


def test_ca_certificates_without_an_order(start_registrar, connect):
    """CF-7: two roots: whose issues cannot be told; nor are certificates of enrolments given as 62 (CF-1, test_unservable_accept_on_post)."""
    peer = connect(start_registrar({"est": {"labels": ["multi-ca"]}}))
    response, _ = get(peer, "crts", "multi-ca", accept=MULTIPART)
    assert (response.status, response.payload) == ("4.06", b"")


def test_ca_certificates_in_order_for_a_device(start_registrar, hierarchy, pki):
    """CF-7 with est-device."""
    server, cas = hierarchy
    host, port = start_registrar(upstream_url=server.url).address
    certificate, key = pki.device("meter")
    records, _ = programs.est_device("--server", f"{host}:{port}", "--certificate", certificate, "--key", key, "--accept", "62", "crts")
    assert records[0]["content_format"] == MULTIPART and len(records[0]["certificates"]) == len(cas)


@pytest.mark.parametrize("words", ["base64-76crlf", "base64-oneline", "base64-tabs", "cte-nonsense", "cte-none"])
def test_base64_of_every_kind(start_registrar, connect, pki, words):
    """PAY-4, PAY-5: white space anywhere, any Content-Transfer-Encoding."""
    peer = connect(start_registrar({"est": {"labels": [words]}}))
    csr = make_csr(pki)
    response, body = enrol(peer, csr, label_name=words)
    assert response.status == "2.04" and is_for(certificates(body)[0], csr)
    assert get(peer, "crts", words)[0].status == "2.05"


@pytest.mark.parametrize("words", ["broken-base64", "broken-padding", "extra-text", "der", "wrong-key", "no-certificate", "trailing",
                                   "type-text", "type-html", "empty", "garbage", "success-201", "success-204", "cut-off"])
def test_answers_that_are_not_what_was_asked_for(start_registrar, connect, pki, words):
    """PAY-4, PAY-7, PAY-8, A8: never a success for the device, always 5.02."""
    peer = connect(start_registrar({"est": {"labels": [words]}}))
    response, _ = enrol(peer, make_csr(pki), label_name=words)
    assert response.status == "5.02", response.payload


@pytest.mark.parametrize("words", ["broken-base64", "der", "trailing", "type-text", "garbage"])
def test_bad_ca_certificates(start_registrar, connect, words):
    """PAY-4, PAY-7, PAY-8 on a GET."""
    peer = connect(start_registrar({"est": {"labels": [words]}}))
    assert get(peer, "crts", words)[0].status == "5.02"


def test_oversize(start_registrar, connect, pki):
    """PAY-8: an answer past upstream.max_response_bytes."""
    peer = connect(start_registrar({"est": {"labels": ["oversize-200000"]}}))
    assert enrol(peer, make_csr(pki), label_name="oversize-200000")[0].status == "5.02"
    assert get(peer, "crts", "oversize-200000")[0].status == "5.02"


@pytest.mark.parametrize("lines, length", [("64-crlf", 65), ("64-lf", 64), ("one-line", None)])
def test_lines_of_the_request(start_registrar, connect, est_server, pki, lines, length):
    """PAY-2, PAY-3: base64 in the lines that the configuration asks for."""
    peer = connect(start_registrar({"upstream": {"base64_lines": lines}}))
    csr = make_csr(pki)
    assert enrol(peer, csr)[0].status == "2.04"
    record = est_server.stats()["log"][-1]
    base64_length = (len(csr) + 2) // 3 * 4
    assert record["first_line_length"] == (length or base64_length), "octets before the line feed"
    ends = -(-base64_length // 64) * {"64-crlf": 2, "64-lf": 1, "one-line": 0}[lines]
    assert record["body_length"] == base64_length + ends


def test_transfer_encoding_header(start_registrar, connect, est_server, pki):
    """PAY-6, RA-6: no Content-Transfer-Encoding unless asked for; Accept suits the operation; no cookies."""
    assert enrol(connect(start_registrar()), make_csr(pki))[0].status == "2.04"
    record = est_server.stats()["log"][-1]
    assert not record["content_transfer_encoding"] and record["content_type"] == "application/pkcs10"
    assert "pkcs7-mime" in record["accept"] or record["accept"] == "*/*"
    peer = connect(start_registrar({"upstream": {"content_transfer_encoding": True}}))
    assert enrol(peer, make_csr(pki))[0].status == "2.04"
    assert est_server.stats()["log"][-1]["content_transfer_encoding"] == "base64"


def test_bad_requests(start_registrar, connect, est_server, pki):
    """PAY-10, A8: empty, garbage, trailing octets, a broken signature: 4.00, and nothing upstream."""
    peer = connect(start_registrar())
    good = make_csr(pki)
    for body in (b"", b"\x30\x00", b"garbage", good + b"\0", good[:-1], make_csr(pki, "meter", "--bad-signature")):
        assert peer.request(coap.POST, path("sen"), body, options=POST_OPTIONS).status == "4.00"
    assert not est_server.stats()["log"]
    assert enrol(peer, good)[0].status == "2.04"


@pytest.mark.parametrize("operation", ["sen", "sren"])
@pytest.mark.parametrize("options", [("--ca-true",), ("--key-usage", "keyCertSign"), ("--key-usage", "cRLSign"),
                                     ("--key-usage", "digitalSignature,keyCertSign"), ("--eku", "1.3.6.1.5.5.7.3.28"),
                                     ("--eku", "1.3.6.1.5.5.7.3.27"), ("--eku", "anyExtendedKeyUsage"),
                                     ("--eku", "clientAuth,1.3.6.1.5.5.7.3.28")])
def test_powers_that_nobody_gets(start_registrar, connect, est_server, pki, operation, options):
    """RE-7: 4.03 with a diagnostic, nothing upstream, even where any identity may enrol."""
    device = join_domain(pki)
    peer = connect(start_registrar({"access": {"csr_identity": "any"}}), device)
    answer = peer.request(coap.POST, path(operation), make_csr(pki, device, *options), options=POST_OPTIONS)
    assert answer.status == "4.03" and 0 < len(answer.payload) <= 128 and answer.get(coap.CONTENT_FORMAT) is None
    assert not est_server.stats()["log"]


def test_harmless_extensions(start_registrar, connect, pki):
    """RE-7: what a device may well ask for passes."""
    peer = connect(start_registrar())
    assert enrol(peer, make_csr(pki, "meter", "--key-usage", "digitalSignature", "--eku", "clientAuth"))[0].status == "2.04"


@pytest.mark.parametrize("policy, name, status", [
    ("same-serial", "/O=Example/CN=meter/serialNumber=SN-meter", "2.04"),
    ("same-serial", "/O=Else/OU=Meters/serialNumber=SN-meter", "2.04"),
    ("same-serial", "/O=Else/CN=other/serialNumber=SN-meter", "4.03"),
    ("same-serial", "/O=Example/CN=meter/CN=other/serialNumber=SN-meter", "4.03"),
    ("serial-only", "/O=Else/CN=other/serialNumber=SN-meter", "2.04"),
    ("serial-only", "/O=Else/CN=other/serialNumber=SN-other", "4.03"),
    ("same-serial", "/O=Example/CN=meter/serialNumber=SN-other", "4.03"),
    ("same-serial", "/O=Example/CN=meter", "4.03"),
    ("same-subject", "/O=Example/CN=meter/serialNumber=SN-meter", "2.04"),
    ("same-subject", "/O=Else/CN=other/serialNumber=SN-meter", "4.03"),
    ("any", "/O=Example/CN=other/serialNumber=SN-other", "2.04"),
])
def test_whose_name(start_registrar, connect, est_server, pki, policy, name, status):
    """RE-8: a CSR names the device that sends it."""
    peer = connect(start_registrar({"access": {"csr_identity": policy}}))
    answer, _ = enrol(peer, make_csr(pki, subject_name=name))
    assert answer.status == status
    assert len(est_server.stats()["log"]) == (1 if status == "2.04" else 0)


def test_alternative_names(start_registrar, connect, est_server, pki):
    """RE-8: only those of the client certificate."""
    pki.device("named", None, "--san", "dns:named.example")
    peer = connect(start_registrar(), device="named")
    assert enrol(peer, make_csr(pki, "named", "--san", "dns:named.example"))[0].status == "2.04"
    assert enrol(peer, make_csr(pki, "named", "--san", "dns:other.example"))[0].status == "4.03"
    assert len(est_server.stats()["log"]) == 1
