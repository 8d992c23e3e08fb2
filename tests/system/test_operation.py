"""est-registrar as an operator meets it: command line, configuration, log, signals, health."""

import json
import os
import re
import resource
import signal
import time

import pytest

import coap
import programs
from dtls import Closed
from enrolment import enrol, get, make_csr, path, POST_OPTIONS


def registrar(*arguments):
    return programs.run([programs.REGISTRAR, *arguments], check=False)


@pytest.fixture
def write_config(pki, tmp_path):
    def write(changes=None, text=None):
        file = tmp_path / "registrar.json"
        settings = programs.merge(programs.default_settings(pki, "https://localhost:1"), changes or {})
        file.write_text(text if text is not None else json.dumps(settings))
        return file

    return write


def test_version_and_help():
    """DTLS-14, SES-4, POP-3: honest about what OpenSSL cannot do; system/dtls shows that it is so."""
    version = registrar("--version")
    assert version.returncode == 0
    assert b"DTLS 1.2; no DTLS 1.3 and no connection ids, for OpenSSL offers neither" in version.stdout
    for word in (b"OpenSSL", b"libcoap", b"libcurl", b"libevent", b"jansson"):
        assert word in version.stdout
    usage = registrar("--help")
    assert usage.returncode == 0
    for option in (b"--config", b"--check-config", b"--print-config", b"--health", b"--version"):
        assert option in usage.stdout


@pytest.mark.parametrize("arguments", [(), ("--nonsense",), ("--config",), ("--check-config",), ("--config", "x", "y")])
def test_usage_errors(arguments):
    """Exit status 2."""
    result = registrar(*arguments)
    assert result.returncode == 2 and result.stderr


def test_check_config(write_config):
    result = registrar("--config", write_config(), "--check-config")
    assert result.returncode == 0, result.stderr


def test_print_config_is_a_config(write_config, tmp_path):
    """What is printed can be read, and then prints the same."""
    first = registrar("--config", write_config(), "--print-config")
    assert first.returncode == 0
    again = tmp_path / "again.json"
    again.write_bytes(first.stdout)
    assert registrar("--config", again, "--print-config").stdout == first.stdout
    checked = registrar("--config", again, "--check-config")
    assert checked.returncode == 0 and b"without a state_directory, what a reload would do is unknown" in checked.stdout


def test_all_errors_at_once(write_config):
    """Each with file, JSON path, value and cure."""
    file = write_config({"coap": {"block_size": 100, "ack_timeout_ms": "fast"}, "dtls": {"handshake_mtu": 99999, "colour": 1},
                         "upstream": {"servers": ["http://est"]}, "workers": -1, "nonsense": {}})
    result = registrar("--config", file, "--check-config")
    lines = result.stderr.decode().splitlines()
    assert result.returncode == 1
    for where in ("coap.block_size", "coap.ack_timeout_ms", "dtls.handshake_mtu", "dtls.colour", "upstream.servers[0]",
                  "workers", "nonsense"):
        assert any("registrar.json" in line and where in line for line in lines), where
    assert any('"http://est"' in line and "https" in line for line in lines)
    assert any("99999" in line and "1200" in line for line in lines)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"a":1,"a":2}', "\0", '{"listen":{"coaps":"x"}}', "[" * 5000])
def test_files_that_are_no_configuration(write_config, text):
    result = registrar("--config", write_config(text=text), "--check-config")
    assert result.returncode == 1 and b"registrar.json" in result.stderr


def test_a_missing_file(tmp_path):
    result = registrar("--config", tmp_path / "none.json")
    assert result.returncode == 1 and b"none.json" in result.stderr and b"No such file" in result.stderr


@pytest.mark.parametrize("section, key, value", [
    ("dtls", "certificate", "nowhere.pem"), ("dtls", "private_key", "nowhere.key"), ("dtls", "manufacturer_trust", ["nowhere.pem"]),
    ("upstream", "certificate", "nowhere.pem"), ("upstream", "private_key", "nowhere.key"), ("upstream", "trust", ["nowhere.pem"]),
])
def test_files_that_are_not_there(write_config, section, key, value):
    """--check-config loads every certificate and key, and a start fails with the same words."""
    file = write_config({section: {key: value}})
    for arguments in (("--check-config",), ()):
        result = registrar("--config", file, *arguments)
        assert result.returncode == 1 and b"nowhere" in result.stderr


