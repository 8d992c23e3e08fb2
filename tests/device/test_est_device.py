"""est-device against a stand-in for a registrar (fake/), and against libcoap's own example server.

Environment: EST_DEVICE and FAKE_REGISTRAR name the programs."""

import base64
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import selectors
import shutil
import socket
import subprocess
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
EST_DEVICE = os.environ["EST_DEVICE"]
FAKE_REGISTRAR = os.environ["FAKE_REGISTRAR"]
CSRATTRS = TESTS / "vectors" / "rfc7030-A2-csrattrs.der"


def run(command, timeout=60):
    result = subprocess.run([str(part) for part in command], capture_output=True, timeout=timeout, text=True)
    assert "Sanitizer" not in result.stderr and "runtime error" not in result.stderr, result.stderr
    return result


def free_port():
    """One that the kernel gives to nobody, since it hands out those above 32767 only."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", random.randrange(20000, 32768)))
            return free.getsockname()[1]


def wait_until(condition, within_s=20):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Server:
    """A program that is ended by its pid when the test is over."""

    def __init__(self, command):
        self.process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)

    def stop(self):
        self.process.terminate()
        said = self.process.communicate(timeout=10)[1]
        assert "Sanitizer" not in said and "runtime error" not in said, said


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    assert run([TESTS / "pki" / "make_pki", folder]).returncode == 0
    for name, options in {"pump17": [], "known": ["--ca", "est-ca", "--san", "dns:known.example"],
                          "stranger": ["--ca", "other-ca"]}.items():
        assert run([TESTS / "pki" / "make_device", folder, name, "SN-" + name, *options]).returncode == 0
    return folder


@pytest.fixture
def registrar(pki):
    """The ports of a stand-in that remembers nothing of an earlier test."""
    server = Server([FAKE_REGISTRAR, pki, CSRATTRS])
    words = server.process.stderr.readline().split()
    yield {"coaps": int(words[1]), "coap": int(words[3])}
    server.stop()


def identity(pki, name="pump17"):
    return ["--certificate", pki / f"{name}.crt", "--key", pki / f"{name}.key"]


@pytest.fixture
def device(pki, registrar):
    """Runs est-device with --json; gives the objects, and in .status the exit status."""

    class Results(list):
        status = None

        def by(self, operation):
            return next(o for o in self if o["operation"] == operation and "implicit" not in o)

    def call(*words, name="pump17"):
        ended = run([EST_DEVICE, "--server", f"127.0.0.1:{registrar['coaps']}", *identity(pki, name), "--trust",
                     pki / "est-ca.pem", "--json", *words])
        results = Results(json.loads(line) for line in ended.stdout.splitlines())
        results.status = ended.returncode
        assert (ended.returncode == 0) == all(o["ok"] for o in results), ended.stdout
        return results

    return call


def test_whole_life(device):
    """SEC-5, POP-2: discover, /crts, /att, enrol, and re-enrol on a new session with the new certificate."""
    results = device("--pop", "discover", "crts", "att", "sen", "sren")
    assert [o["operation"] for o in results] == ["discover", "crts", "att", "sen", "sren"]
    assert results.status == 0
    discover, crts, att, sen, sren = results
    assert 'rt="ace.est.sen"' in discover["links"] and discover["content_format"] == 40
    assert crts["code"] == "2.05" and crts["content_format"] == 281 and crts["server_rechecked"] is True
    assert crts["certificates"][0]["subject"] == "CN=EST CA,O=Example"
    assert "challengePassword" in att["attributes"] and att["content_format"] == 285
    for enrolled in (sen, sren):
        assert enrolled["code"] == "2.04" and enrolled["verified"] is True
        assert enrolled["certificate"]["subject"] == "serialNumber=SN-pump17,CN=pump17,O=Example"
        assert enrolled["certificate"]["issuer"] == "CN=EST CA,O=Example"
    assert sen["certificate"]["serial"] != sren["certificate"]["serial"]
    assert [o["dtls"]["fresh"] for o in results] == [True, False, False, False, True]
    assert discover["dtls"]["cipher"] == "ECDHE-ECDSA-AES128-CCM8" and discover["dtls"]["group"] == "P-256"
    assert discover["dtls"]["server_cmc_ra"] and discover["dtls"]["server_verified"]


def test_text_for_a_person(pki, registrar):
    ended = run([EST_DEVICE, "--server", f"coaps://127.0.0.1:{registrar['coaps']}", *identity(pki), "--trust",
                 pki / "est-ca.pem", "--block-size", "64", "sen"])
    assert ended.returncode == 0
    assert re.search(r"dtls +DTLSv1.2 ECDHE-ECDSA-AES128-CCM8, P-256, full handshake in \d+ ms", ended.stdout)
    assert re.search(r"sen +POST /.well-known/est/sen, pkcs10, \d+ octets in \d+ blocks of 64 -> 2.04 Changed, "
                     r"certs-only, \d+ octets in \d+ blocks of 64, ETag [0-9a-f]+, \d+ ms", ended.stdout)
    for line in ("subject  serialNumber=SN-pump17,CN=pump17,O=Example", "issuer   CN=EST CA,O=Example", "verified yes"):
        assert line in ended.stdout
    assert "id-kp-cmcRA: yes; host name: matches" in ended.stdout


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("accept", [281, 287])
def test_blocks(device, size, accept):
    """BLK-1, BLK-5, CF-1: each block size in both directions, early negotiation included."""
    results = device("--block-size", size, "--accept", accept, "--ask-size", "sen")
    assert results.status == 0
    crts, sen = results
    assert crts["implicit"] and crts["content_format"] == sen["content_format"] == accept
    for answer in (crts, sen):
        assert answer["blocks_received"] == -(-answer["payload_octets"] // size)
        assert answer["block2_size"] == (size if answer["payload_octets"] > size else answer["block2_size"])
    assert sen["blocks_sent"] == -(-sen["request_octets"] // size)
    assert sen["block1_size"] == (size if sen["request_octets"] > size else 0)


@pytest.mark.parametrize("label, trouble", [
    ("other-key", "0 of the 1 certificates in the answer are for our key"),
    ("other-ca", "the certificate does not chain to the CA certificates"),
    ("trailing", "1 octets follow the PKCS#7 message"),
    ("nothing", "not 281, 287 or 62"),
    ("created", "2.01 Created, where RFC 9148 section 4.5 has 2.04"),
    ("forbidden", '4.03 Forbidden: "this device is not on the list"'),
    ("nowhere", "4.04 Not Found"),
])
def test_bad_answers(device, label, trouble):
    results = device("--label", label, "sen")
    assert results.status == 1
    assert trouble in results[-1].get("trouble") or trouble in results[0].get("trouble")


def test_diagnostic_payload(device):
    assert device("--label", "forbidden", "sen").by("sen")["diagnostic"] == "this device is not on the list"


def test_certificate_among_others(device):
    """CF-5: the CA's certificate beside ours does not confuse it."""
    assert device("--label", "with-ca", "sen").by("sen")["verified"] is True


