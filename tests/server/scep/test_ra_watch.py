"""RAs that end are in the log in time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from policies.request import EndpointName
from server.scep.keyring import Keyring
from server.scep.ra_watch import RaWatch
from tests.server.scep.lab import RA

if TYPE_CHECKING:
    from tests.server.scep.lab import Lab

END = RA.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (timedelta(days=31), ""),
        (timedelta(days=30), "the RA ends soon"),
        (timedelta(hours=1), "the RA ends soon"),
        (timedelta(0), "the RA has ended"),
    ],
)
async def test_an_ra_that_ends_is_told_of(
    lab: Lab, capsys: pytest.CaptureFixture[str], left: timedelta, said: str
) -> None:
    watch = RaWatch(EndpointName.parse("scep/default"), Keyring(lab.ra), lambda: END - left)
    await watch.check()
    heard = "".join(capsys.readouterr())
    assert said in heard
    assert bool(heard) is bool(said)
