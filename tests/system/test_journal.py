"""What outlives the registrar (DLY-4, `state_directory`): no enrolment is forgotten, none is issued twice without a word."""

import collections
import hashlib
import os
import re
import resource
import stat
import threading
import time

import coap
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import programs
from coap_peer import CoapPeer
from dtls import Closed, DtlsClient, DtlsError
from enrolment import POST_OPTIONS, certificates, enrol, is_for, make_csr, path
from server_keys import enrol_patiently
from webhook import Webhook

LABEL = "hold.delay-150"
DEVICES, KEYS, AT_ONCE = 25, 8, 4  # as many keys of one device as est.max_pending_per_client allows; of one association
UNLIMITED = {"device_requests_per_minute": 0, "address_handshakes_per_minute": 0, "device_associations": 1000}


def posts(est_server):
    return [r for r in est_server.stats()["log"] if r["method"] == "POST"]


def kill(registrar):
    """As a power failure does, but for what the kernel still writes."""
    registrar.program.process.kill()
    registrar.program.kill()


@pytest.fixture
def state(tmp_path):
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def start(start_registrar):
    """At an address that is still free after the end of a registrar."""
    return lambda changes, **more: start_registrar({"listen": {"coaps": [f"{programs.OWN_ADDRESS}:{programs.OWN_PORT}"]}, **changes}, **more)


@pytest.fixture
def restart(start_registrar):
    """restart(registrar) gives one like it, where it was."""
    return lambda registrar, changes=None, **more: start_registrar(programs.merge(registrar.settings, changes or {}), **more)


class Enrolment:
    """One key that is to have a certificate."""

    def __init__(self, name):
        subject = [(NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, name), (NameOID.SERIAL_NUMBER, f"SN-{name}")]
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(*part) for part in subject]))
        self.csr = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        self.name, self.result, self.told_to_wait, self.is_late = name, None, False, False


class Device:
    """Enrols some keys for as long as it takes, whatever becomes of the registrar."""

    def __init__(self, pki, registrar, name):
        self.certificate, self.key = pki.device(name)
        self.trust, self.address = pki / "est-ca.pem", registrar.address
        self.enrolments = [Enrolment(name) for _ in range(AT_ONCE)]
        self.restarted, self.given_up = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run)

    def missing(self):
        return [enrolment for enrolment in self.enrolments if enrolment.result is None]

    def run(self):
        while self.missing() and not self.given_up.is_set():
            try:
                with DtlsClient(self.address, self.certificate, self.key, self.trust) as client:
                    client.handshake(30)
                    self.ask(CoapPeer(client), had_restarted=self.restarted.is_set())
            except (Closed, ConnectionError, DtlsError, TimeoutError):
                time.sleep(0.05)  # until there is a registrar again

    def ask(self, peer, had_restarted):
        """For all that is missing at once, until all are answered or the registrar is another one."""
        asked = {}
        for enrolment in self.missing():
            request = peer.message(coap.POST, path("sen", LABEL), enrolment.csr, options=POST_OPTIONS)
            asked[peer.send(request).token] = enrolment
        while asked and not self.given_up.is_set() and self.restarted.is_set() == had_restarted:
            answer = peer.receive(timeout=0.5)
            if answer is None or answer.code == coap.EMPTY:
                continue
            if answer.type == coap.CON:
                peer.send(coap.Message(coap.ACK, coap.EMPTY, answer.mid))
            if enrolment := asked.pop(answer.token, None):
                assert answer.status in ("2.04", "5.03"), answer
                enrolment.result = answer.payload if answer.status == "2.04" else None
                enrolment.told_to_wait = had_restarted and answer.status == "5.03"
                enrolment.is_late = had_restarted
        self.given_up.wait(0.3 if self.missing() else 0)


def await_all_but(held, enrolments, registrar, deadline):
    """Until no more than so many are without a certificate, each of them told to wait; returns them."""
    while (missing := [e for e in enrolments if e.result is None]) and (len(missing) > held or not all(e.told_to_wait for e in missing)):
        assert time.monotonic() < deadline, (len(missing), registrar.program.text())
        time.sleep(0.05)
    return missing


def serial_of(record):
    found = re.search(r" serial=([0-9a-f]+)( |$)", record)
    return found and int(found[1], 16)


