"""A UDP relay that loses, repeats and reorders datagrams as its seed says: the same seed, the same network."""

import heapq
import itertools
import random
import selectors
import socket
import threading
import time


class Relay:
    """Stands between devices and the registrar. Each device's address gets a socket of its own towards the registrar, so that flows stay apart.
    Each flow and direction draws from a random stream of its own: what one device suffers does not hang on the others' timing.
    What passes("up" or "down", datagram) does not want is lost as well."""

    def __init__(self, target, seed, loss=0.0, duplicate=0.0, reorder=0.0, hold_s=0.05, passes=lambda direction, datagram: True):
        self.target, self.seed = target, seed
        self.loss, self.duplicate, self.reorder, self.hold_s, self.passes = loss, duplicate, reorder, hold_s, passes
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.address = self.front.getsockname()
        self.lost = self.passed = 0
        self.flows, self.held, self.order = {}, [], itertools.count()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.front, selectors.EVENT_READ, self._from_device)
        self.wake, self.woken = socket.socketpair()
        self.selector.register(self.woken, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.wake.send(b"x")
        self.thread.join()
        for back, _ in self.flows.values():
            back.close()
        for end in (self.front, self.wake, self.woken):
            end.close()
        self.selector.close()

    def _run(self):
        while True:
            wait = max(0, self.held[0][0] - time.monotonic()) if self.held else None
            for key, _ in self.selector.select(wait):
                if key.data is None:
                    return
                key.data(key.fileobj)
            while self.held and self.held[0][0] <= time.monotonic():
                _, _, send = heapq.heappop(self.held)
                send()

    def _from_device(self, front):
        datagram, device = front.recvfrom(65535)
        if device not in self.flows:
            back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.connect(self.target)
            number = len(self.flows)
            dice = [random.Random(f"{self.seed}-{number}-{direction}") for direction in ("up", "down")]
            self.flows[device] = (back, dice)
            self.selector.register(back, selectors.EVENT_READ, lambda b, d=device: self._from_registrar(b, d))
        back, dice = self.flows[device]
        self._toss(dice[0], self.passes("up", datagram), lambda: self._send(back.send, datagram))

    def _from_registrar(self, back, device):
        try:
            datagram = back.recv(65535)
        except ConnectionRefusedError:
            return
        self._toss(self.flows[device][1][1], self.passes("down", datagram), lambda: self._send(self.front.sendto, datagram, device))

    def _toss(self, dice, may_pass, send):
        chance, twice, late = dice.random(), dice.random(), dice.random()
        if chance < self.loss or not may_pass:
            self.lost += 1
            return
        for _ in range(2 if twice < self.duplicate else 1):
            self.passed += 1
            if late < self.reorder:
                heapq.heappush(self.held, (time.monotonic() + self.hold_s, next(self.order), send))
            else:
                send()

    @staticmethod
    def _send(function, *arguments):
        try:
            function(*arguments)
        except ConnectionRefusedError:
            pass
