from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from policies.decision import Approved
from policies.request import EndpointName
from server.store.certificates import (
    CertificateFilter,
    find_by_request,
    find_by_serial,
    find_exactly,
    find_presented,
    list_certificates,
    renewed_from,
)
from server.store.credentials import CredentialKind, find_chosen
from server.store.requests import RequestFilter, State, find_request, list_requests, list_transaction
from tests.fakes.door import HERE, Door, FlakyStore, ask, csr_for
from tests.fakes.issuer import NOW
from tests.fakes.query_plans import query_plans
from tests.fakes.record import issued, stored

if TYPE_CHECKING:
    from policies.decision import Decision
    from server.store.certificates import StoredCertificate

ELSEWHERE = EndpointName.parse("est/other")


@pytest.fixture
async def three(door: Door, store: FlakyStore) -> dict[str, StoredCertificate]:
    for number, name in enumerate(("pump_1", "pump 2", "fan%3")):
        door.now = NOW + timedelta(minutes=number)
        door.policy.days = 10 * (number + 1)
        issued(await door.submit(ask(name, now=door.now)))
    await door.submit(ask("denied", transaction="t-4"))
    found = await stored(store)
    assert [one.subject for one in found] == ["CN=fan%3", "CN=pump 2", "CN=pump_1"]
    await door.revoke(found[0].serial, x509.ReasonFlags.superseded, "admin:eve")
    return {one.subject[3:]: one for one in await stored(store)}


async def test_a_certificate_is_found_by_serial_octets_and_request(
    three: dict[str, StoredCertificate], store: FlakyStore
) -> None:
    one = three["pump 2"]
    assert await store.read(lambda c: find_exactly(c, one.der)) == one
    assert await store.read(lambda c: find_presented(c, one.serial, one.fingerprint)) == one
    assert await store.read(lambda c: find_by_serial(c, one.serial)) == one
    assert await store.read(lambda c: find_by_request(c, one.request_id)) == one
    assert await store.read(lambda c: find_exactly(c, one.der[:-1] + bytes([one.der[-1] ^ 1]))) is None
    assert await store.read(lambda c: find_exactly(c, one.der[:-1])) is None
    assert await store.read(lambda c: find_presented(c, one.serial, bytes(32))) is None
    assert await store.read(lambda c: find_presented(c, 1, one.fingerprint)) is None
    assert await store.read(lambda c: find_by_serial(c, 1)) is None
    assert await store.read(lambda c: find_by_request(c, "nothing")) is None


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (CertificateFilter(), ["fan%3", "pump 2", "pump_1"]),
        (CertificateFilter(limit=2), ["fan%3", "pump 2"]),
        (CertificateFilter(text="PUMP"), ["pump 2", "pump_1"]),
        (CertificateFilter(text="pump_"), ["pump_1"]),
        (CertificateFilter(text="%"), ["fan%3"]),
        (CertificateFilter(text="password:pump 2"), ["pump 2"]),
        (CertificateFilter(endpoint=HERE), ["fan%3", "pump 2", "pump_1"]),
        (CertificateFilter(endpoint=ELSEWHERE), []),
        (CertificateFilter(profile="scripted", revoked=False), ["pump 2", "pump_1"]),
        (CertificateFilter(profile="none"), []),
        (CertificateFilter(revoked=True), ["fan%3"]),
        (CertificateFilter(expires_before=NOW + timedelta(days=15)), ["pump_1"]),
    ],
    ids=str,
)
async def test_certificates_are_listed_by_what_is_wanted(
    three: dict[str, StoredCertificate], store: FlakyStore, wanted: CertificateFilter, names: list[str]
) -> None:
    found = await store.read(lambda c: list_certificates(c, wanted))
    assert [one.subject[3:] for one in found] == names
    assert all(three[one.subject[3:]] == one for one in found)


