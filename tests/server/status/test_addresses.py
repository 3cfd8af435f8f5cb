"""Where things are told to be, in certificates."""

from __future__ import annotations

from dataclasses import replace

from ca.plan import PlannedExtension
from server.status.addresses import Addressing
from tests.fakes.issuer import make_plan
from tests.fakes.status import ADDRESSES

SERIAL = 6
ADDED = ADDRESSES.extensions(SERIAL)


def test_a_plan_gets_the_addresses_of_its_issuer_and_nothing_else_of_it_changes() -> None:
    addressing = Addressing({"issuing": ADDRESSES})
    for plan in (make_plan(issuer="issuing"), make_plan(issuer="issuing", ca=True, names=())):
        assert addressing(plan, SERIAL) == replace(plan, extensions=ADDED)


def test_what_the_profile_forces_comes_first_and_stays() -> None:
    forced = PlannedExtension(ADDED[0].oid, critical=True, value=b"\x05\x00")
    plan = make_plan(issuer="issuing", extensions=(forced,))
    assert Addressing({"issuing": ADDRESSES})(plan, SERIAL) == replace(plan, extensions=(forced, *ADDED[1:]))


def test_a_plan_for_an_issuer_without_addresses_stays_as_it_is() -> None:
    plan = make_plan(issuer="another")
    assert Addressing({"issuing": ADDRESSES})(plan, SERIAL) is plan
