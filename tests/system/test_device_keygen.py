"""est-device asks for keys that it does not make itself: an independent judge of /skg and /skc (RFC 9148 section 4.8)."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from enrolment import spki
from programs import est_device

BOTH = {"skg": True, "skc": True}
KEK = "000102030405060708090a0b0c0d0e0f"


@pytest.fixture
def ask(start_registrar, pki, tmp_path):
    """Starts a registrar; gives a function that runs est-device against it."""

    def start(est):
        registrar = start_registrar({"est": {**BOTH, **est}})
        certificate, key = pki.device("keyless")

        def run(operation, *options):
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

        return run

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


@pytest.mark.parametrize("words", ["certificate-first", "libest", "key-sec1", "key-pkcs1", "preamble.multipart-lf", "with-ca"])
def test_plain_keys_of_every_kind_of_server(ask, words):
    """MP-3: strictly PKCS#8 and multipart-core, whatever came from the EST server."""
    run = ask({"labels": [words]})
    for operation in ("skg", "skc"):
        record = run(operation, "--label", words)
        assert record["ok"] and record["key_format"] == 284, record


def test_protected_keys_are_relayed(ask, kek):
    """MP-5, MP-7: the EST server's CMS opens; a plain key is not delivered in its place."""
    run = ask({"labels": ["key-cms"]})
    wish = ["--want-encrypted", f"kek:{b'kek'.hex()}", "--decrypt-key", kek]
    for operation in ("skg", "skc"):
        record = run(operation, "--label", "key-cms", *wish)
        assert record["ok"] and record["key_format"] == 280 and record["key_recipient"] == "kekri", record
        assert record["key_signer_verified"]
        assert run(operation, *wish)["code"] == "5.02"
