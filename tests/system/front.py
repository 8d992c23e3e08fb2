"""A door in front of an EST server that a test opens, shuts and breaks: plain TCP, so that TLS is the servers' own."""

import selectors
import socket
import struct
import threading
import time


class Front:
    """url leads to the server while mode is "open". "refuse": nobody listens; "silent": connections are taken and nothing is said;
    "reset": they are reset when the client has spoken; "babble": they are answered with something else than TLS; "deaf": the queue of
    connections is full, so that every further SYN is dropped and nobody hears a word."""

    def __init__(self, server, host="localhost"):
        self.server_port = server.port if server else None
        self.mode, self.connections = "open", 0
        self.news = threading.Condition()
        self.listener, self.fillers = None, []
        self.holder = socket.socket()  # so that the port is still ours when nobody listens
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.holder.bind(("127.0.0.1", 0))
        self.port = self.holder.getsockname()[1]
        self.open_sockets = set()
        self.selector = selectors.DefaultSelector()
        self.waker, self.woken = socket.socketpair()
        self.selector.register(self.woken, selectors.EVENT_READ, None)
        self.ended = False
        self._listen()
        self.url = f"https://{host}:{self.port}"
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def set(self, mode):
        """From the next connection on; those that there are end."""
        with self.news:
            self.mode, self.connections = mode, 0
            self.waker.send(b"x")
            self.news.wait_for(lambda: self.mode_set == mode, 20)

    def await_connections(self, count, timeout=20):
        """Until as many connections have come since the mode was set."""
        with self.news:
            assert self.news.wait_for(lambda: self.connections >= count, timeout), f"{self.connections} connections came"

    def await_knock(self, timeout=20):
        """Until somebody has sent a SYN to a deaf door: the kernel keeps it among those unanswered."""
        deadline = time.monotonic() + timeout
        peer, syn_sent = f":{self.port:04X}", "02"
        while not any(fields[2].endswith(peer) and fields[3] == syn_sent
                      for fields in map(str.split, open("/proc/net/tcp", encoding="ascii").readlines()[1:])):
            assert time.monotonic() < deadline, "nobody knocks"
            time.sleep(0.01)

    def stop(self):
        self.ended = True
        self.waker.send(b"x")
        self.thread.join()
        for each in (self.waker, self.woken, self.holder):
            each.close()

    mode_set = None

    def _listen(self, backlog=128):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(backlog)
        if backlog > 0:
            self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        else:
            self.fillers = [socket.create_connection(("127.0.0.1", self.port))]

    def _stop_listening(self):
        if self.listener in self.selector.get_map():
            self.selector.unregister(self.listener)
        self.listener.close()
        self.listener = None
        for each in self.fillers:
            each.close()
        self.fillers = []

    def _adopt_mode(self):
        with self.news:
            for each in list(self.open_sockets):
                self._drop(each)
            if self.listener and (self.mode in ("refuse", "deaf") or self.fillers):
                self._stop_listening()
            if self.mode != "refuse" and not self.listener:
                self._listen(0 if self.mode == "deaf" else 128)
            self.mode_set = self.mode
            self.news.notify_all()

    def _run(self):
        while not self.ended:
            if self.mode_set != self.mode:
                self._adopt_mode()
            for key, _ in self.selector.select():
                if key.data is None:
                    self.woken.recv(100)
                elif key.fileobj in self.open_sockets or key.fileobj is self.listener:
                    key.data(key.fileobj)
        for each in list(self.open_sockets):
            self._drop(each)
        if self.listener:
            self._stop_listening()

    def _accept(self, listener):
        client, _ = listener.accept()
        self._watch(client, self._on_client)
        if self.mode == "open":
            server = socket.create_connection(("127.0.0.1", self.server_port))
            self._watch(server, lambda this: self._pass_on(this, client))
            self.selector.modify(client, selectors.EVENT_READ, lambda this: self._pass_on(this, server))
        with self.news:
            self.connections += 1
            self.news.notify_all()

    def _on_client(self, client):
        octets = self._read(client)
        if octets and self.mode == "babble":
            client.sendall(b"220 this is no TLS\r\n")
        if octets and self.mode == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.mode in ("babble", "reset") or not octets:
            self._drop(client)

    def _pass_on(self, source, target):
        octets = self._read(source)
        try:
            target.sendall(octets)
        except OSError:
            octets = b""
        if not octets:
            self._drop(source)
            self._drop(target)

    @staticmethod
    def _read(source):
        try:
            return source.recv(65536)
        except OSError:
            return b""

    def _watch(self, each, reader):
        self.open_sockets.add(each)
        self.selector.register(each, selectors.EVENT_READ, reader)

    def _drop(self, each):
        if each in self.open_sockets:
            self.open_sockets.remove(each)
            self.selector.unregister(each)
            each.close()
