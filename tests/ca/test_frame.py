from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from ca import ceremony, der
from ca.check import check
from ca.frame import Frames
from ca.issuer import Permit
from ca.names import Attribute, DistinguishedName, IpAddress, dns_name
from ca.plan import CertificatePlan, KeyUsage
from ca.tbs import IssuerProfile, key_identifier, write_tbs
from tests.fakes.issuer import make_issuer, make_plan, spki_of

ISSUER = make_issuer()
PROFILE = IssuerProfile.of(ISSUER.chain()[0])
PLAN = make_plan()
SERIAL = 2  # the version is 2 as well


def tbs_of(plan: CertificatePlan, serial: int = SERIAL) -> bytes:
    return write_tbs(plan, serial, PROFILE)


def remembering(plan: CertificatePlan = PLAN, tbs: bytes | None = None) -> Frames:
    frames = Frames()
    frames.remember(plan, SERIAL, tbs_of(plan) if tbs is None else tbs)
    return frames


def named(*values: str) -> DistinguishedName:
    return DistinguishedName(tuple((Attribute("2.5.4.3", value),) for value in values))


OTHER = make_plan(
    subject=DistinguishedName.from_text("CN=Test 99,O=Pump"),
    names=(dns_name("test-18.pump"), dns_name("test.pump")),
    not_before=PLAN.not_before - timedelta(seconds=1),
    not_after=PLAN.not_after + timedelta(days=1),
)


def test_another_of_the_same_shape_and_lengths_is_expected_to_look_alike() -> None:
    frames = remembering()
    assert frames.expected(PLAN, SERIAL) == tbs_of(PLAN)
    assert frames.expected(OTHER, 127) == tbs_of(OTHER, 127)


@pytest.mark.parametrize(
    ("changes", "serial"),
    [
        ({}, 128),
        ({"subject": DistinguishedName.from_text("CN=Pump 1,O=Test")}, SERIAL),
        ({"subject": DistinguishedName.from_text("O=Pump 17,CN=Test")}, SERIAL),
        ({"subject": DistinguishedName()}, SERIAL),
        ({"names": PLAN.names[:1]}, SERIAL),
        ({"names": PLAN.names[::-1]}, SERIAL),
        ({"key_usage": frozenset({KeyUsage.KEY_AGREEMENT})}, SERIAL),
        ({"extended_key_usage": PLAN.extended_key_usage[::-1]}, SERIAL),
        ({"spki": spki_of(ceremony.generate_key("P-384"))}, SERIAL),
    ],
)
def test_nothing_is_expected_of_another_shape_or_other_lengths(changes: dict[str, object], serial: int) -> None:
    changed = replace(PLAN, **changes)  # type: ignore[arg-type] # a test that mistypes a field fails anyway
    assert remembering().expected(changed, serial) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": DistinguishedName.from_text("CN=Pümp 17,O=Test")},
        {"subject": DistinguishedName.from_text("CN=Pump 17+O=Test")},
        {"names": (IpAddress(IPv4Address("192.0.2.1")),)},
    ],
)
def test_what_is_more_than_plain_text_is_not_remembered(changes: dict[str, object]) -> None:
    plan = make_plan(**changes)
    assert remembering(plan).expected(plan, SERIAL) is None


def test_a_negative_serial_number_is_never_expected() -> None:
    assert remembering().expected(PLAN, -SERIAL) is None


def test_a_certificate_with_places_elsewhere_is_not_remembered() -> None:
    identifier = key_identifier(PLAN.spki)
    tbs = tbs_of(PLAN)
    *fields, extensions = der.pieces(tbs)
    own = der.pieces(der.pieces(extensions)[0])
    swapped = der.sequence(*fields, der.tlv(0xA3, der.sequence(*own[::-1])))
    without = der.sequence(*fields, der.tlv(0xA3, der.sequence(*own[:-1])))
    for changed in (tbs.replace(identifier, bytes(20)), swapped, without, der.sequence(*fields), b"\x30\x00", b""):
        assert remembering(tbs=changed).expected(PLAN, SERIAL) is None


def test_the_same_text_in_several_places_is_told_apart() -> None:
    """The issuer's name, the subject and the names may all say the same."""
    first = make_plan(subject=named("Test"), names=(dns_name("test"), dns_name("test.test")))
    second = make_plan(subject=named("Pump"), names=(dns_name("pump"), dns_name("pump.pump")))
    assert remembering(first).expected(second, 3) == tbs_of(second, 3)


def test_only_so_many_are_remembered() -> None:
    frames = Frames(remembered=2)
    plans = [make_plan(subject=named("x" * length)) for length in range(1, 4)]
    for plan in plans:
        frames.remember(plan, SERIAL, tbs_of(plan))
    assert [frames.expected(plan, SERIAL) is None for plan in plans] == [True, True, False]


async def test_whoever_checks_expects_what_was_right_before() -> None:
    """Whatever was seen before, the next certificate is as right as it is by itself."""
    for plan in (PLAN, OTHER, PLAN):
        check(plan, SERIAL, await ISSUER.issue(Permit("one", plan, SERIAL), plan, SERIAL), ISSUER.chain()[0])
