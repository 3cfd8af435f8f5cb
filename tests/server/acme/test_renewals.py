"""Renewal information: windows, who may replace what, and the command that moves windows (RFC 9773)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from policies.request import EndpointName
from server.acme.codec.certificate_id import CertificateId, decode_certificate_id
from server.acme.messages import Rejected
from server.acme.records.renewals import MovedWindow, move_windows
from server.acme.service import AcmeProfile
from server.acme.service.renewals import suggested_window
from server.audit import Action, AuditEvent
from server.store.certificates import StoredCertificate
from tests.server.acme.lab import make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Client, Lab

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


def identifier(certificate: x509.Certificate) -> str:
    authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    return str(CertificateId(authority.key_identifier or b"", certificate.serial_number))


async def info(lab: Lab, text: str, prefix: str = "/acme") -> Answer:
    return await lab.request("GET", f"https://other.test{prefix}/renewal-info/{text}")


async def replacing(client: Client, replaces: Any, *names: str) -> Answer:
    identifiers = [{"type": "dns", "value": name} for name in names]
    return await client.post(client.url("/new-order"), {"identifiers": identifiers, "replaces": replaces})


def stored(serial: int = 1, days: float = 90) -> StoredCertificate:
    return StoredCertificate(
        serial=serial,
        issuer="issuing",
        der=b"",
        fingerprint=b"",
        endpoint=EndpointName.parse("acme/default"),
        profile="tls-server",
        requester="",
        subject="",
        names=(),
        not_before=START,
        not_after=START + days * DAY,
        issued_at=START,
        revoked_at=None,
        revocation_reason=None,
        request_id="",
        renews=None,
    )


# --- the identifier -----------------------------------------------------------------------------------------------


def test_the_example_of_the_rfc_is_read_and_written() -> None:
    text = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    found = decode_certificate_id(text)
    assert found.key_identifier.hex() == "69885b6b87464041e1b37b847ba0ae2cde01c8d4"
    assert found.serial == 0x87654321
    assert str(found) == text


@given(st.binary(min_size=1, max_size=32), st.integers(min_value=0, max_value=(1 << 160) - 1))
def test_every_identifier_is_read_as_it_was_written(key_identifier: bytes, serial: int) -> None:
    made = CertificateId(key_identifier, serial)
    assert decode_certificate_id(str(made)) == made


@given(st.one_of(st.none(), st.integers(), st.text(), st.from_regex(r"[A-Za-z0-9_=-]{0,40}\.[A-Za-z0-9_=-]{0,40}")))
def test_anything_else_is_malformed_or_the_one_form(text: object) -> None:
    with suppress(Rejected):
        assert str(decode_certificate_id(text)) == text


# --- the window ---------------------------------------------------------------------------------------------------


@given(
    st.integers(min_value=1, max_value=(1 << 159) - 1),
    st.floats(min_value=1e-5, max_value=4000),
    st.one_of(st.none(), st.floats(0.01, 1), st.timedeltas(timedelta(seconds=1), timedelta(days=5000))),
)
def test_a_window_lies_within_the_lifetime_and_ends_after_it_starts(
    serial: int, days: float, share: timedelta | float | None
) -> None:
    one = stored(serial, days)
    window = suggested_window(one, None, share)
    assert window.start < window.end
    assert one.not_before - timedelta(seconds=1) <= window.start
    assert window.end <= one.not_after + timedelta(seconds=1)
    assert suggested_window(one, None, share) == window


def test_windows_of_certificates_of_one_hour_are_spread() -> None:
    starts = sorted(suggested_window(stored(serial), None).start for serial in range(1, 400))
    assert starts[0] >= START + 60 * DAY
    assert starts[-1] <= START + 67.5 * DAY
    assert max(later - earlier for earlier, later in pairwise(starts)) < timedelta(hours=12)


def test_the_profile_says_when_renewals_begin() -> None:
    assert START + 80 * DAY <= suggested_window(stored(), None, 10 * DAY).start < START + 82.5 * DAY
    assert START + 45 * DAY <= suggested_window(stored(), None, 0.5).start < START + 56.25 * DAY


def test_a_revoked_certificate_is_to_be_replaced_at_once() -> None:
    revoked = START + 3 * DAY
    later = MovedWindow(START + 9 * DAY, START + 10 * DAY, "", "admin:me", START + 2 * DAY)
    for moved in (None, later):
        assert suggested_window(replace(stored(), revoked_at=revoked), moved).end == revoked


# --- the resource -------------------------------------------------------------------------------------------------


async def test_the_window_of_a_certificate_is_answered_without_a_signature(lab: Lab) -> None:
    await lab.serve(lab.endpoint(profiles={"tls-server": AcmeProfile("servers", 0.5)}))
    client = await lab.client()
    certificate = await client.issue("a.localhost")
    directory = (await lab.request("GET", client.url("/directory"))).body
    assert directory["renewalInfo"] == client.url("/renewal-info")
    answer = await info(lab, identifier(certificate))
    assert answer.status == 200
    assert answer.headers["Retry-After"] == "21600"
    assert answer.body.keys() == {"suggestedWindow"}
    start, end = (datetime.fromisoformat(answer.body["suggestedWindow"][name]) for name in ("start", "end"))
    half = certificate.not_valid_before_utc + (certificate.not_valid_after_utc - certificate.not_valid_before_utc) / 2
    assert half - timedelta(seconds=1) <= start < end < certificate.not_valid_after_utc


async def test_a_moved_window_is_answered_with_its_explanation(lab: Lab) -> None:
    client = await lab.client()
    certificate = await client.issue("a.localhost")
    now = lab.now[0]
    moved = MovedWindow(now, now + DAY, "https://ca.test/incident", "admin:eve", now)
    event = AuditEvent(now, Action.RENEWALS_MOVED, "admin:eve").row()
    await lab.store.write(lambda c: move_windows(c, [certificate.serial_number], moved, event))
    answer = await info(lab, identifier(certificate))
    assert answer.body == {
        "suggestedWindow": {"start": f"{now:%Y-%m-%dT%H:%M:%SZ}", "end": f"{now + DAY:%Y-%m-%dT%H:%M:%SZ}"},
        "explanationURL": "https://ca.test/incident",
    }
    await lab.store.write(lambda c: move_windows(c, [certificate.serial_number], None, event))
    assert (await info(lab, identifier(certificate))).body.keys() == {"suggestedWindow"}


async def test_what_was_not_issued_here_is_unknown_and_no_refusal_is_recorded(lab: Lab) -> None:
    await lab.serve(lab.endpoint(), lab.endpoint("plant"))
    client = await lab.client()
    certificate = await client.issue("a.localhost")
    found = decode_certificate_id(identifier(certificate))
    for other in (replace(found, serial=found.serial + 1), replace(found, key_identifier=b"x" * 20)):
        assert ((await info(lab, str(other))).status, (await info(lab, str(other))).error) == (404, "malformed")
    assert (await info(lab, identifier(certificate), "/acme/plant")).status == 404
    for text in ("x", "a.b.c", "%2f.x", f"{identifier(certificate)}=", "AA.AAAA"):
        assert (await info(lab, text)).status == 400
    assert (await lab.request("POST", client.url(f"/renewal-info/{identifier(certificate)}"))).status == 405
    assert not await lab.refusals()


# --- replaces -----------------------------------------------------------------------------------------------------


async def test_an_order_that_replaces_a_certificate_says_so_and_no_other_may(lab: Lab) -> None:
    client = await lab.client()
    certificate = identifier(await client.issue("a.localhost"))
    order = await replacing(client, certificate, "a.localhost", "b.localhost")
    assert (order.status, order.body["replaces"]) == (201, certificate)
    assert (await client.post(order.location)).body["replaces"] == certificate
    again = await replacing(client, certificate, "a.localhost")
    assert (again.status, again.error) == (409, "alreadyReplaced")
    await client.authorize(order)
    done = await client.finalize(order, make_csr("a.localhost", "b.localhost"))
    assert (done.body["status"], done.body["replaces"]) == ("valid", certificate)
    assert (await replacing(client, certificate, "a.localhost")).status == 409


async def test_of_orders_that_come_together_one_replaces(lab: Lab) -> None:
    client = await lab.client()
    certificate = identifier(await client.issue("a.localhost"))
    orders = await asyncio.gather(*(replacing(client, certificate, "a.localhost") for _ in range(10)))
    assert sorted(each.status for each in orders) == [201] + [409] * 9


async def test_an_order_that_came_to_nothing_replaces_nothing(lab: Lab) -> None:
    client = await lab.client()
    certificate = identifier(await client.issue("a.localhost"))
    expired = await replacing(client, certificate, "a.localhost")
    lab.now[0] += timedelta(hours=25)
    lost = await replacing(client, certificate, "a.localhost")
    await client.post(lost.body["authorizations"][0], {"status": "deactivated"})
    assert (await replacing(client, certificate, "a.localhost")).status == 201
    assert (await client.post(expired.location)).body["status"] == "invalid"


@pytest.mark.parametrize("replaces", [1, ["a.b"], "", "x", "a.b", "a=.AA"])
async def test_an_identifier_that_is_none_can_not_be_replaced(lab: Lab, replaces: object) -> None:
    client = await lab.client()
    refused = await replacing(client, replaces, "a.localhost")
    assert (refused.status, refused.error) == (400, "malformed")


async def test_only_the_own_certificate_for_one_of_the_names_can_be_replaced(lab: Lab) -> None:
    client, other = await lab.client(), await lab.client()
    certificate = identifier(await client.issue("a.localhost"))
    unknown = str(replace(decode_certificate_id(certificate), serial=5))
    foreign, missing = (await replacing(other, certificate, "a.localhost"), await replacing(client, unknown, "a.test"))
    assert (foreign.status, foreign.body) == (404, missing.body)
    elsewhere = await replacing(client, certificate, "b.localhost")
    assert (elsewhere.status, elsewhere.error) == (400, "malformed")
