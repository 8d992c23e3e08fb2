"""est-server as a process, and other people's clients for it: curl, openssl, and Python's ssl where a test must hold the connection."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PKI = HERE.parent / "pki"
BUILD = pathlib.Path(os.environ.get("ESTUARY_BUILD", HERE.parents[1] / "build"))
EST_SERVER = BUILD / "tests" / "est_server" / "est-server"
TIMEOUT_S = 30


def run(*command, check=True, **more):
    return subprocess.run([str(part) for part in command], check=check, capture_output=True, timeout=TIMEOUT_S, **more)


class Server:
    """A running est-server; leaving the context ends it, and fails if it did not end well."""

    def __init__(self, pki, *options):
        self.pki = pki
        self.log = open(pki / f"est-server-{id(self)}.log", "w+")
        self.process = subprocess.Popen([EST_SERVER, "--pki", pki, *map(str, options)], stdout=subprocess.PIPE, stderr=self.log,
                                        text=True)
        self.url = self.process.stdout.readline().removeprefix("listening ").strip()
        assert self.url, self.said()
        self.port = int(self.url.rsplit(":", 1)[1])
        self.control_url = self.url
        if "--control-port" in options:
            self.control_url = self.process.stdout.readline().removeprefix("control ").strip()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(TIMEOUT_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
        assert status == 0, self.said()
        self.log.close()

    def said(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text()

    def stats(self, label=None):
        return json.loads(curl(self, self.control_url + "/stats" + (f"?label={label}" if label else "")).body)

    def post(self, path):
        return json.loads(curl(self, self.control_url + path, "-X", "POST").body)


class Answer:
    def __init__(self, exit_code, head, body):
        self.exit_code, self.head, self.body = exit_code, head, body
        lines = head.decode("latin-1").split("\r\n\r\n")[-2].split("\r\n") if b"\r\n\r\n" in head else [""]
        self.status = int(lines[0].split()[1]) if lines[0] else None
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.line = lines[0]


def curl(server, url, *options, client=None, text=None):
    """client names a certificate of the PKI; text is the body of a POST."""
    command = ["curl", "--silent", "--show-error", "--max-time", TIMEOUT_S, "--cacert", server.pki / "est-ca.pem"]
    if client:
        certificate = server.pki / f"{client}.crt"
        command += ["--cert", certificate if certificate.exists() else server.pki / f"{client}.pem"]
        command += ["--key", server.pki / f"{client}.key"]
    if text is not None:
        command += ["--header", "Content-Type: application/pkcs10", "--data-binary", "@-"]
    with tempfile.NamedTemporaryFile() as head:
        result = run(*command, "--dump-header", head.name, *options, url, check=False, input=text if text is not None else b"")
        return Answer(result.returncode, head.read(), result.stdout)


def est(server, operation, label=None):
    return f"{server.url}/.well-known/est/{label + '/' if label else ''}{operation}"


@contextlib.contextmanager
def connection(server, client=None, port=None, session=None, version=ssl.TLSVersion.TLSv1_2):
    """A TLS connection of Python's ssl."""
    context = ssl.create_default_context(cafile=str(server.pki / "est-ca.pem"))
    context.maximum_version = version
    if client:
        certificate = server.pki / f"{client}.crt"
        context.load_cert_chain(str(certificate if certificate.exists() else server.pki / f"{client}.pem"),
                                str(server.pki / f"{client}.key"))
    if session:
        context = session.context
    with socket.create_connection(("127.0.0.1", port or server.port), timeout=TIMEOUT_S) as plain:
        with context.wrap_socket(plain, server_hostname="localhost", session=session and session.session) as tls:
            tls.suppress_ragged_eofs = True
            yield tls


def request(path, text=None, more=""):
    method, length = ("GET", "") if text is None else ("POST", f"Content-Type: application/pkcs10\r\nContent-Length: {len(text)}\r\n")
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}{more}\r\n".encode() + (text or b"")


def read_answer(tls, rest=b""):
    """Status and body of one response that has a Content-Length, and what follows it; None if the connection ends before it."""
    while b"\r\n\r\n" not in rest:
        part = tls.recv(4096)
        if not part:
            return None
        rest += part
    head, _, rest = rest.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields.get(b"content-length", 0))
    while len(rest) < length:
        rest += tls.recv(4096)
    return int(head.split()[1]), rest[:length], rest[length:]
