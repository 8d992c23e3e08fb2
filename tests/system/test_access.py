"""Who may enrol for what: rules, a file of serial numbers, labels, a webhook (DTLS-10, URI-4, RE-7, RE-8, RA-3)."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import coap
import programs
import pytest
from cryptography import x509
from webhook import ALLOW, DENY, Webhook

from enrolment import certificates, enrol, get, is_for, join_domain, make_csr, path, subject

REFUSED = b"the access rules refuse this"


def access(*rules, default="allow", file=""):
    return {"access": {"rules": list(rules), "default": default, "file": str(file)}}


def rule(action, name=None, allow_san=None, csr_identity=None, **match):
    keys = {"match": match, "action": action, "name": name, "allow_san": allow_san, "csr_identity": csr_identity}
    return {key: value for key, value in keys.items() if value is not None}


def assert_refused(est_server, registrar, response, by, diagnostic=REFUSED):
    """4.03, told why, the rule in the log, and not one request that reached the EST server."""
    assert (response.status, response.payload) == ("4.03", diagnostic)
    assert not est_server.stats()["log"]
    registrar.program.wait_for(f'rule="{by}".* code=4.03'.replace("[", r"\[").replace("]", r"\]"))


def assert_enrolled(est_server, pki, peer, device="meter", **more):
    """One certificate, and one request for it."""
    csr = make_csr(pki, device)
    before = len(est_server.stats()["issued"])
    response, body = enrol(peer, csr, **more)
    assert response.status == "2.04", response.payload
    assert is_for(certificates(body)[0], csr)
    assert len(est_server.stats()["issued"]) == before + 1


def test_each_condition(start_registrar, connect, est_server, pki):
    """DTLS-10: every field, exact and with wildcards; the first rule that holds decides; what is denied goes nowhere."""
    certificate, _ = pki.device("scales", None, "--san", "dns:scales.example,ip:192.0.2.7,uri:urn:dev:7")
    issued = x509.load_pem_x509_certificate(certificate.read_bytes())
    authority = issued.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier.hex()
    own = issued.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    issuer = issued.issuer.rfc4514_string()
    fields = [
        ({"subject": "serialNumber=SN-scales,CN=scales,O=Example"}, {"subject": "serialNumber=SN-scales,CN=scales"}),
        ({"subject": "*,CN=scales,*"}, {"subject": "*,CN=scale,*"}),
        ({"serial_number": ["SN-other", "SN-scales"]}, {"serial_number": ["SN-scale", "SN-scaless"]}),
        ({"serial_number": "SN-?cales"}, {"serial_number": "SN-scales?"}),
        ({"san": "dns:SCALES.example"}, {"san": "dns:cales.example"}),
        ({"san": "ip:192.0.2.*"}, {"san": "ip:192.0.3.*"}),
        ({"san": "uri:urn:dev:7"}, {"san": "email:*"}),
        ({"issuer": issuer}, {"issuer": issuer + "x"}),
        ({"authority_key_identifier": authority.upper()}, {"authority_key_identifier": own}),
        ({"subject_key_identifier": own[:8] + "*"}, {"subject_key_identifier": authority}),
        ({"trust": "manufacturer"}, {"trust": "domain"}),
        ({"operation": "sen"}, {"operation": ["sren", "skg", "crts"]}),
        ({"label": ""}, {"label": "?*"}),
        ({"trust": "manufacturer", "serial_number": "SN-scales"}, {"trust": "domain", "serial_number": "SN-scales"}),
    ]
    registrar = start_registrar()
    peer = connect(registrar, "scales")
    csr = make_csr(pki, "scales")
    for number, (fits, other) in enumerate(fields):
        registrar.reload(access(rule("allow", **other), rule("deny", f"no-{number}", **fits), rule("allow", **fits)))
        assert_refused(est_server, registrar, enrol(peer, csr)[0], f"no-{number}")
    for fits, other in fields[::5]:
        registrar.reload(access(rule("deny", **other), rule("allow", **fits), rule("deny", **fits), default="deny"))
        assert_enrolled(est_server, pki, peer, "scales")
    assert registrar.counters()["access_denied"] == len(fields)


def test_default_and_gets(start_registrar, connect, est_server, pki):
    """What no rule decides is left to access.default; /crts and /att are refused only where a rule names them."""
    registrar = start_registrar(access(rule("allow", trust="domain"), default="deny"))
    peer, member = connect(registrar), connect(registrar, join_domain(pki))
    csr = make_csr(pki)
    assert_refused(est_server, registrar, enrol(peer, csr)[0], "access.default")
    assert get(peer, "crts")[0].status == "2.05"
    assert get(peer, "att")[0].status == "2.05"
    assert_enrolled(est_server, pki, member, "member", operation="sren")

    est_server.reset()
    registrar.reload(access(rule("deny", operation="crts")))
    assert_refused(est_server, registrar, get(peer, "crts")[0], "access.rules[0]")
    assert get(peer, "att")[0].status == "2.05"
    est_server.reset()
    registrar.reload(access(rule("deny", "out", operation="*", serial_number="SN-meter")))
    for operation in ("crts", "att"):
        assert_refused(est_server, registrar, get(peer, operation)[0], "out")
    assert_refused(est_server, registrar, enrol(peer, csr)[0], "out")
    assert get(member, "crts")[0].status == "2.05"

    est_server.reset()
    registrar.reload(access(rule("deny", "one certificate each", operation="sen", trust="domain")))  # RE-5
    assert_refused(est_server, registrar, enrol(member, make_csr(pki, "member"))[0], "one certificate each")
    assert_enrolled(est_server, pki, member, "member", operation="sren")
    assert_enrolled(est_server, pki, peer)


def test_a_file_of_serial_numbers(start_registrar, connect, est_server, pki, tmp_path):
    """Twenty thousand of them, exchanged by SIGHUP; a file with a mistake changes nothing."""
    serials = tmp_path / "serials"
    lot = "".join(f"allow LOT-{number:06}\n" for number in range(20000))
    serials.write_text(f"# inventory\n{lot}allow SN-meter # ours\ndeny SN-valve\n")
    rules = access(rule("deny", "recalled", serial_number="LOT-000007"), default="deny", file=serials)
    registrar = start_registrar({"watch_interval_ms": 0, **rules})
    meter, valve, other = connect(registrar), connect(registrar, "valve"), connect(registrar, "other-device")
    recalled = connect(registrar, "recalled", "LOT-000007")
    assert_refused(est_server, registrar, enrol(valve, make_csr(pki, "valve"))[0], "access.file")
    assert_refused(est_server, registrar, enrol(other, make_csr(pki, "other-device"))[0], "access.default")
    csr = make_csr(pki, "recalled", subject_name=subject("recalled", "LOT-000007"))
    assert_refused(est_server, registrar, enrol(recalled, csr)[0], "recalled")
    assert_enrolled(est_server, pki, meter)

    serials.write_text("allow SN-valve\nSN-meter\ndeny\nallow SN-x")
    said = registrar.reload(refused=True)
    for number in (2, 3, 4):
        assert sum(f'"{serials}", line {number}: ' in line for line in said) == 1, said
    assert_enrolled(est_server, pki, meter)
    serials.write_text("allow SN-valve\ndeny SN-meter\n")
    registrar.reload()
    est_server.reset()
    assert_refused(est_server, registrar, enrol(meter, make_csr(pki))[0], "access.file")
    assert_enrolled(est_server, pki, valve, "valve")


def test_labels(start_registrar, connect, est_server, pki):
    """URI-4, RA-3: a label without a rule that names it is refused to everybody; one may have a path of its own upstream."""
    labels = ["tag-p1", {"name": "p2", "upstream_path": "/.well-known/est/tag-other"}, {"name": "nobody's"}]
    rules = [rule("allow", "general", trust="manufacturer"), rule("allow", "one", label="tag-p?", trust="domain"), rule("allow", label="p2")]
    registrar = start_registrar({"est": {"labels": labels}, **access(*rules[1:])})
    registrar.program.wait_for(r"""est.labels: \\?"nobody's\\?" is refused to everybody""")
    peer, member = connect(registrar), connect(registrar, join_domain(pki))
    csr = make_csr(pki)
    assert_refused(est_server, registrar, enrol(peer, csr, label_name="nobody's")[0], "no rule for the label")
    assert_refused(est_server, registrar, get(peer, "crts", "nobody's")[0], "no rule for the label")
    assert_refused(est_server, registrar, enrol(peer, csr, label_name="tag-p1")[0], "no rule for the label and the device")
    assert_enrolled(est_server, pki, member, "member", label_name="tag-p1")
    assert_enrolled(est_server, pki, peer, label_name="p2")
    assert get(peer, "crts", "p2")[0].status == "2.05"
    assert [record["path"] for record in est_server.stats()["log"]] == [
        "/.well-known/est/tag-p1/simpleenroll", "/.well-known/est/tag-other/simpleenroll", "/.well-known/est/tag-other/cacerts"]
    est_server.reset()
    registrar.reload(access(*rules[:2]))
    assert_refused(est_server, registrar, enrol(peer, csr, label_name="p2")[0], "no rule for the label")
    assert_enrolled(est_server, pki, peer, label_name="tag-p1")


def test_the_order_of_the_checks(start_registrar, connect, est_server, pki, tmp_path):
    """docs/security.md: a request that is wrong in every way hears of one thing after the other, and nothing goes upstream before all is well.
    From the rules on each refusal is one record of the log, with what the device heard."""
    service, label = Webhook(socket_path=tmp_path / "decide"), "tag-p1"
    try:
        service.say(DENY)
        registrar = start_registrar({"est": {"labels": [label]}, **asking(service, pki)})
        registrar.reload({"access": {"rules": []}})
        peer = connect(registrar)

        def ask(body, where=("sren", label), accept=281, content_format=286):
            options = [(coap.ACCEPT, coap.uint(accept)), (coap.CONTENT_FORMAT, coap.uint(content_format))]
            answer, _ = peer.post_blocks(path(*where), body, 5, options)
            return answer.status, answer.payload

        wrong_proof = ["--challenge-password", "AAAAAAAAAAAAAAAA", "--ca-true"]
        proof = ["--challenge-password", base64.b64encode(peer.dtls.tls_unique()).decode()]
        assert ask(b"no CSR", ("sren", "unlisted"), 60, 0) == ("4.04", b"")
        assert ask(b"no CSR", ("sren", label), 60, 0) == ("4.06", b"")
        assert ask(b"no CSR", ("sren", label), 281, 0) == ("4.15", b"")
        heard = [ask(b"no CSR")]
        registrar.reload(asking(service, pki))
        heard += [ask(b"no CSR"), ask(make_csr(pki, "meter", *wrong_proof)), ask(make_csr(pki, "meter", *proof, "--ca-true")),
                  ask(make_csr(pki, "meter", *proof, "--ca-true"), ("sen", label)), ask(make_csr(pki, "meter", *proof), ("sen", label))]
        assert [status for status, _ in heard] == ["4.03", "4.00", "4.01", "4.03", "4.03", "4.03"], heard
        assert heard[0][1] == REFUSED and heard[2][1].startswith(b"PoP linking") and b"use /sen" in heard[3][1] and heard[5][1] == b"not on our list"
        assert len(service.questions) == 1 and not est_server.stats()["log"]
        service.say(ALLOW)
        assert ask(make_csr(pki, "meter", *proof), ("sen", label))[0] == "2.04"
        registrar.program.wait_for(" code=2.04 ")
        records = [line for line in registrar.program.lines if line and " client=" in line and " code=" in line]
        assert len(records) == len(heard) + 1
        for (status, diagnostic), record in zip(heard, records):
            assert f" code={status} " in record and f'diagnostic="{diagnostic.decode()}"' in record.replace("\\", ""), record
    finally:
        service.stop()


def test_what_a_rule_allows_in_the_csr(start_registrar, connect, est_server, pki):
    """RE-8: subjectAltNames of the client certificate or allowed by a rule, and the rule's csr_identity; RE-7 whatever a rule says."""
    registrar = start_registrar(access(rule("allow", allow_san=["dns:*.meters.example"], csr_identity="any", serial_number="SN-meter")))
    peer, valve = connect(registrar), connect(registrar, "valve")
    for san in ("dns:a.meters.example,dns:b.example", "dns:meters.example", "dns:*.meters.example", "uri:x.meters.example"):
        registrar.reload(access(rule("allow", allow_san=["dns:*.meters.example"])))
        response = enrol(peer, make_csr(pki, "meter", "--san", san))[0]
        assert (response.status, response.payload) == ("4.03", b"the CSR has a subjectAltName that the client certificate has not")
    assert not est_server.stats()["log"]
    assert enrol(peer, make_csr(pki, "meter", "--san", "dns:a.meters.example"))[0].status == "2.04"

    est_server.reset()
    registrar.reload(access(rule("allow", csr_identity="any", serial_number="SN-meter")))
    assert enrol(peer, make_csr(pki, "meter", subject_name="/CN=whoever"))[0].status == "2.04"
    for wish in (["--ca-true"], ["--key-usage", "keyCertSign"], ["--eku", "1.3.6.1.5.5.7.3.28"]):
        assert enrol(peer, make_csr(pki, "meter", *wish))[0].status == "4.03"
    assert enrol(valve, make_csr(pki, "valve", subject_name="/CN=whoever"))[0].status == "4.03"
    assert len(est_server.stats()["log"]) == 1