def test_label_and_short_root(device):
    results = device("--root", "/est", "--label", "with-ca", "crts")
    assert results[0]["path"] == "/est/with-ca/crts" and results.status == 0


def test_server_does_not_chain_to_its_own_anchors(device):
    """SEC-5: reported; with --strict-anchors the association is closed and the rest not tried."""
    results = device("--label", "other-ca", "crts", "att")
    assert results.status == 0 and results.by("crts")["server_rechecked"] is False
    results = device("--label", "other-ca", "--strict-anchors", "crts", "att")
    assert results.status == 1 and "does not chain" in results.by("crts")["trouble"]
    assert "not tried" in results.by("att")["trouble"]


def test_try_later(device):
    """DLY-5, RFC 9148 section 4.7: the identical CSR after Max-Age; the stand-in refuses any other."""
    sen = device("--label", "later", "--attempts", 3, "sen").by("sen")
    assert sen["ok"] and sen["attempts"] == 3 and sen["elapsed_ms"] >= 2000


def test_try_later_in_vain(device):
    sen = device("--label", "much-later", "--attempts", 2, "--max-wait", 0, "sen").by("sen")
    assert not sen["ok"] and sen["attempts"] == 2 and sen["max_age"] == 3600 and sen["code"] == "5.03"


def test_later_attempt_on_a_new_session(device):
    """The association breaks: a new handshake, the CSR made again for it with the same key (DLY-7)."""
    sen = device("--label", "hang-up", "--attempts", 2, "--pop", "sen").by("sen")
    assert sen["ok"] and sen["attempts"] == 2 and sen["dtls"]["fresh"]


