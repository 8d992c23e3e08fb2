"""est-server as other people's clients see it: each operation, and each word of its labels, once."""

import base64
import email.utils
import hashlib
import pathlib
import re
import select
import signal
import socket
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from peer import EST_SERVER, HERE, PKI, Server, connection, curl, est, read_answer, request, run

SUBJECT = "/O=Example/CN=meter/serialNumber=1001"
CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    run(PKI / "make_pki", folder)
    run(PKI / "make_device", folder, "meter", "1001", "--ca", "est-ca")
    run(PKI / "make_device", folder, "idevid", "1001")
    run(PKI / "make_device", folder, "stranger", "1001", "--ca", "other-ca")
    run(PKI / "make_device", folder, "stale", "1001", "--expired")
    (folder / "password").write_text("secret\n")
    return folder


@pytest.fixture(scope="session")
def running(pki):
    with Server(pki, "--user", "estuser", "--password-file", pki / "password", "--label", "p1") as server:
        yield server


@pytest.fixture
def server(running):
    running.post("/stats/reset")
    return running


@pytest.fixture(scope="session")
def make_csr(pki, tmp_path_factory):
    """make_csr(option...) gives the DER of a request for the meter's key."""
    out = tmp_path_factory.mktemp("csr") / "csr.der"

    def make(*options, subject=SUBJECT):
        run(PKI / "make_csr", pki / "meter.key", out, subject, *options)
        return out.read_bytes()

    return make


@pytest.fixture(scope="session")
def csr(make_csr):
    return make_csr()


@pytest.fixture(scope="session")
def text(csr):
    return base64.encodebytes(csr)


def certificates(body):
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))