@pytest.fixture(params=["https", "unix"])
def service(request, pki, tmp_path):
    one = Webhook(pki) if request.param == "https" else Webhook(socket_path=tmp_path / "decide")
    yield one
    one.stop()


OVER_ONE = pytest.mark.parametrize("service", ["https"], indirect=True)  # where the transport changes nothing


def asking(service, pki, *rules, **webhook):
    """Asks about everybody whom rules do not decide."""
    rules = [*rules, rule("ask", "inventory", label=["", "?*"])]
    return {"access": {"rules": rules, "webhook": {"url": service.url, "trust": [str(pki / "est-ca.pem")], **webhook}}}


def test_the_webhook_decides(start_registrar, connect, est_server, pki, service):
    """What it is told, without secrets; allow and deny; not about what the rules or the CSR's checks refuse."""
    registrar = start_registrar({"est": {"labels": ["tag-p1"]}, **asking(service, pki, rule("deny", serial_number="SN-valve"))})
    pki.device("scales", None, "--san", "dns:scales.example,ip:192.0.2.7,uri:urn:dev:7")
    peer, valve = connect(registrar, "scales"), connect(registrar, "valve")
    assert enrol(peer, make_csr(pki, "scales", "--san", "dns:scales.example"), label_name="tag-p1")[0].status == "2.04"
    question = service.questions[0]
    assert question["request"] == "access" and question["rule"] == "inventory"
    assert (question["operation"], question["label"]) == ("sen", "tag-p1")
    assert question["device"]["subject"] == "serialNumber=SN-scales,CN=scales,O=Example"
    assert question["device"]["serial_numbers"] == ["SN-scales"] and question["device"]["trust"] == "manufacturer"
    assert question["device"]["san"] == ["dns:scales.example", "ip:192.0.2.7", "uri:urn:dev:7"]
    assert question["csr"] == {"subject": question["device"]["subject"], "san": ["dns:scales.example"], "changes_name": False}
    assert service.headers[0]["Content-Type"] == "application/json"
    assert len(est_server.stats()["log"]) == 1

    est_server.reset()
    service.say(DENY)
    assert_refused(est_server, registrar, enrol(peer, make_csr(pki, "scales"))[0], "inventory", b"not on our list")
    service.say(b'{"decision": "deny"}')
    assert_refused(est_server, registrar, enrol(peer, make_csr(pki, "scales"))[0], "inventory", b"the webhook refuses this")
    service.say(b'{"decision": "deny", "reason": "a\\nb\xc3\xa4' + 200 * b"x" + b'"}')
    assert enrol(peer, make_csr(pki, "scales"))[0].payload == b"a?b??" + 123 * b"x"
    assert len(service.questions) == 4
    assert enrol(peer, make_csr(pki, "scales", "--ca-true"))[0].status == "4.03"
    assert enrol(valve, make_csr(pki, "valve"))[0].status == "4.03"
    assert get(peer, "crts")[0].status == "2.05"
    assert len(service.questions) == 4 and not [r for r in est_server.stats()["log"] if r["method"] == "POST"]