def test_broken_session_without_another_attempt(device):
    assert "association ended" in device("--label", "hang-up", "sen").by("sen")["trouble"]


def test_separate_response(device):
    """DLY-1."""
    sen = device("--label", "slow", "sen").by("sen")
    assert sen["ok"] and sen["separate"] and sen["elapsed_ms"] >= 900


def test_no_response(device):
    sen = device("--label", "silent", "--response-timeout-ms", 300, "--attempts", 2, "sen").by("sen")
    assert sen["trouble"] == "no response within 300 ms" and sen["attempts"] == 2


def test_acknowledgement_timeout_below_a_second(pki):
    """TX-1 with a lab's clock: 5 transmissions, which take 1.5 to 2.25 s in all; at one second and more they would take 15 s."""
    silent = Server([FAKE_REGISTRAR, pki, CSRATTRS])
    coaps = int(silent.process.stderr.readline().split()[1])
    heard, ended = relay_until_silent(coaps, lambda port: run(
        [EST_DEVICE, "--server", f"127.0.0.1:{port}", *identity(pki), "--ack-timeout-ms", "100", "--json", "crts", "att"]))
    silent.stop()
    crts, att = (json.loads(line) for line in ended.stdout.splitlines())
    assert crts["ok"] and "MAX_RETRANSMIT" in att["trouble"]
    assert len(heard) == 5 and 1 < heard[-1] - heard[0] < 12


def relay_until_silent(port, device):
    """A relay that lets one exchange after the handshake pass, and then only listens: when did what come after it?"""
    front, back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    front.bind(("127.0.0.1", 0))
    back.connect(("127.0.0.1", port))
    heard, address, application = [], None, 0
    with front, back, concurrent.futures.ThreadPoolExecutor() as pool, selectors.DefaultSelector() as selector:
        selector.register(front, selectors.EVENT_READ)
        selector.register(back, selectors.EVENT_READ)
        running = pool.submit(device, front.getsockname()[1])
        while not running.done():
            for key, _ in selector.select(0.1):
                if key.fileobj is back:
                    front.sendto(back.recv(65535), address)
                    continue
                datagram, address = front.recvfrom(65535)
                application += datagram[0] == 23  # application_data (RFC 6347 section 4.1)
                if application < 2:
                    back.send(datagram)
                elif datagram[0] == 23:
                    heard.append(time.monotonic())
        return heard, running.result()


def test_non_confirmable(device):
    """DLY-8."""
    results = device("--non", "--block-size", 64, "crts", "sen")
    assert results.status == 0 and not results.by("sen")["separate"]


def test_pop_after_resumption(device):
    """POP-2: the server's Finished after an abbreviated handshake."""
    # libcoap's server makes the SSL of a handshake at the one before: the third is the first that lets resume
    results = device("--pop", "crts", "reconnect", "reconnect", "resume", "sen")
    assert results.status == 0 and results.by("resume")["dtls"]["resumed"] and results.by("sen")["dtls"]["resumed"]


def test_wrong_pop(device):
    sen = device("--pop-wrong", "sen").by("sen")
    assert sen["code"] == "4.01" and sen["diagnostic"] == "challengePassword is not of this session"


def test_reboot_on_the_same_port(device):
    """RFC 6347 section 4.2.8: libcoap's server keeps the old association and answers nothing, and the client says so."""
    port = free_port()
    results = device("--source-port", port, "--ack-timeout-ms", 100, "--max-retransmit", 1, "crts", "reboot")
    assert results.by("crts")["ok"] and results.by("reboot")["trouble"] == "no DTLS handshake: nobody answered"


