"""A network that loses, repeats and reorders: every device gets its certificate, and the EST server issues one for each."""

import concurrent.futures

import pytest

from programs import est_device
from relay import Relay

DEVICES = 12
ATTEMPTS = 5


@pytest.mark.parametrize("loss, duplicate, reorder", [(0.10, 0.05, 0.05), (0.30, 0.05, 0.05)])
def test_every_device_enrols_exactly_once(start_registrar, est_server, pki, tmp_path, loss, duplicate, reorder):
    """Loss in both directions; devices repeat the identical CSR at most five times (DLY-2, DLY-4, TX-1)."""
    registrar = start_registrar({"dtls": {"retransmit_timeout_ms": 300}, "coap": {"separate_after_ms": 200}, "est": {"att": False}})
    for number in range(DEVICES):
        pki.device(f"lossy{number}")

    def enrol(relay, number):
        certificate, key = pki.device(f"lossy{number}")
        return est_device("--server", f"127.0.0.1:{relay.address[1]}", "--certificate", certificate, "--key", key,
                          "--trust", pki / "est-ca.pem", "--ack-timeout-ms", "200", "--max-retransmit", "6", "--handshake-retransmit", "11", "--attempts", str(ATTEMPTS),
                          "--max-wait", "2", "--block-size", "256", "--out", tmp_path / f"{number}.pem", "sen",
                          check=False, timeout=240)

    with Relay(registrar.address, seed=20260131, loss=loss, duplicate=duplicate, reorder=reorder) as relay:
        with concurrent.futures.ThreadPoolExecutor(DEVICES) as pool:
            results = list(pool.map(lambda number: enrol(relay, number), range(DEVICES)))
        assert relay.lost > 0
    failed = [(number, result.stdout, result.stderr) for number, (_, result) in enumerate(results) if result.returncode]
    assert not failed
    issued = est_server.stats()["issued"]
    assert sorted(i["subject"] for i in issued) == sorted({i["subject"] for i in issued})
    assert len(issued) == DEVICES
