"""What the policy commands print, and how they exit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner, Result

from policies.request import EndpointName
from policies.sections import Sections
from server.clock import system_clock
from server.commands.policy import app
from server.commands.question import UnanswerableQuestion, read_certificate, read_csr, request_for

if TYPE_CHECKING:
    from pathlib import Path


def run(folder: Path, *words: object) -> Result:
    command, *rest = map(str, words)
    return CliRunner().invoke(app, [command, *rest, "--config", str(folder / "server.yaml")], env={"COLUMNS": "200"})


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def csr(
    path: Path, subject: str = "CN=sensor-17", *names: str, ca: bool = False, encoding: Encoding = Encoding.PEM
) -> Path:
    builder = x509.CertificateSigningRequestBuilder(x509.Name.from_rfc4514_string(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    path.write_bytes(signed.public_bytes(encoding))
    return path


def test_check_names_every_file_with_its_profiles(folder: Path) -> None:
    result = run(folder, "check")
    assert result.exit_code == 0
    assert "iot-device.yaml: 11 tests pass" in result.stdout
    assert "    network-device: for scep/*, signed by issuing" in result.stdout
    assert "3 profiles, digest " in result.stdout


def test_check_of_one_file_looks_at_no_other(folder: Path) -> None:
    edit(folder / "policies" / "tls-server.yaml", "version: 1", "version: 2")
    result = run(folder, "check", folder / "policies" / "iot-device.yaml")
    assert result.exit_code == 0
    assert "1 profiles" in result.stdout


def test_check_works_without_a_deployment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["check", str(folder / "policies")])
    assert result.exit_code == 0


def test_a_deployment_in_the_usual_place_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(app, ["check"]).exit_code == 0


def test_check_says_everything_that_is_wrong_in_all_files(folder: Path) -> None:
    edit(folder / "policies" / "iot-device.yaml", "endpoints:", "endpoint:")
    edit(folder / "policies" / "tls-server.yaml", "[account]", "[acount]")
    result = run(folder, "check")
    assert result.exit_code == 2
    assert 'unknown key "endpoint"; did you mean "endpoints"?' in result.stderr
    assert '"acount" is no kind of evidence' in result.stderr


def test_check_refuses_a_file_whose_tests_fail(folder: Path) -> None:
    edit(folder / "policies" / "tls-server.yaml", "lifetime: 90d", "lifetime: 1d")
    result = run(folder, "check")
    assert result.exit_code == 2
    assert 'test "two names of one order" fails' in result.stderr


def test_check_says_when_a_file_has_no_tests(folder: Path) -> None:
    path = folder / "policies" / "tls-server.yaml"
    path.write_text(path.read_text(encoding="utf-8").partition("\ntests:")[0], encoding="utf-8")
    assert "tls-server.yaml: no tests inside" in run(folder, "check").stdout


def test_check_says_when_an_issuer_can_not_be_read(folder: Path) -> None:
    (folder / "ca" / "issuing.pem").unlink()
    result = run(folder, "check")
    assert result.exit_code == 2
    assert "can't be read" in result.stderr


def test_test_prints_each_test(folder: Path) -> None:
    result = run(folder, "test")
    assert result.exit_code == 0
    assert "✓ a sub-CA in disguise" in result.stdout
    assert "29 of 29 tests pass" in result.stdout


def test_test_shows_what_fails_and_exits_with_one(folder: Path) -> None:
    edit(folder / "policies" / "tls-server.yaml", "lifetime: 90d", "lifetime: 1d")
    result = run(folder, "test")
    assert result.exit_code == 1
    assert "✗ two names of one order" in result.stdout
    assert "expected a lifetime of 1d, it is 90d" in result.stdout
    assert "28 of 29 tests pass" in result.stdout


def test_test_stops_at_a_file_that_can_not_be_read(folder: Path) -> None:
    assert run(folder, "test", folder / "nowhere.yaml").exit_code == 2


def test_explain_shows_what_was_asked_for_and_what_comes(folder: Path, tmp_path: Path) -> None:
    path = csr(tmp_path / "a.csr", "CN=sensor-17", "sensor-17.test")
    result = run(folder, "explain", path, "--endpoint", "est/default", "--as", "sensor-17")
    assert result.exit_code == 0
    assert result.stdout.startswith("APPROVED\nprofile: iot-device   requester: password:sensor-17")
    assert "iot-device.yaml:" in result.stdout
    assert "ignored: extension tlsFeature" in result.stdout
    assert "digitalSignature" in result.stdout


def test_explain_shows_what_comes_from_outside_as_it_is_and_lets_it_steer_nothing(folder: Path, tmp_path: Path) -> None:
    path = csr(tmp_path / "a.csr", "CN=pump\u202e[/bold]")
    result = run(folder, "explain", path, "--endpoint", "est/default", "--as", "[/red]\x1b[31m")
    assert "requester: password:[/red]\N{REPLACEMENT CHARACTER}[31m" in result.stdout
    assert "\u202e" not in result.stdout


def test_explain_exits_with_one_and_every_reason_when_it_is_denied(folder: Path, tmp_path: Path) -> None:
    path = csr(tmp_path / "a.csr", "CN=sensor-17,L=here", "bank.invalid", ca=True, encoding=Encoding.DER)
    result = run(folder, "explain", path, "--endpoint", "scep/default", "--evidence", "password")
    assert result.exit_code == 1
    assert result.stdout.startswith("DENIED, for 4 reasons")
    for rule in ("evidence", "names.dns", "subject.L", "unused.powers"):
        assert rule in result.stdout


def test_explain_of_a_single_reason_is_in_the_singular(folder: Path, tmp_path: Path) -> None:
    path = csr(tmp_path / "a.csr", "CN=a", "bank.invalid")
    assert "DENIED, for 1 reason\n" in run(folder, "explain", path, "--endpoint", "est/default").stdout


def test_explain_shows_which_profiles_were_considered(folder: Path, tmp_path: Path) -> None:
    path = csr(tmp_path / "a.csr")
    result = run(folder, "explain", path, "--endpoint", "est/default", "--profile", "tls-server")
    assert result.exit_code == 1
    assert "considered: iot-device: tls-server was asked for" in result.stdout


def test_explain_shows_that_a_person_must_approve(folder: Path, tmp_path: Path) -> None:
    edit(
        folder / "policies" / "iot-device.yaml", "    issuer: issuing\n", "    issuer: issuing\n    approval: manual\n"
    )
    path = csr(tmp_path / "a.csr", "CN=a", "a.test")
    result = run(folder, "explain", path, "--endpoint", "est/default")
    assert result.exit_code == 0
    assert "DEFERRED: a person must approve" in result.stdout


def test_explain_judges_a_renewal(folder: Path, tmp_path: Path) -> None:
    path = csr(tmp_path / "a.csr", "CN=sensor-17")
    result = run(folder, "explain", path, "--endpoint", "est/default", "--renews", folder / "ca" / "issuing.pem")
    assert result.exit_code == 1
    assert "renewal.subject" in result.stdout
    assert "renewal.profile" in result.stdout


@pytest.mark.parametrize("evidence", ["password", "challenge", "account", "certificate", "possession"])
def test_explain_takes_every_kind_of_evidence(folder: Path, tmp_path: Path, evidence: str) -> None:
    path = csr(tmp_path / "a.csr")
    result = run(folder, "explain", path, "--endpoint", "est/default", "--evidence", evidence)
    assert f"requester: {evidence}:somebody" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.csr", "--endpoint", "est/default"], "can't be read: No such file"),
        (["a.csr", "--endpoint", "est"], "an endpoint is written protocol/label"),
        (["a.csr", "--endpoint", "est/default", "--evidence", "pasword"], 'did you mean "password"?'),
        (["a.csr", "--endpoint", "est/default", "--renews", "a.csr"], "a.csr: not a certificate"),
        (["damaged.csr", "--endpoint", "est/default"], "the PEM is damaged"),
        (["text.csr", "--endpoint", "est/default"], "not a"),
    ],
)
def test_a_question_that_makes_no_sense_exits_with_two(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    csr(tmp_path / "a.csr")
    (tmp_path / "damaged.csr").write_text("-----BEGIN CERTIFICATE REQUEST-----\nA\n-----END CERTIFICATE REQUEST-----\n")
    (tmp_path / "text.csr").write_text("hello")
    result = run(folder, "explain", *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_endpoint_with_an_unknown_profile_is_shown_at_its_place(folder: Path, tmp_path: Path) -> None:
    edit(folder / "server.yaml", "profiles: [iot-device]", "profiles: [iot-devise]")
    result = run(folder, "explain", csr(tmp_path / "a.csr"), "--endpoint", "est/default")
    assert result.exit_code == 2
    assert 'there is no profile "iot-devise"; did you mean "iot-device"?' in result.stderr
    assert result.stderr.startswith(str(folder / "server.yaml"))


def test_files_are_read_in_both_encodings(folder: Path, tmp_path: Path) -> None:
    pem = folder / "ca" / "issuing.pem"
    der = tmp_path / "issuing.der"
    der.write_bytes(x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(Encoding.DER))
    assert read_certificate(pem) == read_certificate(der)
    assert read_csr(csr(tmp_path / "a.csr")).subject == read_csr(csr(tmp_path / "b", encoding=Encoding.DER)).subject


def test_unknown_evidence_is_no_request(tmp_path: Path) -> None:
    request = read_csr(csr(tmp_path / "a.csr"))
    with pytest.raises(UnanswerableQuestion, match=r"known here|did you mean"):
        request_for(
            request,
            EndpointName.parse("est/a"),
            requester="a",
            evidence=["xyz"],
            renews=None,
            issued_under="",
            profile=None,
            now=system_clock(),
        )


def test_check_names_weak_spots_and_fails_on_them_where_wanted(folder: Path) -> None:
    assert "high: who may enroll here chooses the CN" in run(folder, "check").stdout
    assert run(folder, "check", "--fail-on", "high").exit_code == 1
    tls = folder / "policies" / "tls-server.yaml"
    assert run(folder, "check", tls, "--fail-on", "high").exit_code == 0


def test_outcomes_are_written_for_pipelines(folder: Path, tmp_path: Path) -> None:
    path = folder / "policies" / "iot-device.yaml"
    edit(path, "name: a public address", 'name: "an <odd> \\"name\\" \\u0001"')
    edit(path, "lifetime: 365d\n      key_usage", "lifetime: 30d\n      key_usage")
    assert run(folder, "test", "--junit", tmp_path / "out.xml").exit_code == 1
    suites = ET.parse(tmp_path / "out.xml").getroot()  # noqa: S314 - our own
    suite = suites.find(f"testsuite[@name='{path}']")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("11", "1")
    names = [case.get("name") for case in suite]
    assert 'an <odd> "name" \N{REPLACEMENT CHARACTER}' in names
    (failure,) = suite.iter("failure")
    assert "expected a lifetime of 30d" in (failure.get("message") or "")
    result = run(folder, "test", "--junit", tmp_path / "no" / "out.xml")
    assert (result.exit_code, "can't be written" in result.stderr) == (1, True)


def test_the_schema_knows_every_key_and_refuses_others(folder: Path) -> None:
    schema = json.loads(CliRunner().invoke(app, ["schema"]).stdout)
    assert schema["$schema"].endswith("2020-12/schema")
    sections = schema["$defs"]["Sections"]
    assert sections["additionalProperties"] is False
    assert set(sections["properties"]) == set(Sections.model_fields)
    assert {"endpoints", "issuer", "evidence", "key"} <= set(sections["required"])


def test_a_test_may_name_the_file_of_a_real_csr(folder: Path) -> None:
    path = folder / "policies" / "iot-device.yaml"
    csr(folder / "policies" / "sensor 17.csr", "CN=sensor-17", "sensor-17.example.com")
    csr(folder / "policies" / "google.der", "CN=x", "www.google.com", encoding=Encoding.DER)
    cases = """
  - name: a real sensor
    given: {endpoint: est/default, csr: sensor 17.csr}
    expect: {decision: approved, subject: CN=sensor-17, names: [dns:sensor-17.example.com]}
  - name: a real stranger
    given: {endpoint: est/default, csr: google.der}
    expect: {decision: denied, rules: [names.dns]}
"""
    path.write_text(path.read_text(encoding="utf-8") + cases, encoding="utf-8")
    assert "13 tests pass" in run(folder, "check").stdout
    (folder / "policies" / "google.der").write_bytes(b"\x30\x00")
    (folder / "policies" / "sensor 17.csr").unlink()
    result = run(folder, "check")
    assert result.exit_code == 2
    assert "sensor 17.csr can't be read" in result.stderr
    assert "google.der: " in result.stderr


def test_a_test_can_not_name_a_file_elsewhere(folder: Path) -> None:
    path = folder / "policies" / "iot-device.yaml"
    case = "\n  - {name: x, given: {endpoint: est/default, csr: ../server.yaml}, expect: {decision: denied}}\n"
    path.write_text(path.read_text(encoding="utf-8") + case, encoding="utf-8")
    assert run(folder, "check").exit_code == 2
