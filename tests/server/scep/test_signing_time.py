"""badTime: messages that were not signed lately, where the endpoint looks at that."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ca import der
from server.cms.signed import SIGNING_TIME
from tests.server.scep.device import NOW, enrollment

if TYPE_CHECKING:
    from tests.server.scep.lab import Lab


def signed_at(value: bytes) -> tuple[bytes, ...]:
    return (der.sequence(der.oid(SIGNING_TIME), der.set_of(value)),)


@pytest.mark.parametrize("minutes", [-60, -1, 0, 60])
async def test_a_message_of_the_hour_is_taken(lab: Lab, minutes: int) -> None:
    endpoint = lab.endpoint(signing_time="1h")
    more = signed_at(der.utc_time(NOW + timedelta(minutes=minutes)))
    assert (await lab.ask(enrollment(lab.ra_der, more=more), endpoint)).status == "0"


@pytest.mark.parametrize(
    "more",
    [
        signed_at(der.utc_time(NOW - timedelta(minutes=61))),
        signed_at(der.generalized_time(NOW + timedelta(minutes=61))),
        signed_at(der.printable("now")),
        signed_at(b""),
        (),
    ],
    ids=["old", "of the future", "no time", "no value", "absent"],
)
async def test_any_other_is_a_bad_time(lab: Lab, more: tuple[bytes, ...]) -> None:
    reply = await lab.ask(enrollment(lab.ra_der, more=more), lab.endpoint(signing_time="1h"))
    assert (reply.status, reply.fail_info) == ("2", "3")
    assert "clock" in (reply.text or "")
    assert await lab.issued() == 0


async def test_as_it_is_nobody_looks_because_devices_have_no_clock(lab: Lab) -> None:
    more = signed_at(der.utc_time(NOW - timedelta(days=9000)))
    assert (await lab.ask(enrollment(lab.ra_der, more=more))).status == "0"