def test_folders_that_are_not_there(write_config):
    """What no reload replaces is checked as well, and each line names the file."""
    file = write_config({"state_directory": "nowhere", "upstream": {"learnt_trust": "nowhere/learnt.pem"}})
    result = registrar("--config", file, "--check-config")
    lines = result.stderr.decode().splitlines()
    assert result.returncode == 1
    assert any(line.startswith(f"error: {file}: state_directory: ") and "nowhere" in line for line in lines)
    assert any(line.startswith(f"warning: {file}: upstream.learnt_trust: ") and "cannot be written to" in line for line in lines)


def test_an_interface_that_is_not_there(write_config):
    """DISC-5: --check-config tells of it beforehand; the start fails."""
    file = write_config({"listen": {"coaps": ["127.0.0.1:0"], "discovery": ["[::]:0"], "multicast_interfaces": ["lo", "nosuch0"]}})
    result = registrar("--config", file, "--check-config")
    assert result.returncode == 0
    assert f'{file}: listen.multicast_interfaces[1]: "nosuch0" does not exist now, and the registrar does not start without it' in result.stderr.decode()
    result = registrar("--config", file)
    assert result.returncode == 1 and b'listen.multicast_interfaces[1]: "nosuch0" cannot join' in result.stderr


def test_a_damaged_journal(write_config, tmp_path):
    """Told by --check-config and by a start, which names the file."""
    (tmp_path / "pending.journal").write_bytes(100 * b"x")
    file = write_config({"state_directory": str(tmp_path)})
    for arguments in (("--check-config",), ()):
        result = registrar("--config", file, *arguments)
        assert result.returncode == 1
        assert f'{file}: state_directory: "{tmp_path}/pending.journal" cannot be used: its header is damaged' in result.stderr.decode()


@pytest.mark.parametrize("section", ["dtls", "upstream"])
def test_a_key_that_does_not_match(write_config, pki, section):
    result = registrar("--config", write_config({section: {"private_key": str(pki / "est-server.key")}}), "--check-config")
    assert result.returncode == 1 and b"est-server.key" in result.stderr


def test_what_will_hurt_later(write_config, pki):
    """DTLS-11, RA-1, RE-8: warnings that name certificate and cure."""
    file = write_config({"dtls": {"certificate": str(pki / "est-server.pem"), "private_key": str(pki / "est-server.key")},
                         "upstream": {"certificate": str(pki / "est-server.pem"), "private_key": str(pki / "est-server.key")},
                         "access": {"csr_identity": "any", "rules": [{"action": "allow"}, {"match": {"serial_number": "stolen"}, "action": "deny"}]}})
    result = registrar("--config", file, "--check-config")
    text = result.stderr.decode()
    assert result.returncode == 0
    assert len(re.findall("cmcRA", text)) >= 2 and "clientAuth" in text and "csr_identity" in text
    assert "access.rules[0]: has no condition that could fail" in text
    device, _ = pki.device("anchor")
    result = registrar("--config", write_config({"dtls": {"manufacturer_trust": [str(device)]}}), "--check-config")
    assert f'dtls.manufacturer_trust[0]: "{device}" holds a certificate that is none of a CA' in result.stderr.decode()


def test_a_second_instance_fails_loudly(start_registrar, pki):
    """The port is exclusive, whatever the number of workers."""
    first = start_registrar({"workers": 2})
    for workers in (1, 2):
        second = start_registrar({"workers": workers, "listen": {"coaps": [f"127.0.0.1:{first.address[1]}"]}}, wait=False)
        assert second.program.process.wait(20) == 1
        second.program.reader.join()
        words = f'{second.config}: listen.coaps[0]: "127.0.0.1:{first.address[1]}" cannot be opened: Address already in use; use another port'
        assert words in second.program.text().replace("\\", "")


