"""The real programs, started and stopped as an operator would: est-server, est-registrar, est-device, libcoap's clients."""

import copy
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import ssl as python_ssl

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ESTUARY_BUILD", ROOT / "build"))
REGISTRAR = BUILD / "registrar" / "est-registrar"
EST_SERVER = BUILD / "tests" / "est_server" / "est-server"
EST_DEVICE = BUILD / "tests" / "device" / "est-device"
START_WITHIN_S = 20
STOP_WITHIN_S = 20

# A loopback address that no other test process has: ports there can be named, and are still there after a restart. The kernel hands out
# those above 32767 only, so nobody else is given one of these.
OWN_ADDRESS = "127.{}.{}.{}".format(64 + (os.getpid() >> 16), os.getpid() >> 8 & 255, os.getpid() & 255)
OWN_PORT = 5684


class Pki:
    """The keys and certificates of one test run (tests/pki/)."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        run([ROOT / "tests" / "pki" / "make_pki", self.folder])

    def __truediv__(self, name):
        return self.folder / name

    def device(self, name, serial=None, *options):
        """Makes a device certificate once, and returns the paths of certificate and key."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if not certificate.exists():
            run([ROOT / "tests" / "pki" / "make_device", self.folder, name, serial or f"SN-{name}", *options])
        return certificate, key

    def csr(self, key, subject, *options):
        """The DER of a certification request."""
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".der") as out:
            run([ROOT / "tests" / "pki" / "make_csr", key, out.name, subject, *options])
            return pathlib.Path(out.name).read_bytes()


def run(command, check=True, timeout=60, **more):
    """A command that ends by itself."""
    result = subprocess.run([str(part) for part in command], capture_output=True, timeout=timeout, **more)
    if check and result.returncode != 0:
        raise AssertionError(f"{command} ended with {result.returncode}:\n{result.stdout.decode()}\n{result.stderr.decode()}")
    return result


class Program:
    """A running program whose stderr is read line by line."""

    started = []

    def __init__(self, command, stdout=None, environment=None):
        self.lines, self.news = [], threading.Condition()
        self.process = subprocess.Popen([str(part) for part in command], stdout=stdout or subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env={**os.environ, **(environment or {})})
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        Program.started.append(self)

    def _read(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.lines.append(None)
            self.news.notify_all()

    def wait_for(self, pattern, timeout=START_WITHIN_S, since=0):
        """The first line that matches; the program's end or the timeout is a failure that shows what it said."""
        deadline, at = time.monotonic() + timeout, since
        with self.news:
            while True:
                while at < len(self.lines):
                    if self.lines[at] is None:
                        raise AssertionError("ended early:\n" + self.text())
                    if match := re.search(pattern, self.lines[at]):
                        return match
                    at += 1
                if not self.news.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise AssertionError(f"no {pattern!r} within {timeout} s:\n" + self.text())

    def text(self):
        return "\n".join(line for line in self.lines if line is not None)

    def stop(self, expect=0):
        """SIGTERM, as a service manager stops it: it must end cleanly, and with no word of a sanitizer."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("did not end after SIGTERM:\n" + self.text())
        finally:
            self.reader.join()
            self.process.stderr.close()
        assert "Sanitizer" not in self.text() and "runtime error" not in self.text(), self.text()
        assert code == expect, f"ended with {code}:\n{self.text()}"

    @classmethod
    def kill_all(cls):
        """At the end: what a test that failed has left running."""
        for program in cls.started:
            if not program.process.stderr.closed:
                program.kill()

    def kill(self):
        """After a failure: leaves nothing running."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()


def counters(program):
    """What it counts (SIGUSR1 makes it tell)."""
    since = len(program.lines)
    program.process.send_signal(signal.SIGUSR1)
    line = program.wait_for(r"counters:(.*)", since=since)[1]
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}


def await_counters(program, are_right):
    """Until they are; fails otherwise."""
    deadline = time.monotonic() + START_WITHIN_S
    while not are_right(found := counters(program)):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def resident_kib(program, kind="VmRSS"):
    text = pathlib.Path(f"/proc/{program.process.pid}/status").read_text()
    return int(re.search(rf"{kind}:\s+(\d+)", text)[1])


def libraries(program):
    """Names of those that are loaded, without version and .so."""
    return set(re.findall(r"/(lib[^/ ]+?)[-.0-9]*\.so", pathlib.Path(f"/proc/{program.process.pid}/maps").read_text()))


def is_sanitized(program):
    return "libasan" in libraries(program)


def await_file(file, program):
    """Until the program has written the file."""
    deadline = time.monotonic() + START_WITHIN_S
    while not (file.exists() and file.read_text().strip()):
        assert program.process.poll() is None and time.monotonic() < deadline, program.text()
        time.sleep(0.01)


