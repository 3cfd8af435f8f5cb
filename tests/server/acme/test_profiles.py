"""Profiles: in the directory, chosen by the order, kept to the end (draft-ietf-acme-profiles)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from server.acme.service import AcmeProfile
from server.store.certificates import list_certificates
from tests.server.acme.lab import PROFILE_TEXT, make_csr, make_lab, tear

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import sqlalchemy as sa

    from tests.server.acme.lab import Answer, Client, Lab

OFFERED = {"tls-server": AcmeProfile("TLS servers"), "short": AcmeProfile("for a week")}


@pytest_asyncio.fixture
async def two(tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab with a second profile, whose certificates are short-lived."""
    start, _, _ = PROFILE_TEXT.partition("\ntests:")
    section = start.partition("  tls-server:\n")[2]
    text = f"{start}\n  short:\n{section.replace('default: 90d, max: 91d', 'default: 7d, max: 8d')}"
    made = await make_lab(tmp_path, text)
    await made.serve(made.endpoint(profiles=OFFERED))
    yield made
    await tear(made)


async def ordering(client: Client, profile: object) -> Answer:
    payload = {"identifiers": [{"type": "dns", "value": "a.localhost"}], "profile": profile}
    return await client.post(client.url("/new-order"), payload)


async def test_the_directory_describes_the_profiles(two: Lab) -> None:
    directory = (await two.request("GET", "/acme/directory")).body
    assert directory["meta"] == {"profiles": {"tls-server": "TLS servers", "short": "for a week"}}


@pytest.mark.parametrize(("asked", "given", "days"), [(None, "tls-server", 90), ("short", "short", 7)])
async def test_a_certificate_is_of_the_profile_that_the_order_shows(
    two: Lab, asked: str | None, given: str, days: int
) -> None:
    client = await two.client()
    order = await ordering(client, asked)
    assert (order.status, order.body["profile"]) == (201, given)
    await client.authorize(order)
    done = await client.finalize(order, make_csr("a.localhost"))
    assert (done.body["status"], done.body["profile"]) == ("valid", given)
    (row,) = await two.store.read(_issued)
    assert row == (given, days)


def _issued(connection: sa.Connection) -> list[tuple[str, int]]:
    return [(each.profile, (each.not_after - each.not_before).days) for each in list_certificates(connection)]


@pytest.mark.parametrize(
    ("profile", "error"),
    [("long", "invalidProfile"), ("", "invalidProfile"), (1, "malformed"), (["short"], "malformed")],
)
async def test_what_is_not_in_the_directory_is_refused(two: Lab, profile: object, error: str) -> None:
    client = await two.client()
    refused = await ordering(client, profile)
    assert (refused.status, refused.error) == (400, error)


async def test_a_profile_that_is_withdrawn_is_not_issued_under(two: Lab) -> None:
    client = await two.client()
    order = await ordering(client, "short")
    await client.authorize(order)
    await two.serve(two.endpoint(profiles={"tls-server": OFFERED["tls-server"]}))
    refused = await client.finalize(order, make_csr("a.localhost"))
    assert (refused.status, refused.error) == (400, "invalidProfile")