@OVER_ONE
def test_a_question_has_no_secret(start_registrar, connect, est_server, pki, service):
    registrar = start_registrar({"est": {"pop": "lenient-nonbase64"}, **asking(service, pki)})
    assert enrol(connect(registrar), make_csr(pki, "meter", "--challenge-password", "no base64: secret!"))[0].status == "2.04"
    assert len(service.questions) == 1 and "secret" not in str(service.questions) and "secret" not in str(service.headers)


@OVER_ONE
def test_unusable_answers(start_registrar, connect, est_server, pki, service):
    """Closed: 5.03 with Max-Age for whatever is no decision, and nothing goes upstream."""
    registrar = start_registrar({"est": {"retry_after_s": 33}, **asking(service, pki)})
    peer = connect(registrar)
    answers = [(200, b""), (200, b"yes"), (200, b'{"decision": "maybe"}'), (200, b'{"decision": true}'), (200, b'["allow"]'), (200, b'"allow"'),
               (200, ALLOW + b"x"), (200, b'{"decision": "allow", "decision": "deny"}'), (500, ALLOW), (204, b""), (201, ALLOW), (302, ALLOW),
               (200, ALLOW + 5000 * b" "), (None, b"")]
    for status, body in answers:
        service.say(body, status, {"Location": service.url})
        response = enrol(peer, make_csr(pki))[0]
        assert (response.status, response.number(coap.MAX_AGE)) == ("5.03", 33), (status, body)
    service.say(ALLOW, 200, {f"X-{number}": 4000 * "x" for number in range(6)})
    assert enrol(peer, make_csr(pki))[0].status == "5.03"
    assert not est_server.stats()["log"]
    assert registrar.counters()["webhook_failed"] == len(answers) + 1
    service.say(ALLOW)
    assert_enrolled(est_server, pki, peer)


