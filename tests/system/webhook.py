"""A service that decides about devices, as an operator would write it, and that a test lets misbehave."""

import http.server
import json
import os
import socket
import socketserver
import ssl
import threading

ALLOW, DENY = b'{"decision": "allow"}', b'{"decision": "deny", "reason": "not on our list"}'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.service.connections.append(self.connection)

    def do_POST(self):
        service = self.server.service
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with service.news:
            service.questions.append(question)
            service.headers.append(dict(self.headers))
            service.news.notify_all()
        service.go.wait(20)
        status, body, headers = service.answer(question)
        if status is None:
            self.close_connection = True
            return
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # nobody waits for it any more

    def address_string(self):
        return "registrar"

    def log_message(self, *_):
        pass


class TcpServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Quiet:
    """Who hangs up in the middle, or does not trust us, is what some tests are about."""

    def handle_error(self, *_):
        pass


class Webhook:
    """answer(question) gives (status, body, headers); status None hangs up. go.clear() holds all answers back."""

    def __init__(self, pki=None, socket_path=None):
        self.questions, self.headers, self.connections, self.news = [], [], [], threading.Condition()
        self.go = threading.Event()
        self.go.set()
        self.say(ALLOW)
        if socket_path:
            self.server = type("Server", (Quiet, UnixServer), {})(str(socket_path), Handler)
            self.url = f"unix:{socket_path}"
        else:
            self.server = type("Server", (Quiet, TcpServer), {})(("127.0.0.1", 0), Handler)
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(str(pki / "est-server.pem"), str(pki / "est-server.key"))
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
            self.url = f"https://localhost:{self.server.server_address[1]}/decide?for=estuary"
        self.server.service = self
        self.socket_path = socket_path
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def say(self, body, status=200, headers=None):
        self.answer = lambda question: (status, body, headers or {})

    def wait_for_questions(self, count, timeout=10):
        with self.news:
            assert self.news.wait_for(lambda: len(self.questions) >= count, timeout), self.questions

    def stop(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        for connection in self.connections:  # those that are kept open
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed long ago
        if self.socket_path and os.path.exists(self.socket_path):
            os.unlink(self.socket_path)