def spki(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_of(csr):
    return spki(x509.load_der_x509_csr(csr).public_key())


def enrol(server, text, label=None, *options, client="ra", operation="simpleenroll"):
    return curl(server, est(server, operation, label), *options, client=client, text=text)


def ca_certificate(pki):
    return x509.load_pem_x509_certificate((pki / "est-ca.pem").read_bytes())


# --- operations ---


def test_cacerts(server, pki):
    """RFC 7030 section 4.1: without authentication."""
    answer = curl(server, est(server, "cacerts"))
    assert (answer.status, answer.fields["content-type"]) == (200, CERTS_ONLY)
    assert certificates(answer.body) == [ca_certificate(pki)]
    assert all(len(line) <= 64 for line in answer.body.splitlines()) and answer.body.endswith(b"\n")


def test_csrattrs(server, pki):
    """RFC 7030 section 4.5: without authentication."""
    answer = curl(server, est(server, "csrattrs"))
    assert (answer.status, answer.fields["content-type"]) == (200, "application/csrattrs")
    assert base64.b64decode(answer.body) == (pki / "csrattrs.der").read_bytes()


def test_simpleenroll(server, pki, csr, text, tmp_path):
    """RFC 7030 section 4.2: a certificate that openssl verifies, for the key and the name of the request."""
    answer = enrol(server, text)
    assert (answer.status, answer.fields["content-type"]) == (200, CERTS_ONLY)
    [certificate] = certificates(answer.body)
    assert spki(certificate.public_key()) == key_of(csr)
    assert certificate.subject.rfc4514_string() == "2.5.4.5=1001,CN=meter,O=Example"
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    run("openssl", "verify", "-x509_strict", "-CAfile", pki / "est-ca.pem", file)
    [issued] = server.stats()["issued"]
    assert int(issued["serial"], 16) == certificate.serial_number
    assert issued["csr_sha256"] == hashlib.sha256(csr).hexdigest()
    assert issued["public_key_sha256"] == hashlib.sha256(key_of(csr)).hexdigest()
    assert issued["subject"] == "serialNumber=1001,CN=meter,O=Example" and issued["ca"] is False
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_cert_sign
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_whatever_is_requested(server, make_csr):
    """A permissive CA: RE-7 is the registrar's business."""
    der = make_csr("--ca-true", "--key-usage", "keyCertSign", "--eku", "1.3.6.1.5.5.7.3.28", "--san", "dns:a.example,ip:192.0.2.1")
    [certificate] = certificates(enrol(server, base64.encodebytes(der)).body)
    extension = certificate.extensions.get_extension_for_class
    assert extension(x509.BasicConstraints).value.ca and extension(x509.KeyUsage).value.key_cert_sign
    assert [usage.dotted_string for usage in extension(x509.ExtendedKeyUsage).value] == ["1.3.6.1.5.5.7.3.28"]
    assert extension(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == ["a.example"]
    assert server.stats()["issued"][0]["ca"] is True
    assert "issued label" in server.said()


def test_simplereenroll(server, text, make_csr):
    """RFC 7030 section 4.2.2: the subject of the client's own certificate, unless the client is an RA."""
    other = base64.encodebytes(make_csr(subject="/O=Example/CN=other"))
    outcomes = [enrol(server, body, client=client, operation="simplereenroll").status
                for body in (text, other) for client in ("meter", "ra")]
    assert outcomes == [200, 200, 403, 200]


@pytest.mark.parametrize("form, structure", [(None, "pkcs8"), ("key-sec1", "sec1"), ("key-pkcs1", "pkcs1"), ("libest", "sec1")])
def test_serverkeygen(server, make_csr, form, structure):
    """RFC 7030 section 4.4: a key of the server's, of which the certificate is; the request's signature does not matter."""
    der = make_csr("--bad-signature")
    answer = enrol(server, base64.encodebytes(der), form, operation="serverkeygen")
    assert answer.status == 200
    (key_type, key), (certificate_type, body) = parts(answer)
    assert (key_type, certificate_type) == ("application/pkcs8", CERTS_ONLY)
    private = serialization.load_der_private_key(base64.b64decode(key), None)
    encode = lambda form: private.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())
    is_pkcs8 = base64.b64decode(key) == encode(serialization.PrivateFormat.PKCS8)
    assert is_pkcs8 == (structure == "pkcs8")
    assert is_pkcs8 or base64.b64decode(key) == encode(serialization.PrivateFormat.TraditionalOpenSSL)
    [certificate] = certificates(body)
    assert spki(certificate.public_key()) == spki(private.public_key()) != key_of(der)


def test_serverkeygen_protected(server, make_csr, tmp_path):
    """RFC 7030 section 4.4.2: EnvelopedData, which only who has the key-encryption key can open."""
    answer = enrol(server, base64.encodebytes(make_csr()), "key-cms", operation="serverkeygen")
    assert answer.status == 200
    (key_type, key), (certificate_type, _) = parts(answer)
    assert "server-generated-key" in key_type and certificate_type == CERTS_ONLY
    protected = tmp_path / "key.cms"
    protected.write_bytes(base64.b64decode(key))
    open_with = lambda kek: subprocess.run(["openssl", "cms", "-decrypt", "-inform", "DER", "-in", protected, "-binary",
                                            "-secretkey", kek, "-secretkeyid", b"kek".hex()], capture_output=True, timeout=20)
    assert open_with(bytes(range(16)).hex()).returncode == 0
    assert open_with(bytes(16).hex()).returncode != 0


def parts(answer):
    """The parts of multipart/mixed: (type, body) each."""
    boundary = re.search(r'boundary="?([^";]+)', answer.fields["content-type"], re.I)[1].encode()
    body = answer.body.replace(b"\r\n", b"\n")
    pieces = body.split(b"--" + boundary)
    assert pieces[-1].startswith(b"--")
    result = []
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\n\n")
        result.append((re.search(rb"Content-Type: (.*)", head)[1].decode(), content))
    return result


# --- what is refused ---


@pytest.mark.parametrize("client, status", [(None, 401), ("idevid", 200), ("meter", 200), ("ra", 200), ("stranger", None), ("stale", None)])
def test_client_certificates(server, text, client, status):
    """RFC 7030 section 3.3.2: of the configured CAs; any other ends the handshake."""
    answer = enrol(server, text, client=client)
    assert answer.status == status and (answer.exit_code == 0) == (status is not None)


def test_bad_requests(server, text, csr, make_csr):
    """RFC 7030 section 4.2.1, RFC 8951 section 3.1: strict about all but white space."""
    encode = base64.encodebytes
    assert enrol(server, encode(make_csr("--bad-signature"))).status == 400
    for bad in (b"", b"!" + text, text[:-2], encode(csr + b"\0"), encode(csr[:-1]), csr, text + b"AAAA", b"MAA="):
        assert enrol(server, bad).status == 400, bad
    assert not server.stats()["issued"]
    for good in (text, text.replace(b"\n", b"\r\n"), base64.b64encode(csr), text.replace(b"\n", b" \t\n")):
        assert enrol(server, good).status == 200, good


@pytest.mark.parametrize("content_type, status", [
    ("application/pkcs10", 200), ("Application/PKCS10", 200), ("application/pkcs10; charset=x", 200), ("application/pkcs1", 415),
    ("application/pkcs10x", 415), ("application/x-www-form-urlencoded", 415), ("", 415)])
def test_content_type(server, text, content_type, status):
    header = f"Content-Type: {content_type}" if content_type else "Content-Type:"
    answer = curl(server, est(server, "simpleenroll"), "--data-binary", "@-", "--header", header, client="ra", text=None)
    assert answer.status in (400, 415)  # without a body, so that only the type is judged
    answer = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", server.pki / "est-ca.pem", "--cert",
                 server.pki / "ra.pem", "--key", server.pki / "ra.key", "--header", header, "--data-binary", "@-",
                 est(server, "simpleenroll"), input=text)
    assert int(answer.stdout) == status