@OVER_ONE
def test_a_slow_webhook(start_registrar, connect, est_server, pki, service):
    """Other devices go on meanwhile; so many questions at a time, so many wait; after its deadline the device is told to come back."""
    terms = {"max_connections": 1, "queue": 1}
    registrar = start_registrar(asking(service, pki, rule("allow", serial_number="SN-valve"), **terms, timeout_ms=15000))
    valve = connect(registrar, "valve")
    names = ["slow-1", "slow-2", "slow-3"]
    peers = {name: connect(registrar, name) for name in names}
    service.go.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(enrol, peers["slow-1"], make_csr(pki, "slow-1"))
        service.wait_for_questions(1)
        second = pool.submit(enrol, peers["slow-2"], make_csr(pki, "slow-2"))
        assert_enrolled(est_server, pki, valve, "valve")
        registrar.await_counter("webhook_asked", 2)
        assert enrol(peers["slow-3"], make_csr(pki, "slow-3"))[0].status == "5.03"  # one more than may wait
        registrar.program.wait_for("did not decide about .*slow-3.*: it takes no more questions")
        service.go.set()
        assert first.result()[0].status == second.result()[0].status == "2.04"
    assert len(est_server.stats()["issued"]) == 3
    service.go.clear()
    registrar.reload(asking(service, pki, **terms, timeout_ms=500))
    assert enrol(peers["slow-3"], make_csr(pki, "slow-3"))[0].status == "5.03"
    registrar.await_counter("webhook_failed", 2)
    assert sum("did not decide" in line for line in registrar.program.lines) == 1  # the second within ten seconds
    assert len(est_server.stats()["issued"]) == 3
    service.go.set()
    registrar.reload(asking(service, pki, **terms, timeout_ms=15000))
    for name in names:
        assert_enrolled(est_server, pki, peers[name], name)