def test_local_port(device):
    """A session that was closed is followed by another from the same port."""
    assert device("--source-port", free_port(), "crts", "reconnect", "crts").status == 0


KEK = "000102030405060708090a0b0c0d0e0f"  # the stand-in's, under any identifier


@pytest.fixture
def kek(tmp_path):
    file = tmp_path / "device.kek"
    file.write_text(KEK + "\n")
    return file


def public_keys(certificate, key):
    return [run(["openssl", *command]).stdout for command in (
        ["x509", "-in", certificate, "-noout", "-pubkey"], ["pkey", "-in", key, "-pubout"])]


@pytest.mark.parametrize("operation", ["skg", "skc"])
@pytest.mark.parametrize("label", ["", "key-last"])
@pytest.mark.parametrize("options", [[], ["--pop", "--accept", "62", "--block-size", "64"]])
def test_key_made_by_the_server(device, tmp_path, operation, label, options):
    """MP-2, SKG-2: the parts in either order; key and certificate belong together, and the CSR's key is none of them."""
    out, key, csr = (tmp_path / name for name in ("out.pem", "key.pem", "csr.der"))
    label = ["--label", label] if label else []
    results = device(*label, *options, "--out", out, "--key-out", key, "--csr-out", csr, operation)
    made = results.by(operation)
    assert results.status == 0 and made["content_format"] == 62 and made["key_format"] == 284 and made["verified"]
    assert "key_signer" not in made and key.stat().st_mode & 0o777 == 0o600
    public = public_keys(out, key)
    assert public[0] == public[1]
    assert public[0] != run(["openssl", "req", "-inform", "DER", "-in", csr, "-noout", "-pubkey"]).stdout


def test_reenrol_with_a_key_made_by_the_server(device):
    """The identity that skg leaves behind authenticates."""
    results = device("skg", "sren")
    assert results.status == 0 and results.by("sren")["dtls"]["fresh"]


@pytest.mark.parametrize("label", ["", "key-wrapped", "key-last"])
def test_key_encrypted_with_a_symmetric_key(device, kek, tmp_path, label):
    """SKG-7: kekri, and the signature over the key."""
    out, key = tmp_path / "out.pem", tmp_path / "key.pem"
    label = ["--label", label, "--verify", "trust"] if label else []
    results = device(*label, "--want-encrypted", "kek:0102", "--decrypt-key", kek, "--out", out, "--key-out", key, "skg")
    made = results.by("skg")
    assert results.status == 0 and made["key_format"] == 280 and made["key_recipient"] == "kekri"
    assert made["key_signer"]["subject"] == "CN=Estuary registrar,O=Example" and made["key_signer_verified"]
    assert len(set(public_keys(out, key))) == 1


def test_key_encrypted_with_a_public_key(device, pki):
    """SKG-7: kari; the stand-in encrypts to the certificate of the session."""
    decrypt = ["--decrypt-cert", pki / "pump17.crt", "--decrypt-private-key", pki / "pump17.key"]
    made = device("--want-encrypted", "ski:0102", *decrypt, "skc").by("skc")
    assert made["ok"] and made["key_recipient"] == "kari" and made["key_signer_verified"]


@pytest.mark.parametrize("label, wants, trouble", [
    ("key-plain", True, "a plain key came, where the CSR asks for an encrypted one"),
    ("key-encrypted", False, "an encrypted key came, where the CSR asks for a plain one"),
    ("key-sec1", False, "the key is not PKCS#8"),
    ("key-sec1", True, "the key is not PKCS#8"),
    ("key-mismatch", False, "the public key in the PKCS#8 is not that of its private key"),
    ("key-mismatch", True, "the public key in the PKCS#8 is not that of its private key"),
    ("key-unsigned", True, "the protected key is no CMS message"),
    ("key-altered", True, "the signature over the key does not verify"),
    ("key-alone", False, "1 keys (284 or 280) and 0 certificates (281) came"),
    ("other-signer", True, "the signer of the key is not trusted"),
    ("other-key", False, "0 of the 1 certificates in the answer are for our key"),
    ("other-key", True, "0 of the 1 certificates in the answer are for our key"),
    ("trailing", False, "1 octets follow the multipart-core array"),
])
def test_bad_keys(device, kek, tmp_path, label, wants, trouble):
    """MP-2, MP-6, SKG-7."""
    out, key = tmp_path / "out.pem", tmp_path / "key.pem"
    wish = ["--want-encrypted", "kek:0102", "--decrypt-key", kek] if wants else []
    made = device("--label", label, "--verify", "trust", *wish, "--out", out, "--key-out", key, "skg").by("skg")
    assert not made["ok"] and trouble in made["trouble"] and not out.exists() and not key.exists()


