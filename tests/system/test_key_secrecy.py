"""What becomes of the keys that were handed out (SKG-9)."""

import os
import pathlib
import resource
import signal
import subprocess
import time

import coap
import programs
import pytest

import key_traces
from enrolment import POST_OPTIONS, enrol, make_csr, path
from server_keys import BOTH, assert_pair, enrol_patiently, plain_key, scalar, serverkeygens, unpack

ORDINARY_BUILD = pytest.mark.skipif(not key_traces.are_findable(programs.REGISTRAR), reason="AddressSanitizer has its own ideas of memory")  # and locks none


def test_a_lost_answer(start_registrar, connect, est_server, pki):
    """DLY-4, SKG-9: within the time of grace the same key; what comes after it, test_no_trace_of_a_key shows."""
    registrar = start_registrar({"est": BOTH})
    csr = make_csr(pki)
    first = enrol(connect(registrar), csr, "skg")[1]
    assert enrol(connect(registrar), csr, "skg")[1] == first
    assert enrol(connect(registrar), csr, "skc")[1] != first, "another transaction"
    assert len(serverkeygens(est_server)) == 2


def test_a_key_that_nobody_fetches(start_registrar, connect, est_server, pki):
    """SKG-9: it does not wait for its device any longer; the operator hears of the certificate, the device gets another key."""
    registrar = start_registrar({"est": {**BOTH, "labels": ["delay-1000"], "key_grace_s": 1}, "coap": {"separate_after_ms": 100}})
    peer = connect(registrar)
    csr = make_csr(pki)
    peer.send(peer.message(coap.POST, path("skg", "delay-1000"), csr, options=POST_OPTIONS))
    assert peer.receive().code == coap.EMPTY
    peer.dtls.close()
    registrar.program.wait_for("no device has fetched")
    assert registrar.counters()["in_doubt"] == 1
    assert enrol(connect(registrar), csr, "skg", label_name="delay-1000")[0].status == "2.04"
    assert len(serverkeygens(est_server)) == 2


@pytest.mark.parametrize("octets, est, warns", [(65536, BOTH, True), pytest.param(1 << 20, BOTH, True, marks=ORDINARY_BUILD), (8 << 20, BOTH, False), (65536, {}, False)])
def test_memory_that_cannot_be_locked(start_registrar, connect, pki, octets, est, warns):
    """SKG-9: with what a container may get, 64 KiB, or just enough for OpenSSL's keys, the operator is warned, and devices are served; what systemd
    gives will do. Without keys of devices nothing is locked."""
    most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if most != resource.RLIM_INFINITY and octets > most:
        pytest.skip("this machine allows less")
    without_rights = ("setpriv", "--bounding-set", "-ipc_lock", "prlimit", f"--memlock={octets}:{octets}")
    registrar = start_registrar({"est": {**est, "server_keygen": "local"}}, under=without_rights)
    assert (f"memory cannot be locked (RLIMIT_MEMLOCK: {octets} octets)" in registrar.program.text()) == warns
    if est:
        assert_pair(enrol(connect(registrar), make_csr(pki), "skg")[1], "skg")


@pytest.mark.parametrize("at_start", [False, True])
def test_a_password_that_comes_by_reload(start_registrar, tmp_path, at_start):
    """RA-8: whether freed memory is wiped is settled at the start; the operator is told where that matters."""
    secret = tmp_path / "password"
    secret.write_text("correct horse")
    secret.chmod(0o600)
    credentials = {"upstream": {"username": "registrar", "password_file": str(secret)}}
    registrar = start_registrar(credentials if at_start else {})
    told = registrar.reload(credentials)
    assert any("do not wipe their copies of the password until a restart" in line for line in told) != at_start


@ORDINARY_BUILD
def test_no_trace_of_a_key(start_registrar, connect, pki, tmp_path):
    """SKG-9: after the time of grace neither memory, hence no core dump, nor log nor files, the journal among them, hold a piece of it; and
    who asks again gets another one (DLY-4)."""
    kept = [hand_out_keys(start_registrar, connect, pki, tmp_path, mode, ways) for mode, ways in (
        ("relay", [("tag-secret", 2), ("tag-more", 5), ("key-sec1", 5), ("libest", 5), ("delay-600", 2)]),
        ("local", [("approve-attempts-2.retry-1", 5), ("tag-secret", 2), ("tag-more", 5), ("delay-600", 5)]),
        ("relay-then-local", [("times-1.status-404", 5)]))]
    for registrar, keys, _, _ in kept:
        await_end_of_grace(registrar, keys[-1])
    for registrar, keys, csr, words in kept:
        files = [*key_traces.files_below(registrar.folder).values(), *key_traces.files_below(registrar.settings["state_directory"]).values()]
        assert any(b"SN-meter" in octets for octets in files), "the journal knows of the enrolments"
        for key in keys:
            assert not key_traces.occurrences(registrar.pid, key)
            assert not key_traces.is_in_text(registrar.program.text(), key)
            assert not any(key_traces.is_in_octets(octets, key) for octets in files)
        again = enrol(connect(registrar), csr, "skc", label_name=words)[1]
        assert scalar(plain_key(assert_pair(again, "skc"))) not in keys


def await_end_of_grace(registrar, key):
    """It began with the last block, and a sweep follows it."""
    deadline = time.monotonic() + 6 + programs.START_WITHIN_S
    while key_traces.occurrences(registrar.pid, key):
        assert time.monotonic() < deadline, registrar.program.text()
        time.sleep(0.5)  # each look takes some of the processor


def hand_out_keys(start_registrar, connect, pki, folder, mode, ways):
    """A registrar with a journal, the keys that its devices got, and what was asked for last."""
    state = folder / mode
    state.mkdir(mode=0o700)
    registrar = start_registrar({"est": {**BOTH, "labels": [words for words, _ in ways], "key_grace_s": 6, "server_keygen": mode},
                                 "log": {"level": "debug"}, "coap": {"separate_after_ms": 100}, "state_directory": str(state)})
    peer = connect(registrar)
    keys = []
    for words, szx in ways:
        for operation in ("skg", "skc"):
            csr = make_csr(pki)
            response, body = enrol_patiently(peer, csr, operation, words, szx=szx)
            assert response.status == "2.04"
            keys.append(scalar(plain_key(assert_pair(body, operation))))
    assert key_traces.occurrences(registrar.pid, keys[-1]), "the search finds what is there"
    return registrar, keys, csr, ways[-1][0]


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
