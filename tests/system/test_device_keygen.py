"""est-device asks for keys that it does not make itself: an independent judge of /skg and /skc (RFC 9148 section 4.8)."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from enrolment import spki
from programs import est_device, run

BOTH = {"skg": True, "skc": True}
KEK = "000102030405060708090a0b0c0d0e0f"


@pytest.fixture
def ask(start_registrar, pki, tmp_path):
    """Starts a registrar; gives a function that runs est-device against it."""

    def start(est):
        registrar = start_registrar({"est": {**BOTH, **est}})
        certificate, key = pki.device("keyless")

        def ask_device(operation, *options):
            out, key_out = tmp_path / "out.pem", tmp_path / "key.pem"
            for file in (out, key_out):
                file.unlink(missing_ok=True)
            records, _ = est_device("--server", f"127.0.0.1:{registrar.address[1]}", "--certificate", certificate, "--key", key, "--trust",
                                    pki / "est-ca.pem", "--out", out, "--key-out", key_out, *options, operation, check=False)
            record = records[-1]
            if record["ok"]:
                made = serialization.load_pem_private_key(key_out.read_bytes(), None)
                assert spki(made.public_key()) == spki(x509.load_pem_x509_certificate(out.read_bytes()).public_key())
            else:
                assert not out.exists() and not key_out.exists()
            return record

        return ask_device

    return start


@pytest.fixture
def kek(tmp_path):
    file = tmp_path / "kek"
    file.write_text(KEK)
    return file


@pytest.mark.parametrize("operation", ["skg", "skc"])
@pytest.mark.parametrize("options", [[], ["--pop", "--block-size", "64"], ["--accept", "62", "--block-size", "256", "--ask-size"]])
def test_plain_keys(ask, operation, options):
    """SKG-1, MP-1, MP-2: with and without PoP, in blocks of any size."""
    record = ask({})(operation, *options)
    assert record["ok"], record
    assert record["code"] == "2.04" and record["content_format"] == 62 and record["key_format"] == 284 and record["verified"]


@pytest.mark.parametrize("operation", ["skg", "skc"])
def test_a_key_that_is_approved_by_hand(ask, operation):
    """DLY-3, SKG-5: 5.03 with Max-Age, and at the repetition the key that the registrar has made."""
    words = "approve-attempts-2.retry-1"
    record = ask({"server_keygen": "local", "labels": [words]})(operation, "--label", words, "--attempts", "3")
    assert record["ok"] and record["attempts"] == 2, record


@pytest.mark.parametrize("words", ["certificate-first", "libest", "key-sec1", "key-pkcs1", "preamble.multipart-lf", "with-ca"])
def test_plain_keys_of_every_kind_of_server(ask, words):
    """MP-3: strictly PKCS#8 and multipart-core, whatever came from the EST server."""
    ask_device = ask({"labels": [words]})
    for operation in ("skg", "skc"):
        record = ask_device(operation, "--label", words)
        assert record["ok"] and record["key_format"] == 284, record


def test_protected_keys_are_relayed(ask, kek):
    """MP-5, MP-7: the EST server's CMS opens; a plain key is not delivered in its place."""
    ask_device = ask({"labels": ["key-cms"]})
    wish = ["--want-encrypted", f"kek:{b'kek'.hex()}", "--decrypt-key", kek]
    for operation in ("skg", "skc"):
        record = ask_device(operation, "--label", "key-cms", *wish)
        assert record["ok"] and record["key_format"] == 280 and record["key_recipient"] == "kekri", record
        assert record["key_signer_verified"]
        assert ask_device(operation, *wish)["code"] == "5.02"


# Keys that the registrar makes and protects itself (SKG-5, SKG-7).

@pytest.fixture
def local(ask, pki, tmp_path):
    """A registrar with the keys of devices: KEKs 01 (128 bits), 02 (256), certificates 11 (P-256), 12 (RSA), public key 13 (P-384)."""
    folder, private = tmp_path / "keys", tmp_path / "private"
    folder.mkdir(mode=0o750)
    private.mkdir()
    for name, digits in (("01", KEK), ("02", KEK + KEK[::-1])):
        (folder / f"{name}.key").write_text(digits + "\n")
        (folder / f"{name}.key").chmod(0o600)
    for name, algorithm in (("11", ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]), ("12", ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
                            ("13", ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"])):
        run(["openssl", "genpkey", "-algorithm", *algorithm, "-out", private / f"{name}.key"])
        run(["openssl", "req", "-x509", "-key", private / f"{name}.key", "-subj", "/CN=device", "-out", private / f"{name}.pem"])
        public = (private / f"{name}.pem").read_bytes()
        if name == "13":
            public = run(["openssl", "pkey", "-in", private / f"{name}.key", "-pubout"]).stdout
        (folder / f"{name}.pem").write_bytes(public)
    return ask({"server_keygen": "local", "key_directory": str(folder)}), folder, private


def test_keys_of_the_registrar_are_protected(local):
    """SKG-7, SKG-8: kekri, ktri and kari; signed by the registrar, opened by the device."""
    ask_device, folder, private = local
    for wish, decrypt, recipient in (
            ("kek:01", ["--decrypt-key", folder / "01.key"], "kekri"), ("kek:02", ["--decrypt-key", folder / "02.key"], "kekri"),
            ("ski:11", decrypt_with(private, "11"), "kari"), ("ski:12", decrypt_with(private, "12"), "ktri"),
            ("ski:13", decrypt_with(private, "13"), "kari")):
        for operation in ("skg", "skc"):
            record = ask_device(operation, "--want-encrypted", wish, *decrypt)
            assert record["ok"] and record["key_format"] == 280 and record["key_recipient"] == recipient, record
            assert record["key_signer_verified"] and record["key_signer"]["subject"].startswith("CN=Estuary registrar")


def decrypt_with(private, name):
    return ["--decrypt-cert", private / f"{name}.pem", "--decrypt-private-key", private / f"{name}.key"]


@pytest.mark.parametrize("options, codes", [
    (["--want-encrypted", "kek:99"], {"4.03"}),
    (["--want-encrypted", "ski:01"], {"4.03"}),
    (["--want-encrypted", "kek:01", "--smime-capabilities", "id-aes256-wrap"], {"4.00", "4.03"}),
    (["--want-encrypted", "kek:01", "--smime-capabilities", "id-aes128-wrap,id-aes128-GCM"], {"4.00", "4.03"}),
    (["--want-encrypted", "ski:12", "--smime-capabilities", "id-aes128-wrap"], {"4.00", "4.03"}),
    (["--want-encrypted", "kek:01", "--smime-capabilities", "none"], {"4.00"}),
    (["--want-encrypted", "ski:11", "--smime-capabilities", "none"], {"4.00"}),
    (["--want-encrypted", "kek:01,ski:11"], {"4.00"}),
])
def test_what_the_registrar_cannot_protect_it_does_not_send(local, est_server, options, codes):
    """SKG-3, SKG-7: an error, and nothing is asked of the EST server."""
    ask_device, _, _ = local
    for operation in ("skg", "skc"):
        assert ask_device(operation, *options)["code"] in codes
    assert not [r for r in est_server.stats()["log"] if "enroll" in r["path"]]


def test_capabilities_alone_bring_a_plain_key(local):
    """SKG-3."""
    ask_device, _, _ = local
    assert ask_device("skg", "--smime-capabilities", "id-aes128-wrap")["key_format"] == 284
    assert ask_device("skc")["key_format"] == 284