@pytest.mark.parametrize("path, method, status", [
    ("/", "GET", 404), ("/.well-known/est", "GET", 404), ("/.well-known/est/", "GET", 404), ("/.well-known/est/nothing", "GET", 404),
    ("/.well-known/est/cacerts/", "GET", 404), ("/.well-known/est/a/b/cacerts", "GET", 404),
    ("/.well-known/est/nolabel/cacerts", "GET", 404), ("/.well-known/est//cacerts", "GET", 404),
    ("/.well-known/est/p1/cacerts", "GET", 200), ("/.well-known/est/%70%31/cacerts?x=/y/", "GET", 200),
    ("/.well-known/est/p1%00/cacerts", "GET", 404), ("/.well-known/est/simpleenroll/cacerts", "GET", 404),
    ("/.well-known/est/tag-%zz/cacerts", "GET", 404), (f"/.well-known/est/tag-{'x' * 300}/cacerts", "GET", 404),
    ("/.well-known/est/status-99/cacerts", "GET", 404), ("/.well-known/est/delay-/cacerts", "GET", 404),
    ("/.well-known/est/cacerts", "POST", 405), ("/.well-known/est/simpleenroll", "GET", 405), ("/stats", "POST", 405)])
def test_paths_and_methods(server, path, method, status):
    """RFC 7030 section 3.2.2."""
    assert curl(server, server.url + path, "--path-as-is", "-X", method).status == status


@pytest.mark.parametrize("octets, status", [
    (b"nonsense\r\n\r\n", 400), (b"GET / HTTP/2.0\r\n\r\n", 505), (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", 413), (b"GET / HTTP/1.1\r\nA: " + b"x" * 20000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431), (b"G\0T / HTTP/1.1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400)])
def test_http_that_is_none(server, octets, status):
    with connection(server) as tls:
        tls.sendall(octets)
        assert read_answer(tls)[0] == status
        assert tls.recv(1) == b""


def test_old_tls(server, pki):
    """RFC 7030 section 3.3 as RFC 9148 reads it: TLS 1.2 at least."""
    old = run("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", check=False,
              input=b"")
    assert old.returncode != 0 and b"alert protocol version" in old.stderr
    assert server.stats()["connections"]["failed_handshakes"] == 1
    for version in ("-tls1_2", "-tls1_3"):
        assert run("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", version, input=b"").returncode == 0


# --- HTTP/1.1 ---


def test_one_connection_many_requests(server, text):
    """Kept, pipelined, chunked, and with 100-continue."""
    path = "/.well-known/est/simpleenroll"
    with connection(server, "ra") as tls:
        tls.sendall(request("/.well-known/est/cacerts") + request(path, text) + request("/.well-known/est/csrattrs"))
        rest = b""
        for _ in range(3):
            status, _, rest = read_answer(tls, rest)
            assert status == 200
        head = f"POST {path} HTTP/1.1\r\nContent-Type: application/pkcs10\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        for octet in head + b"%x;a=b\r\n" % len(text) + text + b"\r\n0\r\nTrailer: x\r\n\r\n":
            tls.sendall(bytes([octet]))
        assert read_answer(tls)[0] == 200
        expecting = request(path, text, more="Expect: 100-continue\r\n")
        tls.sendall(expecting[:-len(text)])
        assert tls.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        tls.sendall(text + request("/.well-known/est/cacerts", more="Connection: close\r\n"))
        status, _, rest = read_answer(tls)
        assert (status, read_answer(tls, rest)[0]) == (200, 200)
        assert tls.recv(1) == b""
    stats = server.stats()
    assert len(stats["issued"]) == 3 and {record["connection"] for record in stats["log"]} == {stats["log"][0]["connection"]}
    assert stats["connections"]["est"] == 1 and stats["connections"]["max_open_est"] == 1