@pytest.mark.parametrize("options, trouble", [
    (["--want-encrypted", "kek:0102"], "give --decrypt-key"),
    (["--want-encrypted", "kek:0102", "--decrypt-key", "KEK", "--decrypt-key-id", "0103"], "of another identifier"),
    (["--want-encrypted", "kek:0102", "--decrypt-key", "OTHER"], "cannot be decrypted"),
    (["--want-encrypted", "ski:0102"], "give --decrypt-cert"),
    (["--want-encrypted", "ski:0102", "--decrypt-cert", "known.crt", "--decrypt-private-key", "known.key"],
     "cannot be decrypted"),
])
def test_keys_that_cannot_be_decrypted(device, pki, kek, tmp_path, options, trouble):
    other = tmp_path / "other.kek"
    other.write_text("ff" * 16)
    files = {"KEK": kek, "OTHER": other, "known.crt": pki / "known.crt", "known.key": pki / "known.key"}
    made = device(*(files.get(option, option) for option in options), "skg").by("skg")
    assert not made["ok"] and trouble in made["trouble"]


@pytest.mark.parametrize("options, present", [
    ([], set()),
    (["--want-encrypted", "kek:0102"], {"capabilities", "kek"}),
    (["--want-encrypted", "ski:0102"], {"capabilities", "ski"}),
    (["--want-encrypted", "kek:0102", "--smime-capabilities", "none"], {"kek"}),
    (["--want-encrypted", "kek:0102,ski:03", "--smime-capabilities", "none"], {"kek", "ski"}),
    (["--want-encrypted", "kek:0102,ski:03"], {"capabilities", "kek", "ski"}),
    (["--smime-capabilities", "id-aes128-wrap"], {"capabilities"}),
])
def test_wish_in_the_csr(device, pki, kek, tmp_path, options, present):
    """SKG-3: whole wishes and halves of them, in the CSR of skg and not in that of sen. For a half a plain key comes."""
    types = {"capabilities": "S/MIME Capabilities", "kek": "1.2.840.113549.1.9.16.2.37", "ski": "1.2.840.113549.1.9.16.2.54"}
    decrypt = ["--decrypt-key", kek, "--decrypt-key-id", "0102",
               "--decrypt-cert", pki / "pump17.crt", "--decrypt-private-key", pki / "pump17.key"]
    whole = "capabilities" in present and len(present) > 1
    label = [] if whole else ["--label", "key-plain"]
    csr = tmp_path / "csr.der"
    for operation, expected in (("skg", present), ("sen", set())):
        assert device(*options, *decrypt, *label, "--verify", "off", "--csr-out", csr, operation).status == 0
        text = run(["openssl", "asn1parse", "-inform", "DER", "-in", csr]).stdout
        assert {name for name, type_ in types.items() if f":{type_}\n" in text} == expected, text


@pytest.mark.parametrize("options", [["--json"], [], ["--verbose"], ["--verbose", "--block-size", "16"]])
def test_keys_are_never_printed(pki, registrar, tmp_path, options):
    """SKG-9: neither in results nor in libcoap's log."""
    key = tmp_path / "key.pem"
    ended = run([EST_DEVICE, "--server", f"127.0.0.1:{registrar['coaps']}", *identity(pki), "--trust", pki / "est-ca.pem",
                 "--key-out", key, *options, "skg"])
    assert ended.returncode == 0
    der = subprocess.run(["openssl", "pkey", "-in", key, "-outform", "DER"], capture_output=True, check=True).stdout
    secret = der[der.index(b"\x04\x20") + 2:][:32]
    said = (ended.stdout + ended.stderr).lower()
    for window in range(0, 28, 4):
        assert secret[window:window + 4].hex() not in said
    if "--verbose" in options:
        assert "payload not shown" in ended.stderr