class WallClock:
    """The time of day of programs that are started with its environment (wall_clock.c)."""

    def __init__(self, folder):
        self.file = pathlib.Path(folder) / "wall-clock"
        self.advance(0)
        self.environment = {"LD_PRELOAD": str(BUILD / "tests" / "system" / "libwall_clock.so"), "ESTUARY_WALL_CLOCK": str(self.file),
                            "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def advance(self, seconds):
        """That far ahead of the real one."""
        with open(self.file, "r+b" if self.file.exists() else "wb", 0) as file:
            file.write(seconds.to_bytes(8, sys.byteorder))


class EstServer:
    """est-server on a free port of 127.0.0.1 and what it counted."""

    def __init__(self, pki, folder, *options):
        port_file = pathlib.Path(folder) / "est-server.port"
        self.pki = pki
        self.program = Program([EST_SERVER, "--pki", pki.folder, "--port", "0", "--port-file", port_file, *options])
        await_file(port_file, self.program)
        self.port = int(port_file.read_text())
        self.url = f"https://localhost:{self.port}"
        self.tls = python_ssl.create_default_context(cafile=str(pki / "est-ca.pem"))
        self.tls.check_hostname = False

    def ask(self, path, method="GET"):
        request = urllib.request.Request(self.url + path, method=method, data=b"" if method == "POST" else None)
        with urllib.request.urlopen(request, context=self.tls, timeout=10) as response:
            return json.load(response) if method == "GET" else response.read()

    def stats(self):
        return self.ask("/stats")

    def reset(self):
        self.ask("/stats/reset", "POST")


class Registrar:
    """est-registrar with a configuration that a test changes where it matters: changes={"coap": {"block_size": 64}}."""

    def __init__(self, pki, upstream_url, folder, changes=None, wait=True, environment=None, under=()):
        self.folder = pathlib.Path(folder)
        self.config = self.folder / "registrar.json"
        self.settings = merge(default_settings(pki, upstream_url), changes or {})
        self.config.write_text(json.dumps(self.settings, indent=2))
        self.program = Program([*under, REGISTRAR, "--config", self.config], environment=environment)
        self.pid = self.program.process.pid
        if wait:
            self.await_ready()

    def await_ready(self):
        self.program.wait_for(r"ready:")
        self.coaps = self._addresses("coaps")
        self.coap = self._addresses("coap")
        self.jpy = self._addresses("jpy")

    def _addresses(self, scheme):
        found = []
        for line in self.program.lines:
            if line and (match := re.search(rf"listening {scheme}://(.*?):(\d+)(\s|\"|$)", line)):
                found.append((match[1].strip("[]"), int(match[2])))
        return found

    @property
    def address(self):
        """Where devices find it on an IPv4 loopback address."""
        host, port = self.coaps[0]
        return (host if host.startswith("127.") else "127.0.0.1", port)

    def counters(self):
        return counters(self.program)

    def await_counter(self, name, value):
        deadline = time.monotonic() + START_WITHIN_S
        while (now := self.counters()[name]) != value:
            assert time.monotonic() < deadline, f"{name} is {now}, not {value}"

    def reload(self, changes=None, refused=False):
        """SIGHUP, after changes to the configuration; returns what the log said until it was in use, or refused."""
        self.settings = merge(self.settings, changes or {})
        self.config.write_text(json.dumps(self.settings, indent=2))
        since = len(self.program.lines)
        self.program.process.send_signal(signal.SIGHUP)
        self.program.wait_for("reload refused:" if refused else "reloaded:", since=since)
        return [line for line in self.program.lines[since:] if line]

    def resident_kib(self):
        return resident_kib(self.program)

    def stop(self):
        self.program.stop()


def default_settings(pki, upstream_url):
    return {
        "listen": {"coaps": ["127.0.0.1:0"], "discovery": []},
        "dtls": {"certificate": str(pki / "registrar.pem"), "private_key": str(pki / "registrar.key"),
                 "manufacturer_trust": [str(pki / "manufacturer-ca.pem")], "domain_trust": [str(pki / "est-ca.pem")]},
        "upstream": {"servers": [upstream_url], "trust": [str(pki / "est-ca.pem")],
                     "certificate": str(pki / "ra.pem"), "private_key": str(pki / "ra.key")},
        "limits": {"device_requests_per_minute": 0, "address_handshakes_per_minute": 0, "device_associations": 1000},  # tests/system/test_limits.py
        "access": {"rules": [{"match": {"label": "?*"}, "action": "allow"}]},  # labels choose what est-server does
    }


def merge(base, changes):
    """Changes win; an object is changed key by key, and None removes a key."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def est_device(*arguments, check=True, timeout=60):
    """Runs est-device --json: its records of the operations asked for, and the process's result."""
    result = run([EST_DEVICE, "--json", *arguments], check=False, timeout=timeout)
    records = [json.loads(line) for line in result.stdout.decode().splitlines() if line.startswith("{")]
    records = [record for record in records if not record.get("implicit")]
    if check:
        assert result.returncode == 0, f"{arguments}: {result.returncode}\n{result.stdout.decode()}\n{result.stderr.decode()}"
    return records, result


def coap_client(flavour):
    """Debian's coap-client-openssl or coap-client-gnutls."""
    path = shutil.which(f"coap-client-{flavour}")
    assert path, f"coap-client-{flavour} is missing: apt-get install libcoap3-bin"
    return path
