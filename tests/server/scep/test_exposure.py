"""Challenges in the clear: refused, and worth nothing from then on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ca import der
from server.scep.exposure import CHALLENGE_PASSWORD
from tests.server.scep.device import Message, csr, enrollment, envelope, rsa_key, self_signed

if TYPE_CHECKING:
    from server.scep.service import ScepEndpoint
    from tests.server.scep.lab import Lab

SECRET = "k7qxm-29fzt"
KEY = rsa_key()


async def endpoint(lab: Lab) -> ScepEndpoint:
    await lab.make_challenge(SECRET)
    return lab.endpoint(challenge={"one_time": True})


def hidden(lab: Lab, **changes: object) -> Message:
    content = envelope(csr(KEY, "device-1.test", SECRET), lab.ra_der)
    return Message(content, KEY, self_signed(KEY), **changes)  # type: ignore[arg-type] # fields of the test's choice


def attribute(value: bytes) -> bytes:
    return der.sequence(der.oid(CHALLENGE_PASSWORD), der.set_of(value))


@pytest.mark.parametrize("kind", ["17", "19"])
async def test_a_request_without_envelope_is_refused_and_its_challenge_withdrawn(lab: Lab, kind: str) -> None:
    here = await endpoint(lab)
    bare = enrollment(lab.ra_der, content=csr(KEY, "device-1.test", SECRET), kind=der.printable(kind))
    assert (await lab.ask(bare, here)).status == "2"
    late = await lab.ask(hidden(lab), here)
    assert (late.status, late.fail_info) == ("2", "2")
    assert await lab.issued() == 0
    with closing(sqlite3.connect(lab.database)) as database, database:
        said = [row[0] for row in database.execute("SELECT detail FROM audit_events")]
    assert "c1: sent in the clear" in said


async def test_a_challenge_among_the_signed_attributes_is_refused_and_withdrawn(lab: Lab) -> None:
    """macOS has done so."""
    here = await endpoint(lab)
    reply = await lab.ask(hidden(lab, more=(attribute(der.printable(SECRET)),)), here)
    assert reply.status == "2"
    assert "outside of the envelope" in (reply.text or "")
    assert (await lab.ask(hidden(lab), here)).status == "2"
    assert await lab.issued() == 0


async def test_what_is_no_challenge_withdraws_none(lab: Lab) -> None:
    here = await endpoint(lab)
    for challenge in ("a guess", None):
        await lab.ask(enrollment(lab.ra_der, content=csr(KEY, "device-1.test", challenge)), here)
    assert (await lab.ask(hidden(lab, more=(attribute(der.null()),)), here)).status == "0"


async def test_people_hear_of_a_static_challenge(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    await lab.ask(enrollment(lab.ra_der, content=csr(KEY, "device-1.test", "sesame")))
    said = "".join(capsys.readouterr())
    assert "change it" in said
    assert "sesame" not in said


async def test_a_record_that_can_not_be_written_is_survived(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    here = await endpoint(lab)
    with closing(sqlite3.connect(lab.database, isolation_level=None)) as blocker, blocker:
        blocker.execute("BEGIN IMMEDIATE")
        bare = enrollment(lab.ra_der, content=csr(KEY, "device-1.test", SECRET))
        assert (await lab.ask(bare, here)).status == "2"
    assert "is not withdrawn" in "".join(capsys.readouterr())