def test_files(device, pki, tmp_path):
    out, key, csr, anchors = (tmp_path / name for name in ("out.pem", "key.pem", "csr.der", "anchors.pem"))
    results = device("--pop", "--out", out, "--key-out", key, "--csr-out", csr, "--cacerts-out", anchors, "sen")
    assert results.status == 0
    assert key.stat().st_mode & 0o777 == 0o600
    assert run(["openssl", "verify", "-CAfile", anchors, out]).stdout == f"{out}: OK\n"
    public = [run(["openssl", *command]).stdout for command in (
        ["x509", "-in", out, "-noout", "-pubkey"], ["pkey", "-in", key, "-pubout"],
        ["req", "-inform", "DER", "-in", csr, "-noout", "-pubkey"])]
    assert public[0] == public[1] == public[2]
    text = run(["openssl", "req", "-inform", "DER", "-in", csr, "-noout", "-text", "-verify"])
    binding = re.search(r"challengePassword *: *(\S+)", text.stdout).group(1)
    assert len(base64.b64decode(binding, validate=True)) == 12
    assert {path.name for path in tmp_path.iterdir()} == {"out.pem", "key.pem", "csr.der", "anchors.pem"}


def test_ready_made_csr(device, pki, tmp_path):
    """Sent as it is; the certificate is checked against its key."""
    csr, sent = tmp_path / "made.der", tmp_path / "sent.der"
    assert run([TESTS / "pki" / "make_csr", pki / "pump17.key", csr, "/CN=else"]).returncode == 0
    results = device("--csr", csr, "--csr-out", sent, "--key-out", tmp_path / "no.key", "sen")
    assert results.status == 0 and sent.read_bytes() == csr.read_bytes()
    assert results.by("sen")["certificate"]["subject"] == "CN=else" and not (tmp_path / "no.key").exists()


def test_csr_contents(device, tmp_path):
    csr = tmp_path / "csr.der"
    results = device("--subject", "O=Other,CN=Pumpe ü", "--key-type", "P-384", "--extension", "san=dns:a.example",
                     "--extension", "san=ip:192.0.2.1", "--extension", "eku=clientAuth", "--csr-out", csr, "sen")
    assert results.by("sen")["certificate"]["key"] == "P-384"
    assert results.by("sen")["certificate"]["subject"] == "CN=Pumpe ü,O=Other"
    text = run(["openssl", "req", "-inform", "DER", "-in", csr, "-noout", "-text"]).stdout
    assert "DNS:a.example, IP Address:192.0.2.1" in text and "TLS Web Client Authentication" in text
    assert text.count("Subject Alternative Name") == 1


def test_reenrol_with_a_given_certificate(device, pki, tmp_path):
    """RE-1, RE-4: subject and subjectAltName are repeated, byte for byte; the key is kept with --renew only."""
    csr = tmp_path / "csr.der"
    for options, same in ((["--renew"], True), ([], False)):
        results = device(*options, "--csr-out", csr, "sren", name="known")
        assert results.status == 0
        text = run(["openssl", "req", "-inform", "DER", "-in", csr, "-noout", "-text"]).stdout
        assert "DNS:known.example" in text and "CN = known" in text
        key = run(["openssl", "req", "-inform", "DER", "-in", csr, "-noout", "-pubkey"]).stdout
        assert (key == run(["openssl", "pkey", "-in", pki / "known.key", "-pubout"]).stdout) == same


def test_server_not_trusted(pki, registrar):
    ended = run([EST_DEVICE, "--server", f"127.0.0.1:{registrar['coaps']}", *identity(pki), "--trust",
                 pki / "other-ca.pem", "--attempts", "3", "crts"])
    assert ended.returncode == 1 and "the server's certificate chain is not trusted" in ended.stdout


