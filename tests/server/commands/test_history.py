"""The record asked again: diff, audit, and explaining a past request."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.csr import Csr, parse_csr
from policies.decision import Approved
from policies.request import EnrollmentRequest, Kind, PasswordEvidence, Requester
from server.app.status import addressing
from server.clock import system_clock
from server.commands.surroundings import Surroundings
from server.config import load_config
from server.store import Store, intents, requests, upgrade
from server.store.claims import Claim, Lease
from tests.fakes.door import HERE, Door
from tests.server.commands.test_policy import edit, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from policies.profile_set import ProfileSet

MANY = 2000
PLANTED = (17, 400, 999, 1311)
KEY = ec.generate_private_key(ec.SECP256R1())


def csr(subject: str, *names: str) -> Csr:
    builder = x509.CertificateSigningRequestBuilder(x509.Name.from_rfc4514_string(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
    return parse_csr(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER))


def ask(subject: str, *names: str) -> EnrollmentRequest:
    who = Requester("password:plant", (PasswordEvidence("plant"),), "192.0.2.7")
    return EnrollmentRequest(f"{subject} {names}", Kind.ENROLL, HERE, None, csr(subject, *names), who, system_clock())


def profiles_of(folder: Path) -> ProfileSet:
    surroundings = Surroundings.find(folder / "server.yaml")
    return surroundings.profiles(surroundings.files([]), selecting=True)


def with_store(folder: Path, work: Callable[[Store], object]) -> None:
    async def run_() -> None:
        store = await Store.open(f"sqlite+aiosqlite:///{folder / 'certwright.db'}")
        try:
            await work(store)  # type: ignore[misc] # a coroutine
        finally:
            await store.close()

    asyncio.run(run_())


def change(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "certwright.db")) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.fixture
def lived(folder: Path) -> Path:
    """A deployment that has issued two certificates, and refused one."""

    async def live(store: Store) -> None:
        amend = addressing(load_config(folder / "server.yaml"))
        assert amend is not None, "certificates say where their status is"
        door = Door(store, decide=profiles_of(folder).decide, amend=amend)
        door.now = system_clock()
        await door.submit(ask("CN=sensor-1", "sensor-1.example.com"))
        await door.submit(ask("CN=sensor-2", "sensor-2.internal"))
        await door.submit(ask("CN=sensor-3", "www.google.com"))

    upgrade(f"sqlite+aiosqlite:///{folder / 'certwright.db'}")
    with_store(folder, live)
    return folder


@pytest.fixture
def new(lived: Path) -> Path:
    """A copy of the policy files, to be changed."""
    return shutil.copytree(lived / "policies", lived / "new")


def without_internal(folder: Path) -> None:
    edit(folder / "iot-device.yaml", '          - "**.internal"\n', "")


def test_the_same_files_change_nothing(lived: Path) -> None:
    result = run(lived, "diff", lived / "policies")
    assert (result.exit_code, result.stdout) == (0, result.stdout)
    assert "3 requests replayed since" in result.stdout
    assert result.stdout.endswith(": no difference\n")


def test_diff_lists_who_would_be_denied_and_by_which_rule(lived: Path, new: Path) -> None:
    without_internal(new)
    result = run(lived, "diff", new, "--replay", "2h", "--json")
    assert result.exit_code == 1
    (change,) = json.loads(result.stdout)["changes"]
    assert (change["subject"], change["before"], change["after"]) == ("CN=sensor-2", "approved", "denied")
    assert "iot-device.yaml:" in change["reasons"][0]
    assert "names.dns: this DNS name is not allowed" in change["reasons"][0]
    assert "1 differs" in run(lived, "diff", new).stdout


def test_diff_lists_certificates_that_would_be_others(lived: Path, new: Path) -> None:
    edit(new / "iot-device.yaml", "{default: 365d, max: 366d,", "{default: 30d, max: 31d,")
    result = run(lived, "diff", new, "--json")
    found = json.loads(result.stdout)["changes"]
    assert [one["before"] for one in found] == ["lifetime 365d 5m"] * 2
    assert found[0]["after"] == "lifetime 30d 5m"


def test_diff_does_not_go_back_further_than_asked(lived: Path, new: Path) -> None:
    without_internal(new)
    change(lived, "UPDATE requests SET received_at = '2020-01-01 00:00:00.000000+00:00'")
    result = run(lived, "diff", new, "--replay", "30d")
    assert (result.exit_code, "0 requests replayed" in result.stdout) == (0, True)


@pytest.mark.parametrize("words", [["--replay", "soon"], ["--replay", "9999999y"]])
def test_diff_says_what_is_no_duration(lived: Path, words: list[str]) -> None:
    assert run(lived, "diff", lived / "policies", *words).exit_code == 2


def test_replay_over_a_long_history_finds_exactly_what_was_planted(lived: Path, new: Path) -> None:
    profiles, now = profiles_of(lived), system_clock()
    lease = Lease("w", now, now + timedelta(seconds=9), now - timedelta(days=1))
    claims = []
    for number in range(MANY):
        domain = "internal" if number in PLANTED else "example.com"
        request = ask(f"CN=sensor-{number}", f"sensor-{number}.{domain}")
        decision = profiles.decide(request)
        assert isinstance(decision, Approved)
        key = hashlib.sha256(str(number).encode()).digest()
        claims.append(Claim(f"r{number}", key, request, decision.plan, number + 5, lease))
    with_store(lived, lambda store: store.write(lambda c: intents.claim(c, claims) and None))
    without_internal(new)
    result = run(lived, "diff", new, "--json")
    content = json.loads(result.stdout)
    assert content["replayed"] == MANY + 3
    found = {one["request"] for one in content["changes"] if one["request"].startswith("r")}
    assert found == {f"r{number}" for number in PLANTED}
    assert len(content["changes"]) == len(PLANTED) + 1


def test_audit_finds_nothing_where_nothing_has_changed(lived: Path) -> None:
    result = run(lived, "audit")
    assert (result.exit_code, result.stdout) == (0, "2 valid certificates judged: no difference\n")


def test_audit_finds_the_certificates_that_todays_files_would_not_issue(lived: Path) -> None:
    without_internal(lived / "policies")
    result = run(lived, "audit", "--json")
    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)["objections"]
    assert (found["subject"], found["before"], found["after"]) == ("CN=sensor-2", "issued", "denied")
    assert found["serial"]
    assert [one.split(":")[3].strip() for one in found["reasons"]] == ["names.dns"]
    edit(lived / "policies" / "iot-device.yaml", "{default: 365d, max: 366d,", "{default: 364d, max: 365d,")
    edit(lived / "policies" / "iot-device.yaml", "lifetime: 365d\n      key_usage", "lifetime: 364d\n      key_usage")
    assert "lifetime 364d 5m" in run(lived, "audit").stdout


def test_audit_says_how_many_it_can_not_judge(lived: Path) -> None:
    change(lived, "UPDATE requests SET asked = NULL")
    assert "2 more can't be judged" in run(lived, "audit").stdout


def request_ids(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}

    async def look(store: Store) -> None:
        for one in await store.read(requests.list_requests):
            found[one.state] = one.id

    with_store(folder, look)
    return found


def test_a_past_request_is_explained_as_it_was_decided(lived: Path) -> None:
    result = run(lived, "explain", request_ids(lived)["issued"])
    assert result.exit_code == 0
    assert "APPROVED" in result.stdout
    assert "password:plant" in result.stdout
    denied = run(lived, "explain", request_ids(lived)["refused"])
    assert denied.exit_code == 1
    assert "this DNS name is not allowed: 'www.google.com'" in denied.stdout
    assert "changed since" not in denied.stdout


def test_a_past_request_under_a_changed_policy_says_so(lived: Path) -> None:
    edit(lived / "policies" / "iot-device.yaml", '          - "**.internal"\n', '          - "**.google.com"\n')
    result = run(lived, "explain", request_ids(lived)["refused"])
    assert "judged then by a policy file that has changed since" in result.stdout
    assert "then: names.dns: this DNS name is not allowed" in result.stdout
    assert "APPROVED" in result.stdout


def test_what_is_not_on_record_is_said(lived: Path) -> None:
    result = run(lived, "explain", "nothing")
    assert (result.exit_code, "nothing is known of a request" in result.stderr) == (1, True)
    change(lived, "UPDATE requests SET asked = NULL")
    result = run(lived, "explain", request_ids(lived)["refused"])
    assert (result.exit_code, "never came before the policy" in result.stderr) == (1, True)


def test_a_file_needs_an_endpoint(lived: Path) -> None:
    (lived / "x.csr").write_text("")
    result = run(lived, "explain", lived / "x.csr")
    assert (result.exit_code, "Write --endpoint" in result.stderr) == (2, True)