def test_no_webhook(start_registrar, connect, est_server, pki, service):
    """Nobody there: closed, 5.03; open, all are allowed, and the registrar says so."""
    closed = start_registrar(asking(service, pki))
    opened = start_registrar(asking(service, pki, fail="open"))
    opened.program.wait_for(r'access.webhook.fail: \\?"open\\?" lets everybody enrol')
    service.stop()
    assert enrol(connect(closed), make_csr(pki))[0].status == "5.03"
    assert not est_server.stats()["log"]
    assert_enrolled(est_server, pki, connect(opened))
    opened.program.wait_for("the webhook did not decide about .*, which is allowed")


def test_a_webhook_starts_anew(start_registrar, connect, est_server, pki, tmp_path):
    """A kept connection that has gone stale costs no device its certificate."""
    for round in range(2):
        service = Webhook(socket_path=tmp_path / "decide")
        try:
            if round == 0:
                peer = connect(registrar := start_registrar(asking(service, pki)))
            assert_enrolled(est_server, pki, peer)
            assert_enrolled(est_server, pki, peer)
            assert len(service.questions) == 2
        finally:
            service.stop()
    assert registrar.counters()["webhook_failed"] == 0


def test_a_webhook_that_is_not_trusted(start_registrar, connect, est_server, pki):
    """No question is put to who has no certificate of access.webhook.trust for the host of the URL."""
    service = Webhook(pki)
    try:
        stranger = start_registrar(asking(service, pki, trust=[str(pki / "manufacturer-ca.pem")]))
        renamed = start_registrar(asking(service, pki, url=service.url.replace("localhost", "127.0.0.2")))
        for registrar in (stranger, renamed):
            assert enrol(connect(registrar), make_csr(pki))[0].status == "5.03"
        assert not service.questions and not est_server.stats()["log"]
    finally:
        service.stop()