def test_device_not_trusted(device):
    """The alert is named; it is not tried again, since it would end the same way."""
    results = device("--attempts", 3, "crts", "sen", name="stranger")
    assert results[0]["trouble"] == "DTLS alert received: unknown CA (48)" and results[0]["attempts"] == 1
    assert "not tried" in results[1]["trouble"]


def test_no_certificate(pki, registrar):
    ended = run([EST_DEVICE, "--server", f"127.0.0.1:{registrar['coaps']}", "--trust", pki / "est-ca.pem", "crts"])
    assert ended.returncode == 1 and "DTLS alert received: handshake failure (40)" in ended.stdout


def test_without_trust_it_says_so(pki, registrar):
    ended = run([EST_DEVICE, "--server", f"127.0.0.1:{registrar['coaps']}", *identity(pki), "crts"])
    assert ended.returncode == 0 and "chain NOT verified (no --trust)" in ended.stdout


def test_dtls_choices(device):
    dtls = device("--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384", "--curve", "P-384:P-256", "--no-ems", "--max-fragment", 512,
                  "--mtu", 256, "--block-size", 256, "sen").by("sen")["dtls"]
    assert (dtls["cipher"], dtls["group"]) == ("ECDHE-ECDSA-AES256-GCM-SHA384", "P-384")
    assert dtls["extended_master_secret"] is False


def test_nobody_there(pki):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        silent = free_port()
        taken.bind(("127.0.0.1", silent))
        ended = run([EST_DEVICE, "--server", f"127.0.0.1:{silent}", "--ack-timeout-ms", "50", "--max-retransmit", "2",
                     "--attempts", "2", "crts"])
    assert ended.returncode == 1 and "nobody answered" in ended.stdout and "2 attempts" in ended.stdout
    ended = run([EST_DEVICE, "--server", f"127.0.0.1:{silent}", "crts"])
    assert ended.returncode == 1 and "nothing listens there" in ended.stdout


def test_overall_timeout(device):
    results = device("--label", "silent", "--timeout", 1, "sen", "att")
    assert "--timeout" in results.by("sen")["trouble"] and "not tried" in results.by("att")["trouble"]


def test_unsecured_discovery(registrar):
    """DISC-4; block by block as well."""
    for options in ([], ["--block-size", "16"]):
        ended = run([EST_DEVICE, "--discover-uri", f"coap://127.0.0.1:{registrar['coap']}", "--json", *options, "discover"])
        found = json.loads(ended.stdout)
        assert ended.returncode == 0 and 'rt="ace.est.crts"' in found["links"]
        assert found["from"] == f"127.0.0.1:{registrar['coap']}"


def test_resource_type_filter(registrar):
    """DISC-1, DISC-6: a filter reaches the server; no match is an empty answer and no failure."""
    where = ["--discover-uri", f"coap://127.0.0.1:{registrar['coap']}", "--json", "discover"]
    one = json.loads(run([EST_DEVICE, "--rt", "ace.est.sen", *where]).stdout)
    assert one["links"] == '</est/sen>;rt="ace.est.sen"'


@pytest.mark.parametrize("words, message", [
    ([], "say what to do"),
    (["--server", "h", "enrol"], "enrol: no such operation"),
    (["sen"], "--server is missing"),
    (["--server", "h", "--block-size", "48", "sen"], "--block-size 48: expected"),
    (["--server", "h", "--block-size", "8", "sen"], "from 16 to 1024"),
    (["--server", "h", "--accept", "282", "sen"], "expected 281, 287 or 62"),
    (["--server", "h", "--frobnicate", "sen"], "no such option"),
    (["--server", "h", "--verify", "maybe", "sen"], "--verify maybe"),
    (["--server", "h", "--decrypt-key", "f", "skg"], "without --decrypt-key-id"),
    (["--server", "h", "--decrypt-private-key", "f", "skg"], "without --decrypt-cert"),
    (["--server", "h", "sen", "--label"], "its value is missing"),
])
def test_wrong_usage(words, message):
    ended = run([EST_DEVICE, *words])
    assert ended.returncode == 2 and message in ended.stderr and ended.stdout == ""