def test_many_connections(server):
    """All open at once, each served."""
    count = 100
    with connection(server) as first:
        context, opened = first.context, []
        for _ in range(count):
            opened.append(context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost"))
        for tls in opened:
            tls.sendall(request("/.well-known/est/cacerts"))
        assert all(read_answer(tls)[0] == 200 for tls in opened)
        connections = server.stats()["connections"]
        for tls in opened:
            tls.close()
    assert connections["open_est"] == count <= connections["max_open"]


def test_statistics(server, text, csr):
    """What tests assert on."""
    enrol(server, text, "tag-a", "--header", "Accept: x/y", "--header", "Content-Transfer-Encoding: base64")
    enrol(server, text, "tag-b.status-503", client="meter")
    stats = server.stats()
    assert stats["requests"] == {"tag-a": {"simpleenroll": {"200": 1}}, "tag-b.status-503": {"simpleenroll": {"503": 1}}}
    one, two = stats["log"]
    assert (one["method"], one["path"], one["accept"]) == ("POST", "/.well-known/est/tag-a/simpleenroll", "x/y")
    assert (one["content_type"], one["content_transfer_encoding"]) == ("application/pkcs10", "base64")
    assert (one["body_length"], one["first_line_length"]) == (len(text), 76)
    assert one["body_sha256"] == hashlib.sha256(text).hexdigest() and one["csr_sha256"] == hashlib.sha256(csr).hexdigest()
    assert one["ra"] and not two["ra"] and two["client"] == "serialNumber=1001,CN=meter,O=Example"
    assert one["issued"] == stats["issued"][0]["serial"] and two["issued"] is None
    assert stats["issued_count"] == 1 and stats["connections"]["est"] == 2
    only = server.stats("tag-a")
    assert list(only["requests"]) == ["tag-a"] and len(only["log"]) == only["issued_count"] == 1
    server.post("/stats/reset")
    assert not server.stats()["log"] and server.stats()["issued_count"] == 0


# --- authentication ---


def test_linking_by_tls_unique(server, make_csr):
    """RFC 7030 section 3.5, RFC 5929 section 3: also on a resumed session; an RA is not asked (section 3.7)."""

    def post(tls, value):
        tls.sendall(request("/.well-known/est/simpleenroll", base64.encodebytes(make_csr("--challenge-password", value))))
        return read_answer(tls)[0]

    wrong = base64.b64encode(b"twelve bytes").decode()
    with connection(server, "meter") as first:
        right = base64.b64encode(first.get_channel_binding("tls-unique")).decode()
        assert [post(first, right), post(first, wrong), post(first, "no base64")] == [200, 401, 401]
        with connection(server, session=first) as second:
            assert second.session_reused
            value = base64.b64encode(second.get_channel_binding("tls-unique")).decode()
            assert [post(second, right), post(second, value)] == [401, 200]
    with connection(server, "ra") as tls:
        assert post(tls, wrong) == 200


AUTHENTICATION = {  # what is offered: nothing, a certificate, a password, both
    "certificate": (401, 200, 401, 200),
    "http": (401, 401, 200, 200),
    "both": (401, 401, 401, 200),
    "either": (401, 200, 200, 200),
}


@pytest.mark.parametrize("scheme", ["basic", "digest"])
@pytest.mark.parametrize("needed", AUTHENTICATION)
def test_authentication(pki, text, needed, scheme):
    """RFC 7030 section 3.2.3."""
    login = (f"--{scheme}", "--user", "estuser:secret")
    with Server(pki, "--auth", needed, "--http-auth", scheme, "--user", "estuser", "--password-file", pki / "password") as server:
        statuses = tuple(enrol(server, text, None, *options, client=client).status
                         for options in ((), login) for client in (None, "meter"))
        expected = AUTHENTICATION[needed]
        if scheme == "digest" and needed in ("certificate", "either"):
            expected = (*expected[:3], 400)  # curl sends no body until it is asked to authenticate, which it is not
        assert statuses == expected
        wrong = enrol(server, text, None, f"--{scheme}", "--user", "estuser:wrong", client=None)
        assert wrong.status == 401
        assert ("www-authenticate" in wrong.fields) == (needed != "certificate")
        assert curl(server, est(server, "cacerts")).status == 200
        assert "secret" not in server.said()
        authorization = [record["authorization"] for record in server.stats()["log"] if record["method"] == "POST"]
        assert scheme.capitalize() in authorization or needed == "certificate"


def test_authentication_by_label(server, text):
    for scheme in ("basic", "digest"):
        asked = enrol(server, text, scheme)
        assert asked.status == 401 and asked.fields["www-authenticate"].lower().startswith(scheme)
        assert enrol(server, text, scheme, f"--{scheme}", "--user", "estuser:secret").status == 200
    assert enrol(server, text, "open", client=None).status == 200


# --- labels: the response ---


def test_status_and_retry(server, text):
    for status in (202, 400, 404, 429, 503):
        assert enrol(server, text, f"status-{status}.retry-120").fields["retry-after"] == "120"
    answer = enrol(server, text, "status-429.retry-date-90")
    date, after = (email.utils.parsedate_to_datetime(answer.fields[name]) for name in ("date", "retry-after"))
    assert (after - date).total_seconds() == 90
    assert enrol(server, text, "status-503.retry-text-soon").fields["retry-after"] == "soon"
    assert curl(server, est(server, "cacerts", "status-500")).status == 500
    assert not server.stats()["issued"]


def test_success_of_another_number(server, text):
    assert enrol(server, text, "success-201").status == 201
    empty = enrol(server, text, "success-204")
    assert (empty.status, empty.body) == (204, b"")
    assert server.stats()["issued_count"] == 2


def test_errors(server, text):
    plain, html, binary = (enrol(server, text, label) for label in ("text-error", "status-422.html-error", "binary-error"))
    assert (plain.status, plain.fields["content-type"]) == (400, "text/plain; charset=utf-8") and b"\r\n" in plain.body[:-2]
    assert (html.status, html.fields["content-type"]) == (422, "text/html")
    assert (binary.status, binary.fields["content-type"]) == (400, "application/pkcs7-mime; smime-type=CMC-response")


@pytest.mark.parametrize("words, status, location", [
    ("redirect-302", 302, "/.well-known/est/tag-r/simpleenroll"),
    ("redirect-307-same", 307, "{url}/.well-known/est/tag-r/simpleenroll"),
    ("redirect-308-other", 308, "https://localhost:{port}/.well-known/est/tag-r/simpleenroll"),
    ("redirect-other", 307, "https://localhost:{port}/.well-known/est/tag-r/simpleenroll"),
    ("redirect-307-loop", 307, "/.well-known/est/redirect-307-loop.tag-r/simpleenroll")])
def test_redirects(server, text, words, status, location):
    answer = enrol(server, text, words + ".tag-r")
    assert (answer.status, answer.fields["location"]) == (status, location.format(url=server.url, port=server.port))
    followed = enrol(server, text, words + ".tag-r", "--location", "--max-redirs", "3")
    assert followed.status == (307 if "loop" in words else 405 if status == 302 else 200)


@pytest.mark.parametrize("word, content_type", [
    ("type-text", "text/plain"), ("type-html", "text/html"), ("type-none", None), ("type-bare", "application/pkcs7-mime"),
    ("type-shouted", "APPLICATION/PKCS7-MIME; SMIME-TYPE=certs-only"),
    ("type-spaced", 'application/pkcs7-mime ; smime-type="certs-only"')])
def test_types(server, text, word, content_type):
    assert enrol(server, text, word).fields.get("content-type") == content_type


def test_fields(server):
    def cacerts(label):
        return curl(server, est(server, "cacerts", label))

    assert cacerts(None).fields["content-transfer-encoding"] == "base64"
    assert "content-transfer-encoding" not in cacerts("cte-none").fields
    assert cacerts("cte-nonsense").fields["content-transfer-encoding"] == "nonsense"
    assert cacerts("max-age-5").fields["cache-control"] == "max-age=5"
    assert len(cacerts("long-head-5500").head) - len(cacerts(None).head) == 5500
    assert cacerts("http10").line == "HTTP/1.0 200 OK"
    assert cacerts("chunked").fields["transfer-encoding"] == "chunked" and certificates(cacerts("chunked").body)
    assert "content-length" not in cacerts("until-close").fields and certificates(cacerts("until-close").body)


# --- labels: the body ---


def test_base64_forms(server, csr, text):
    forms = {
        "base64-76crlf": rb"([A-Za-z0-9+/]{76}\r\n)+[A-Za-z0-9+/=]{1,76}\r\n",
        "base64-oneline": rb"[A-Za-z0-9+/]+={0,2}",
        "base64-tabs": rb"([A-Za-z0-9+/]{20}\t \r\n)+[A-Za-z0-9+/=]{1,20}\t",
    }
    for word, pattern in forms.items():
        body = enrol(server, text, word).body
        assert re.fullmatch(pattern, body)
        assert spki(certificates(body)[0].public_key()) == key_of(csr)
    assert spki(pkcs7.load_der_pkcs7_certificates(enrol(server, text, "der").body)[0].public_key()) == key_of(csr)


def test_damaged_bodies(server, text):
    def body(label):
        answer = enrol(server, text, label)
        assert answer.status == 200
        return answer.body

    assert body("broken-base64").count(b"!") == 1
    padding = b"".join(body("broken-padding").split())
    assert len(padding) % 4 in (1, 3) and len(base64.b64decode(padding.rstrip(b"=") + b"==")) > 400
    assert b"=\n" in body("extra-text")[-10:]
    assert base64.b64decode(body("garbage")) == b"these octets are not DER"
    assert body("empty") == b""
    oversize = body("oversize-200000")
    assert len(oversize) == 200000 and certificates(oversize)
    trailing = base64.b64decode(body("trailing"))
    assert trailing.endswith(b"\x04\x01\x00") and int.from_bytes(trailing[2:4], "big") + 4 == len(trailing) - 3


def test_wrong_certificates(server, pki, csr, text):
    ca = ca_certificate(pki)

    def keys(label):
        return ["csr" if spki(one.public_key()) == key_of(csr) else "ca" if one == ca else "other"
                for one in certificates(enrol(server, text, label).body)]

    assert keys("wrong-key") == ["other"]
    assert certificates(enrol(server, text, "other-subject").body)[0].subject.rfc4514_string().startswith("OU=Elsewhere,")
    assert keys("with-ca") == ["csr", "ca"]
    assert keys("ca-first") == ["ca", "csr"]
    none = base64.b64decode(enrol(server, text, "no-certificate").body)
    assert run("openssl", "pkcs7", "-inform", "DER", "-print_certs", input=none).stdout.strip() == b""
    bag = certificates(curl(server, est(server, "cacerts", "multi-ca")).body)
    assert bag[0] == ca and len(bag) == 2 and bag[0] != bag[1]


def test_csrattrs_by_label(server):
    answer = curl(server, est(server, "csrattrs", "csrattrs-300b06092a864886f70d010907"))
    assert base64.b64decode(answer.body).hex() == "300b06092a864886f70d010907"
    answer = curl(server, est(server, "csrattrs", "csrattrs-204"))
    assert (answer.status, answer.body) == (204, b"")
    assert curl(server, est(server, "cacerts", "csrattrs-204")).status == 200


def test_multipart_by_label(server, text):
    def keygen(label):
        return enrol(server, text, label, operation="serverkeygen")

    def types(label):
        return [kind.split(";")[0].split("/")[1] for kind, _ in parts(keygen(label))]

    assert types("key-missing") == ["pkcs7-mime"]
    assert types("key-twice") == ["pkcs8", "pkcs8", "pkcs7-mime"]
    assert types("certificate-first") == ["pkcs7-mime", "pkcs8"]
    assert types("quoted-boundary") == types("preamble") == types("multipart-lf") == ["pkcs8", "pkcs7-mime"]
    assert keygen("preamble").body.startswith(b"This is the preamble.\r\n")
    assert b"\r" not in keygen("multipart-lf").body
    assert '"' in keygen("quoted-boundary").fields["content-type"]
    (_, key), (_, body) = parts(keygen("key-other"))
    private = serialization.load_der_private_key(base64.b64decode(key), None)
    assert spki(private.public_key()) != spki(certificates(body)[0].public_key())
    assert b"Content-Transfer-Encoding" not in keygen("cte-none").body
    assert b"Content-Transfer-Encoding: 7bit" in keygen("cte-7bit").body


# --- labels: delivery ---


def test_slow_answers(server, text):
    begin = time.monotonic()
    assert enrol(server, text, "delay-300").status == 200
    assert time.monotonic() - begin >= 0.3
    body = curl(server, est(server, "cacerts")).body
    begin = time.monotonic()
    dripped = curl(server, est(server, "cacerts", "drip-1000"))
    assert dripped.body == body and time.monotonic() - begin > len(body) / 1000 - 0.2


def test_answers_that_are_held_back(server, text):
    for path in ("/.well-known/est/hold/simpleenroll", "/.well-known/est/hold/cacerts"):
        with connection(server, "ra") as tls:
            server.post("/hold")
            tls.sendall(request(path, text if "enroll" in path else None))
            deadline = time.monotonic() + 10
            while not server.stats()["requests"].get("hold", {}).get(path.rsplit("/", 1)[1]):
                assert time.monotonic() < deadline
            assert select.select([tls], [], [], 0.1)[0] == []
            server.post("/release")
            assert read_answer(tls)[0] == 200
            tls.sendall(request(path, text if "enroll" in path else None))
            assert read_answer(tls)[0] == 200
    server.post("/stats/reset")
    with connection(server, "ra") as tls:
        tls.sendall(request("/.well-known/est/hold/cacerts"))
        assert select.select([tls], [], [], 0.1)[0] == []


@pytest.mark.parametrize("label, outcome", [("hang", "hang"), ("hold", "200"), ("delay-60000", "200"), ("drip-1", "200")])
def test_slow_answers_delay_nobody_else(server, text, label, outcome):
    with connection(server, "ra") as tls:
        tls.sendall(request(f"/.well-known/est/{label}/simpleenroll", text))
        deadline = time.monotonic() + 10
        while not server.stats()["issued"]:
            assert time.monotonic() < deadline
        assert enrol(server, text).status == 200
        tls.settimeout(0.2)
        with pytest.raises(TimeoutError):
            read_answer(tls)
    assert server.stats()["requests"][label] == {"simpleenroll": {outcome: 1}}


@pytest.mark.parametrize("label, exit_code, outcome, issued", [
    ("close", 52, "closed", 0), ("close-after-post", 52, "closed", 1), ("reset", 56, "reset", 1), ("cut-off", 18, "cut-off", 1),
    ("not-http", 1, "not-http", 1)])
def test_endings(server, text, label, exit_code, outcome, issued):
    """curl's exit codes: 1 no HTTP, 18 partial file, 52 nothing, 56 receiving failed."""
    answer = enrol(server, text, label, "--tls-max", "1.2")
    assert answer.exit_code in (exit_code, 56) and (answer.status is None) == (label != "cut-off")
    assert server.stats()["requests"] == {label: {"simpleenroll": {outcome: 1}}}
    assert server.stats()["issued_count"] == issued


def test_keepalive_die(server, text):
    """The trap: the second POST on a connection counts, and nobody tells."""
    post = request("/.well-known/est/keepalive-die/simpleenroll", text)
    for _ in range(2):
        with connection(server, "ra") as tls:
            tls.sendall(post)
            assert read_answer(tls)[0] == 200
            tls.sendall(post)
            assert read_answer(tls) is None
    assert server.stats()["requests"]["keepalive-die"]["simpleenroll"] == {"200": 2, "closed": 2}
    assert server.stats()["issued_count"] == 4


# --- labels: approval, and how often ---


def test_approval_by_somebody(server, text):
    label = "manual.retry-5.tag-somebody"
    for _ in range(2):
        waiting = enrol(server, text, label)
        assert (waiting.status, waiting.fields["retry-after"], waiting.body) == (202, "5", b"")
    assert enrol(server, text, "manual").fields["retry-after"] == "60"
    assert server.post(f"/approve?label={label}") == {"approved": 1}
    granted = enrol(server, text, label)
    assert granted.status == 200 and "retry-after" not in granted.fields
    assert enrol(server, text, label).status == 202
    assert enrol(server, text, "manual").status == 202
    assert server.post("/approve") == {"approved": 2}
    assert server.stats()["issued_count"] == 1


def test_approval_by_itself(server, text):
    assert [enrol(server, text, "approve-attempts-3").status for _ in range(4)] == [202, 202, 200, 202]
    assert [enrol(server, text, "approve-wait-3600000").status for _ in range(2)] == [202, 202]
    assert enrol(server, text, "approve-wait-300").status == 202
    time.sleep(0.3)
    assert enrol(server, text, "approve-wait-300").status == 200


def test_times(server, text):
    assert [enrol(server, text, "status-503.times-2").status for _ in range(3)] == [503, 503, 200]


# --- libest ---


def test_libest_by_label(server, text, csr):
    """What libest 3.2.0p was seen to do."""
    good = enrol(server, base64.encodebytes(csr), "libest")
    assert good.fields["status"] == "200 OK" and certificates(good.body)
    assert enrol(server, base64.b64encode(csr), "libest").status == 400
    long_line = b"A" * 1200 + b"\n"
    assert enrol(server, long_line, "libest").status == 400
    assert enrol(server, b"A\n" * 5000, "libest").status == 413
    wrong = curl(server, est(server, "simpleenroll", "libest"), "--data", "x", "--header", "Content-Type: Application/pkcs10", client="ra")
    assert wrong.status == 400 and wrong.body.startswith(b"Error 400: Bad Request\n") and "content-type" not in wrong.fields
    chunked = enrol(server, text, "libest", "--header", "Transfer-Encoding: chunked")
    assert chunked.status == 400
    assert curl(server, est(server, "simpleenroll", "libest"), client="ra").status == 400
    assert curl(server, est(server, "cacerts", "libest")).fields["content-type"] == "application/pkcs7-mime"
    attributes = curl(server, est(server, "csrattrs", "libest")).body
    assert attributes.endswith(b"\0") and b"\n" not in attributes
    keygen = enrol(server, text, "libest", operation="serverkeygen")
    assert keygen.fields["content-type"] == "multipart/mixed; boundary=est-server-boundary"
    for label, client, status, fields in (("libest.manual.retry-5", "ra", 202, {"retry-after": "60", "status": "202 Accepted"}),
                                          ("libest", None, 401, {"content-length": "0"})):
        answer = enrol(server, text, label, client=client)
        assert (answer.status, answer.fields) == (status, fields)


def test_libest_and_who_asks(server, pki, csr, make_csr):
    """PoP is checked of those who are no RA, a signature where the key is the client's; errors close."""
    wrong_pop = base64.encodebytes(make_csr("--challenge-password", "d3Jvbmc="))
    assert enrol(server, wrong_pop, "libest").status == 200
    assert enrol(server, wrong_pop, "libest", client="meter").status == 401
    forged = base64.encodebytes(csr[:-1] + bytes([csr[-1] ^ 1]))
    refused = enrol(server, forged, "libest")
    assert refused.status == 400 and refused.fields["connection"] == "close"
    assert enrol(server, forged, "libest", operation="serverkeygen").status == 200
    assert enrol(server, base64.encodebytes(csr), "libest.status-500").status == 500
    configured = curl(server, est(server, "csrattrs", "libest.csrattrs-3003020101")).body
    assert configured == b"MAMCAQE="
    assert curl(server, est(server, "csrattrs", "libest.csrattrs-204")).status == 204


def test_libest_and_where_to(pki, text, tmp_path):
    """Labels, paths, TLS; 100 Continue never comes; both ways of authentication at once."""
    run(PKI / "make_device", pki, "cmc-only", "1001", "--ca", "est-ca", "--eku", "1.3.6.1.5.5.7.3.28")
    options = ("--libest", "--auth", "both", "--user", "estuser", "--password-file", pki / "password")
    with Server(pki, *options, "--label", "a" * 128, "--label", "a" * 129) as server:
        assert curl(server, est(server, "cacerts", "a" * 128)).status == 200
        assert curl(server, est(server, "cacerts", "a" * 129)).status == 404
        assert curl(server, est(server, "simpleenroll/"), client="ra", text=text).status == 404
        assert curl(server, est(server, "cacerts", "a%61")).status == 404
        assert curl(server, est(server, "nothing")).status == 400
        assert curl(server, est(server, "cacerts", "a/b")).status == 400
        user = ("--user", "estuser:secret")
        assert enrol(server, text).status == 401
        assert enrol(server, text, None, *user, client=None).status == 401
        assert enrol(server, text, None, *user).status == 200
        for client in ("stranger", "cmc-only"):
            assert curl(server, est(server, "cacerts"), client=client).exit_code in (35, 56), client
        waits = ("--header", "Expect: 100-continue", "--max-time", "1.5", "--expect100-timeout", "60")
        assert enrol(server, text, None, *user, *waits).exit_code == 28


def test_libest_is_wedged_by_idle_connections(pki):
    """Five connections at a time; an idle one is held until the client closes it, and the sixth client waits meanwhile."""
    cacerts = request("/.well-known/est/cacerts")
    with Server(pki, "--libest", "--control-port", "0", "--idle-timeout-ms", "1000") as server:
        with connection(server) as first:
            idle = []
            for tls in (first, None, None, None, None):
                if tls is None:
                    tls = first.context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost")
                    idle.append(tls)
                tls.sendall(cacerts)
                assert b"Status: 200 OK" in tls.recv(4096)
            silent = socket.create_connection(("127.0.0.1", server.port))
            for tls in (first, *idle):
                while tls.recv(4096):  # until the server's close_notify, after the idle timeout
                    pass
            assert curl(server, est(server, "cacerts"), "--max-time", "0.7").exit_code == 28
            assert server.stats()["connections"]["max_open"] == 5
            idle[0].close()
            idle[1].close()  # the silent one takes the first place, and never gives it back
            assert curl(server, est(server, "cacerts")).status == 200
            for tls in idle:
                tls.close()
            silent.close()
        with pytest.raises(ssl.SSLError):
            with connection(server, version=ssl.TLSVersion.TLSv1_3) as tls:
                tls.context.minimum_version = ssl.TLSVersion.TLSv1_3
                with tls.context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost"):
                    pass


# --- the program ---


def test_the_table_of_words():
    """README and program agree, and no word goes untested."""
    table = run(EST_SERVER, "--help-labels").stdout.decode()
    assert table in (HERE / "README.md").read_text()
    tests = pathlib.Path(__file__).read_text()
    for word in re.findall(r"^\| `([^`]+)`", table, re.M):
        pattern = re.sub("HEX", "[0-9a-f]+", re.sub("TEXT", r"\\w+", re.sub(r"(?<=-)N", r"(\\d+|{status})", re.escape(word).replace(r"\-", "-"))))
        assert re.search(rf"[\"./]{pattern}[\"./`]", tests), word


def test_start_and_end(pki, tmp_path):
    port_file, log = tmp_path / "port", tmp_path / "log"
    with Server(pki, "--port-file", port_file, "--log", log, "--address", "::1") as server:
        assert server.url == f"https://[::1]:{port_file.read_text().strip()}"
        assert curl(server, est(server, "cacerts")).status == 200
        assert "operation=\"cacerts\"" in log.read_text()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
    for wrong in (("--port", "70000"), ("--auth", "x"), ("--nonsense",), ("--port",), ()):
        assert run(EST_SERVER, *wrong, check=False).returncode == 2
    assert run(EST_SERVER, "--pki", tmp_path, check=False).returncode == 1
    assert run(EST_SERVER, "--pki", pki, "--csrattrs", tmp_path / "none", check=False).returncode == 1