async def test_certificates_are_found_by_part_of_their_serial_number(
    three: dict[str, StoredCertificate], store: FlakyStore
) -> None:
    one = three["pump 2"]
    part = CertificateFilter(text=format(one.serial, "X")[5:25])
    assert await store.read(lambda c: list_certificates(c, part)) == (one,)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (RequestFilter(), ["denied", "fan%3", "pump 2", "pump_1"]),
        (RequestFilter(limit=1), ["denied"]),
        (RequestFilter(states=(State.REFUSED, State.FAILED)), ["denied"]),
        (RequestFilter(states=(State.ISSUED,), text="pump"), ["pump 2", "pump_1"]),
        (RequestFilter(text="t-4"), ["denied"]),
        (RequestFilter(text="not allowed"), ["denied"]),
        (RequestFilter(endpoint=ELSEWHERE), []),
        (RequestFilter(endpoint=HERE, text="192.0.2.7", limit=2), ["denied", "fan%3"]),
    ],
    ids=str,
)
@pytest.mark.usefixtures("three")
async def test_requests_are_listed_by_what_is_wanted(
    store: FlakyStore, wanted: RequestFilter, names: list[str]
) -> None:
    found = await store.read(lambda c: list_requests(c, wanted))
    assert [(one.requester or "").removeprefix("password:") for one in found] == names


async def test_the_newest_are_the_newest_of_all_profiles_and_of_all_states(door: Door, store: FlakyStore) -> None:
    decide = door.policy.decide
    for number, profile in enumerate(("b", "a", "c", "a", "b")):
        door.now = NOW + timedelta(minutes=number)
        door._judge._decide = lambda request, profile=profile: _under(decide(request), profile)  # type: ignore[misc]
        issued(await door.submit(ask(f"p{number}", now=door.now)))
    await door.submit(ask("denied", now=door.now))

    newest = await store.read(lambda c: list_certificates(c, CertificateFilter(limit=4)))
    named = [(one.subject, one.profile) for one in newest]
    assert named == [("CN=p4", "b"), ("CN=p3", "a"), ("CN=p2", "c"), ("CN=p1", "a")]
    either = RequestFilter(states=(State.ISSUED, State.REFUSED, State.ISSUED), limit=2)
    found = await store.read(lambda c: list_requests(c, either))
    assert [one.requester for one in found] == ["password:denied", "password:p4"]
    assert await store.read(lambda c: list_requests(c, RequestFilter(states=()))) == ()


def _under(decision: Decision, profile: str) -> Decision:
    if not isinstance(decision, Approved):
        return decision
    return decision._replace(plan=replace(decision.plan, profile=profile))


async def test_what_people_wait_for_is_found_without_sorting_all_there_is(door: Door, url: str) -> None:
    issued(await door.submit(ask()))
    plans = query_plans(
        url,
        lambda c: (
            list_certificates(c),
            list_requests(c, RequestFilter(states=(State.REFUSED, State.FAILED))),
            find_chosen(c, CredentialKind.EST_PASSWORD, HERE),
        ),
    )
    assert "SCAN" not in plans
    assert "TEMP B-TREE FOR ORDER BY" not in plans
    assert "USING INDEX ix_credentials_chosen" in plans


async def test_the_requests_of_a_transaction_are_found_by_its_whole_name(door: Door, store: FlakyStore) -> None:
    for number, transaction in enumerate(("t-1", "t-10", "t-1")):
        await door.submit(ask(f"p{number}", transaction=transaction))
    found = await store.read(lambda c: list_transaction(c, "t-1"))
    assert [one.requester for one in found] == ["password:p2", "password:p0"]


async def test_a_request_that_nobody_knows_is_not_found(store: FlakyStore) -> None:
    assert await store.read(lambda c: find_request(c, "nothing")) is None


async def test_what_is_to_be_renewed_is_read_from_the_certificate(three: dict[str, StoredCertificate]) -> None:
    one, csr = three["pump_1"], csr_for("pump_1")
    renewed = renewed_from(one)
    assert (renewed.serial, renewed.subject, renewed.names, renewed.spki) == (one.serial, csr.subject, (), csr.spki)
    assert (renewed.not_before, renewed.not_after) == (one.not_before, one.not_after)
    assert (renewed.profile, renewed.endpoint) == ("scripted", HERE)