def test_a_thousand_rules(start_registrar, connect, est_server, pki, tmp_path):
    """As many as there may be: the last decides, and --print-config gives them all back."""
    rules = [rule("deny", f"rule {number}", subject=[f"CN=a{number}*", "*b"], san=f"uri:urn:{number}:*") for number in range(999)]
    registrar = start_registrar(access(*rules, rule("allow", serial_number="SN-meter"), default="deny"))
    assert_enrolled(est_server, pki, connect(registrar))
    printed = programs.run([programs.REGISTRAR, "--config", registrar.config, "--print-config"]).stdout
    copy = tmp_path / "copy.json"
    copy.write_bytes(printed)
    assert programs.run([programs.REGISTRAR, "--config", copy, "--check-config"]).returncode == 0
    assert printed == programs.run([programs.REGISTRAR, "--config", copy, "--print-config"]).stdout
    assert len(json.loads(printed)["access"]["rules"]) == 1000
    registrar.settings["access"]["rules"].append(rule("deny"))
    assert any("access.rules: a list is too long" in line for line in registrar.reload(refused=True))


def test_what_asks_needs_a_webhook(start_registrar, connect, est_server, pki, tmp_path):
    """A configuration that asks nobody is refused, at start and by SIGHUP."""
    config = tmp_path / "registrar.json"
    registrar = start_registrar()
    said = registrar.reload(access(default="ask"), refused=True)
    assert any('access.default: "ask" asks nobody; give access.webhook.url' in line.replace("\\", "") for line in said), said
    config.write_text(registrar.config.read_text())
    result = programs.run([programs.REGISTRAR, "--config", config, "--check-config"], check=False)
    assert result.returncode == 1 and b'access.default: "ask" asks nobody' in result.stderr
    assert_enrolled(est_server, pki, connect(registrar))