@pytest.mark.parametrize("format_name", ["text", "json"])
def test_the_log(start_registrar, connect, pki, format_name):
    """One line a record; JSON parses; an exchange leaves one line that names device, function and codes, and no CSR."""
    one = start_registrar({"log": {"format": format_name}})
    csr = make_csr(pki)
    assert enrol(connect(one), csr)[0].status == "2.04"
    one.stop()
    lines = one.program.text().splitlines()
    if format_name == "json":
        records = [json.loads(line) for line in lines]
        assert all({"time", "level", "module", "message"} <= set(record) for record in records)
    about = [line for line in lines if re.search(r"operation\W+sen\b", line) and re.search(r"code\W+2\.04\b", line)]
    assert len(about) == 1 and "meter" in about[0] and "200" in about[0]


def test_sigterm_ends_cleanly(start_registrar, connect):
    """close_notify to the devices, exit status 0, and no waiting where nothing is in flight."""
    one = start_registrar({"drain_ms": 600000})
    peer = connect(one)
    assert get(peer, "crts")[0].status == "2.05"
    one.stop()
    with pytest.raises(Closed):
        peer.receive()


def test_sigterm_waits_for_what_is_in_flight(start_registrar, connect, est_server, pki):
    """A device whose certificate is being issued still gets it."""
    one = start_registrar({"drain_ms": 600000, "est": {"labels": ["hold"]}, "coap": {"separate_after_ms": 100}})
    peer = connect(one)
    request = peer.send(peer.message(coap.POST, path("sen", "hold"), make_csr(pki), options=POST_OPTIONS))
    assert peer.receive().code == coap.EMPTY
    one.program.process.send_signal(signal.SIGTERM)
    one.program.wait_for("SIGTERM")
    est_server.ask("/release", "POST")
    answer = peer.answer_to(request)
    assert answer is not None and answer.status == "2.04"
    one.stop()


def test_sigterm_waits_no_longer_than_drain_ms(start_registrar, connect, pki):
    """What else it would wait for is beyond all patience."""
    one = start_registrar({"drain_ms": 500, "est": {"labels": ["hang"]}, "coap": {"separate_after_ms": 100}})
    peer = connect(one)
    peer.send(peer.message(coap.POST, path("sen", "hang"), make_csr(pki), options=POST_OPTIONS))
    assert peer.receive().code == coap.EMPTY
    begin = time.monotonic()
    one.stop()
    assert time.monotonic() - begin > 0.4


def test_sighup_does_no_harm(start_registrar, connect):
    one = start_registrar()
    one.program.process.send_signal(signal.SIGHUP)
    one.program.wait_for("SIGHUP")
    assert get(connect(one), "crts")[0].status == "2.05"


@pytest.mark.parametrize("workers", [1, 2])
def test_health(start_registrar, workers, tmp_path):
    """--health asks a running registrar, and says so when it is stopped or hangs."""
    one = start_registrar({"workers": workers, "listen": {"coaps": [f"{programs.OWN_ADDRESS}:{programs.OWN_PORT}"]}})
    assert registrar("--config", one.config, "--health").returncode == 0
    os.kill(one.pid, signal.SIGSTOP)
    hung = registrar("--config", one.config, "--health")
    os.kill(one.pid, signal.SIGCONT)
    assert hung.returncode == 1 and programs.OWN_ADDRESS.encode() in hung.stderr and b"silent" in hung.stderr
    one.stop()
    assert registrar("--config", one.config, "--health").returncode == 1
    anywhere = registrar("--config", start_registrar().config, "--health")
    assert anywhere.returncode == 1 and b"listen.coaps" in anywhere.stderr


def test_no_core_file(start_registrar, tmp_path):
    """Private keys are in memory: a crash leaves no core file."""
    one = start_registrar()
    resource.prlimit(one.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    one.program.process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(one.pid, 0)
    assert os.WIFSIGNALED(status) and not os.WCOREDUMP(status)
    one.program.process.returncode = -signal.SIGABRT