def let_some_through(est_server, registrar, count):
    """Until so many have been issued; then the EST server holds the answers back, and as many wait as it may be asked at a time, and more."""
    est_server.ask("/release", "POST")
    deadline = time.monotonic() + 60
    while est_server.stats()["issued_count"] < count:
        assert time.monotonic() < deadline, registrar.program.text()
    est_server.ask("/hold", "POST")
    programs.await_counters(registrar.program, lambda counters: counters["exchanges"] > 20 and counters["journal_queued"] == 0)


@pytest.mark.parametrize("policy, workers", [("retry", 2), ("hold", 1)])
def test_kill_in_the_middle_of_many(start, restart, est_server, pki, state, policy, workers):
    """DLY-4, SEC-2: kill -9 in the middle of 200 enrolments, restart, repeat: all get their certificates, and the EST server has issued one
    to each, but for the retries of what was in doubt, which the log names, each with the serial number of its second certificate; with
    in_doubt: hold there are none, and those held are named. Who has got a certificate since is in the log, with its serial number."""
    registrar = start({"workers": workers, "state_directory": str(state), "est": {"labels": [LABEL], "in_doubt": policy},
                       "coap": {"block_size": 1024}, "limits": UNLIMITED, "dtls": {"retransmit_timeout_ms": 300}})
    devices = [Device(pki, registrar, f"unit{number % DEVICES}") for number in range(DEVICES * KEYS // AT_ONCE)]
    enrolments = [enrolment for device in devices for enrolment in device.enrolments]
    assert len(enrolments) == 200
    for device in devices:
        device.thread.start()
    try:
        let_some_through(est_server, registrar, 60)
        kill(registrar)
        est_server.ask("/release", "POST")
        second = restart(registrar)
        for device in devices:
            device.restarted.set()
        doubts = int(second.program.wait_for(r"known from before: .* (\d+) in doubt")[1])
        named = [line for line in second.program.lines if line and re.search(rf"enrolment in doubt: client=\".*CN=unit\d+.*\" operation=sen label=\"{LABEL}\"", line)]
        assert 1 <= doubts == len(named) <= 15
        held = doubts if policy == "hold" else 0
        deadline = time.monotonic() + 60
        await_all_but(held, enrolments, second, deadline)
        while held and second.counters()["exchanges"] > 0:  # nothing runs any more that could still have an answer
            time.sleep(0.05)
        for enrolment in enrolments:
            enrolment.told_to_wait = False
        missing = await_all_but(held, enrolments, second, deadline)
    finally:
        for device in devices:
            device.given_up.set()
        for device in devices:
            device.thread.join()
    assert len(missing) <= held  # some device had its answer when the registrar had not yet written that down
    assert all(is_for(certificates(e.result)[0], e.csr) for e in enrolments if e.result is not None)
    written = second.counters()
    records = [line for line in second.program.lines if line and " operation=sen " in line and f' label="{LABEL}" ' in line]
    repeated = len([line for line in records if " repeats=in-doubt " in line])
    serials = collections.defaultdict(list)
    for one in est_server.stats()["issued"]:
        serials[one["csr_sha256"]].append(int(one["serial"], 16))
    second_issues = {serial for each in serials.values() for serial in each[1:]}
    assert second_issues <= {serial_of(line) for line in records if " repeats=in-doubt " in line}
    for one in (e for e in enrolments if e.result is not None and e.is_late):
        serial = certificates(one.result)[0].serial_number
        assert [line for line in records if serial_of(line) == serial and f"CN={one.name}," in line], (one.name, serial)
    issued = {csr: len(each) for csr, each in serials.items()}
    wanted = {hashlib.sha256(e.csr).hexdigest() for e in enrolments if e.result is not None}
    assert wanted <= set(issued) and max(issued.values()) <= 2
    assert sum(issued.values()) <= len(enrolments) + repeated and repeated <= doubts
    if policy == "hold":
        assert repeated == 0 and max(issued.values()) == 1
    assert written["journal_lost"] == 0 and written["journal_syncs"] < written["journal_records"]


def test_what_is_known_again(start, restart, connect, est_server, pki, state):
    """DLY-3, DLY-4: a certificate that nobody has fetched, one whose answer was lost, what waits for approval, and a refusal that nobody
    has heard: all as before after kill -9, without a request to the EST server."""
    words = {"late": "hold", "waiting": "approve-attempts-2.retry-600", "due": "approve-attempts-2.retry-1", "refused": "status-403.hold"}
    first = start({"state_directory": str(state), "est": {"labels": list(words.values())},
                   "coap": {"separate_after_ms": 50, "answer_within_ms": 200}})
    csr = {name: make_csr(pki) for name in ("fetched", *words)}
    peer = connect(first)
    fetched = enrol_patiently(peer, csr["fetched"], "sen")[1]
    for name, word in words.items():
        assert enrol(peer, csr[name], label_name=word)[0].status == "5.03"
    est_server.ask("/release", "POST")
    for answer in (r"upstream=200 code=5.03 outcome=2.04", r"upstream=403 code=5.03 outcome=4.03", rf'label="{words["waiting"]}".* upstream=202',
                   rf'label="{words["due"]}".* upstream=202'):
        first.program.wait_for(answer)
    assert len(posts(est_server)) == 5
    while first.counters()["journal_queued"] > 0:
        time.sleep(0.01)
    kill(first)
    second = restart(first)
    second.program.wait_for(r"known from before: 2 enrolments waiting, 2 ready, 1 refused, 0 in doubt")
    peer = connect(second)
    assert enrol(peer, csr["fetched"])[1] == fetched
    answer, body = enrol(peer, csr["late"], label_name=words["late"])
    assert answer.status == "2.04" and is_for(certificates(body)[0], csr["late"])
    assert enrol(peer, csr["refused"], label_name=words["refused"])[0].status == "4.03"
    early = enrol(peer, csr["waiting"], label_name=words["waiting"])[0]
    assert early.status == "5.03" and 500 <= early.number(coap.MAX_AGE) <= 600
    assert len(posts(est_server)) == 5
    assert is_for(certificates(enrol_patiently(peer, csr["due"], "sen", words["due"])[1])[0], csr["due"])
    assert len(posts(est_server)) == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_stopping_is_recorded(start, restart, connect, est_server, pki, state, tmp_path, workers):
    """SIGTERM past drain_ms: whoever waits, for the EST server, for a connection to it or for the webhook, hears 5.03 with Max-Age and then
    close_notify, and the log has a record of each. What the EST server has is in doubt after the restart, and held; the rest never left."""
    service = Webhook(socket_path=tmp_path / "decide")
    service.go.clear()
    try:
        words = "hang"
        first = start({"workers": workers, "state_directory": str(state), "drain_ms": 300, "est": {"labels": [words], "in_doubt": "hold"},
                                 "coap": {"separate_after_ms": 50}, "upstream": {"max_connections": 2},
                                 "access": {"rules": [{"match": {"serial_number": "SN-undecided"}, "action": "ask"},
                                                      {"match": {"label": "?*"}, "action": "allow"}],
                                            "webhook": {"url": service.url, "timeout_ms": 15000}}})
        peers, csr, requests = {}, {}, {}
        for device in ("sent", "queued", "undecided"):
            peer, csr[device] = connect(first, device=device), make_csr(pki, device)
            where = path("sen", words if device != "undecided" else None)
            requests[device] = peer.send(peer.message(coap.POST, where, csr[device], options=POST_OPTIONS))
            assert peer.receive().code == coap.EMPTY
            peers[device] = peer
        service.wait_for_questions(1)
        first.await_counter("upstream_requests", 1)
        first.stop()
        for device, peer in peers.items():
            answer = peer.receive()
            assert (answer.status, answer.token) == ("5.03", requests[device].token) and answer.number(coap.MAX_AGE) >= 1
            with pytest.raises(Closed):
                peer.receive()
            records = [line for line in first.program.lines if line and f"CN={device}," in line and "operation=sen" in line and " code=5.03 " in line]
            assert len(records) == 1, records
        service.go.set()
        second = restart(first)
        line = second.program.wait_for(r"enrolment in doubt: (.*)")[1]
        assert "CN=sent" in line
        second.program.wait_for(r"known from before: 0 enrolments waiting, 0 ready, 0 refused, 1 in doubt")
        assert enrol(connect(second, device="sent"), csr["sent"], label_name=words)[0].status == "5.03"
        assert enrol(connect(second, device="undecided"), csr["undecided"])[0].status == "2.04"
        assert len(posts(est_server)) == 2
    finally:
        service.stop()


def test_a_full_disk(start_registrar, connect, est_server, pki, state):
    """An enrolment that cannot be recorded does not leave: 5.03, said once in the log; /crts and what is known go on; so does the rest
    once there is room."""
    registrar = start_registrar({"state_directory": str(state)})
    peer, known = connect(registrar), make_csr(pki)
    assert enrol(peer, known)[0].status == "2.04"
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(registrar.pid, resource.RLIMIT_FSIZE, ((state / "pending.journal").stat().st_size, unlimited))
    for _ in range(3):
        answer, _ = enrol(peer, make_csr(pki))
        assert answer.status == "5.03" and answer.number(coap.MAX_AGE) >= 1
    assert enrol(peer, known)[0].status == "2.04"
    assert peer.get(path("crts")).status == "2.05"
    assert len(posts(est_server)) == 1
    resource.prlimit(registrar.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    registrar.program.wait_for(r"the journal can be written again")
    assert enrol(peer, make_csr(pki))[0].status == "2.04"
    assert len(posts(est_server)) == 2
    assert registrar.program.text().count("the journal cannot be written") == 1


def test_the_file(start, start_registrar, restart, connect, est_server, pki, state):
    """Readable for its owner only; a torn end is repaired with a warning; damage in the middle and a second registrar are refused."""
    first = start({"state_directory": str(state)})
    csr = make_csr(pki)
    assert enrol(connect(first), csr)[0].status == "2.04"
    file = state / "pending.journal"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "pending.journal.new" not in os.listdir(state)
    other = start_registrar({"state_directory": str(state)}, wait=False)
    other.program.wait_for(r"another registrar uses it")
    assert other.program.process.wait(20) == 1
    first.stop()
    with file.open("ab") as torn:
        torn.write(b"\0" * 17)
    second = restart(first)
    second.program.wait_for(r"its last 17 octets were never completely written")
    assert enrol(connect(second), csr)[0].status == "2.04"
    assert len(posts(est_server)) == 1
    second.stop()
    whole = bytearray(file.read_bytes())
    whole[60] ^= 1
    file.write_bytes(whole)
    third = restart(first, wait=False)
    third.program.wait_for(r"is damaged at octet 32.*move it away")
    assert third.program.process.wait(20) == 1


def test_no_private_key_is_written(start, restart, connect, est_server, pki, state):
    """SKG-9: a key from the server is nowhere on the disk, and an enrolment with one is in doubt after a restart."""
    first = start({"state_directory": str(state), "est": {"skg": True}})
    answer, body = enrol(connect(first), make_csr(pki), "skg")
    assert answer.status == "2.04"
    key = body[body.index(b"\x30\x81"):][-64:]  # some of the answer
    written = (state / "pending.journal").read_bytes()
    assert b"operation=skg" in written
    for at in range(0, len(body) - 16, 8):
        assert body[at:at + 16] not in written
    assert key not in written
    kill(first)
    second = restart(first)
    second.program.wait_for(r"enrolment in doubt: .* operation=skg")


def test_a_client_has_its_share(start_registrar, connect, est_server, pki):
    """SEC-3, RFC 8516: one device may not fill the table: 4.29 with Max-Age, counted; another device is served, and so is this one again."""
    words = "manual.retry-2"
    registrar = start_registrar({"est": {"labels": [words], "max_pending_per_client": 2}})
    peer = connect(registrar)
    for _ in range(2):
        assert enrol(peer, make_csr(pki), label_name=words)[0].status == "5.03"
    csr = make_csr(pki)
    answer, _ = enrol(peer, csr, label_name=words)
    assert answer.status == "4.29" and answer.number(coap.MAX_AGE) >= 1 and b"too many enrolments" in answer.payload
    assert len(posts(est_server)) == 2
    assert enrol(connect(registrar, device="other"), make_csr(pki, "other"), label_name=words)[0].status == "5.03"
    assert registrar.counters()["pending_crowded"] == 1