@pytest.mark.parametrize("server, message", [
    ("http://127.0.0.1", "only coap:// and coaps://"),
    ("[::1", "the closing ] is missing"),
    ("::1", "in brackets"),
    ("127.0.0.1:0", "from 1 to 65535"),
    ("127.0.0.1:x", "from 1 to 65535"),
    ("coaps://127.0.0.1/est", "a path does not belong here"),
])
def test_wrong_server(server, message):
    ended = run([EST_DEVICE, "--server", server, "crts"])
    assert ended.returncode == 1 and message in ended.stderr


def test_help_names_every_option():
    ended = run([EST_DEVICE, "--help"])
    assert ended.returncode == 0
    source = (HERE / "options.c").read_text()
    names = re.findall(r'\{"([a-z-]+)", (?:FLAG|NUMBER|TEXT|EXTENSION)', source)
    assert len(names) > 30 and all(f"--{name}" in ended.stdout for name in names)
    readme = (HERE / "README.md").read_text()
    assert [name for name in names if f"`--{name}" not in readme] == []


def coap_server():
    return shutil.which("coap-server-openssl") or pytest.fail("coap-server-openssl is missing: tests/install_packages test")


@pytest.fixture
def example_server(pki):
    """libcoap's coap-server on IPv6 loopback, which knows nothing of EST."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as free:
        free.bind(("::1", 0))
        port = free.getsockname()[1] & ~1
    server = Server([coap_server(), "-A", "::1", "-p", port, "-c", pki / "registrar.pem", "-j",
                     pki / "registrar.key", "-R", pki / "manufacturer-ca.pem", "-v", "0"])
    yield port
    server.stop()


def test_somebody_elses_server(pki, example_server):
    """Transport alone: DTLS over IPv6, blocks of each size, an error with its diagnostic payload."""
    command = [EST_DEVICE, "--server", f"[::1]:{example_server + 1}", *identity(pki), "--trust", pki / "est-ca.pem",
               "--rt", "", "--json", "--attempts", "20"]
    for size in (16, 64, 1024):
        ended = run([*command, "--block-size", size, "discover", "crts"])
        discover, crts = (json.loads(line) for line in ended.stdout.splitlines())
        assert discover["ok"] and "example_data" in discover["links"]
        assert discover["blocks_received"] == -(-discover["payload_octets"] // size)
        assert crts["code"] == "4.04" and crts["diagnostic"] == "Not Found"


def test_multicast_discovery():
    """DISC-5, from the asking side: all who answer within the leisure, by their unicast address."""
    if os.geteuid() != 0:
        pytest.fail("network namespaces need root")
    names = [f"estdev{os.getpid()}{side}" for side in "ab"]
    link = [f"ed{os.getpid() % 100000}{side}" for side in "ab"]
    server = None
    try:
        for name in names:
            run(["ip", "netns", "add", name])
            run(["ip", "netns", "exec", name, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"])
        run(["ip", "link", "add", link[0], "netns", names[0], "type", "veth", "peer", "name", link[1], "netns", names[1]])
        for name, end in zip(names, link):
            run(["ip", "-n", name, "link", "set", end, "up"])
        server = Server(["ip", "netns", "exec", names[1], coap_server(), "-g", "ff02::fd", "-G", link[1], "-v", "0"])
        wait_until(lambda: "ff02::fd" in run(["ip", "-n", names[1], "maddr", "show", "dev", link[1]]).stdout)
        for name, end in zip(names, link):
            wait_until(lambda: "fe80::" in run(["ip", "-n", name, "-6", "addr", "show", "dev", end]).stdout)
        ended = run(["ip", "netns", "exec", names[0], EST_DEVICE, "--discover-uri", f"coap://[ff02::fd%{link[0]}]",
                     "--discover-time", "6", "--rt", "", "--json", "discover"])
        found = [json.loads(line) for line in ended.stdout.splitlines()]
        assert len(found) == 1 and "example_data" in found[0]["links"]
        assert re.fullmatch(rf"\[fe80::[0-9a-f:]+%{link[0]}\]:5683", found[0]["from"])
    finally:
        if server is not None:
            server.stop()
        for name in names:
            run(["ip", "netns", "delete", name])
