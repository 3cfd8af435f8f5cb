from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from ca import check as checking
from ca import der
from ca.check import PlanMismatch, check
from ca.issuer import NO_LATITUDE, Latitude, Permit
from ca.name_codec import write_general_names
from ca.names import DirectoryName, DistinguishedName, EmailAddress, dns_name, names_of
from ca.plan import CertificatePlan, KeyUsage, PlannedExtension
from ca.tbs import (
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    SERIAL_LIMIT,
    SUBJECT_ALT_NAME,
    SUBJECT_KEY_IDENTIFIER,
    IssuerProfile,
    PerCertificate,
    write_certificate,
)
from tests.ca.strategies import DISTINGUISHED, GENERAL
from tests.fakes.issuer import NOW, make_issuer, make_plan

if TYPE_CHECKING:
    from collections.abc import Callable

ISSUER = make_issuer()
CERTIFICATE = ISSUER.chain()[0]
PROFILE = IssuerProfile.of(CERTIFICATE)
PLAN = make_plan(extensions=(PlannedExtension("1.2.3.4", critical=True, value=b"\x05\x00"),))


@pytest.fixture(autouse=True, params=["first", "again"])
async def seen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test see certificates of a kind that was never there, and of one that was right before."""
    monkeypatch.setattr(checking, "_known", PerCertificate(checking._Issuer))
    if request.param == "again":
        check(PLAN, 7, await issued(PLAN), CERTIFICATE)


async def issued(plan: CertificatePlan, serial: int = 7) -> bytes:
    return await ISSUER.issue(Permit("request", plan, serial), plan, serial)


def resigned(tbs: bytes, sign: Callable[[bytes], bytes] | None = None) -> bytes:
    return write_certificate(tbs, PROFILE, (sign or ISSUER._sign)(tbs))


def tbs_of(certificate: bytes) -> bytes:
    return der.pieces(certificate)[0]


def differences(plan: CertificatePlan, certificate: bytes, serial: int = 7) -> str:
    told = []
    for _ in range(2):  # what was wrong once is not what others are compared with
        with pytest.raises(PlanMismatch) as mismatch:
            check(plan, serial, certificate, CERTIFICATE)
        assert str(mismatch.value) == "; ".join(mismatch.value.differences)
        told.append(str(mismatch.value))
    assert told[0] == told[1]
    return told[0]


USAGES = st.sets(st.sampled_from([usage for usage in KeyUsage if "Sign" not in usage or usage == "digitalSignature"]))
PLANS = st.builds(
    lambda subject, names, usage, purposes, serial: (
        make_plan(
            spki=PLAN.spki, subject=subject, names=tuple(names), key_usage=usage, extended_key_usage=tuple(purposes)
        ),
        serial,
    ),
    DISTINGUISHED,
    st.lists(GENERAL, unique=True, max_size=4),
    USAGES.map(lambda usage: frozenset(usage | {KeyUsage.KEY_AGREEMENT} if usage else usage)),
    st.lists(st.sampled_from(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "1.2.3"]), unique=True, min_size=1),
    st.integers(1, (1 << 159) - 1),
).filter(lambda drawn: bool(drawn[0].subject or drawn[0].names))


@given(PLANS)
async def test_what_is_written_is_what_another_reader_reads(drawn: tuple[CertificatePlan, int]) -> None:
    plan, serial = drawn
    check(plan, serial, await issued(plan, serial), CERTIFICATE)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"subject": DistinguishedName.from_text("CN=Pump 18,O=Test")}, "subject: planned CN=Pump 18,O=Test"),
        ({"subject": DistinguishedName.from_text("CN=pump 17,O=Test")}, "subject"),
        ({"names": (dns_name("pump-17.test"),)}, "subjectAltName: planned dns:pump-17.test, is"),
        ({"names": ()}, "extension 2.5.29.17: not planned"),
        ({"names": (dns_name("other.test"), dns_name("pump.test"))}, "subjectAltName"),
        ({"spki": make_plan().spki}, "public key"),
        ({"not_before": NOW - timedelta(seconds=1)}, "validity"),
        ({"not_after": NOW}, "validity"),
        ({"key_usage": frozenset({KeyUsage.KEY_ENCIPHERMENT})}, "extension 2.5.29.15: planned"),
        ({"key_usage": frozenset()}, "extension 2.5.29.15: not planned"),
        ({"extended_key_usage": ("1.2.3",)}, "extendedKeyUsage: planned 1.2.3, is"),
        ({"extensions": ()}, "extension 1.2.3.4: not planned"),
        ({"extensions": (PlannedExtension("1.2.3.4", critical=False, value=b"\x05\x00"),)}, "wrong criticality"),
        ({"extensions": (PlannedExtension("1.2.3.4", critical=True, value=b"\x30\x00"),)}, "planned 3000, is 0500"),
        ({"extensions": (*PLAN.extensions, PlannedExtension("1.2.3.5", critical=True, value=b"\x05\x00"))}, "missing"),
    ],
)
async def test_every_difference_is_found(changes: dict[str, object], text: str) -> None:
    certificate = await issued(PLAN)
    check(PLAN, 7, certificate, CERTIFICATE)
    assert text in differences(make_plan(**({"spki": PLAN.spki, "extensions": PLAN.extensions} | changes)), certificate)


async def test_all_differences_are_told_at_once() -> None:
    certificate = await issued(PLAN)
    told = differences(make_plan(spki=PLAN.spki, subject=DistinguishedName()), certificate, serial=8)
    for part in ("serial number: planned 8, is 7", "subject", "subjectAltName: wrong criticality", "1.2.3.4"):
        assert part in told


async def test_names_that_are_missing_are_told() -> None:
    without = replace(PLAN, names=())
    assert "extension 2.5.29.17: missing" in differences(PLAN, await issued(without))


async def test_the_order_of_names_and_purposes_is_free() -> None:
    plan = replace(PLAN, names=PLAN.names[::-1], extended_key_usage=PLAN.extended_key_usage[::-1])
    check(PLAN, 7, await issued(plan), CERTIFICATE)


async def test_a_signature_by_another_key_is_found() -> None:
    certificate = await issued(PLAN)
    other = make_issuer()
    assert "signature" in differences(PLAN, resigned(tbs_of(certificate), other._sign))
    with pytest.raises(PlanMismatch, match="signature"):
        check(PLAN, 7, certificate, other.chain()[0])


async def test_another_issuers_name_is_found_whoever_signed() -> None:
    own = fields(await issued(PLAN))
    own[3] = DistinguishedName.from_text("CN=Other CA").to_x509().public_bytes()
    assert "signature: not by the issuing CA" in differences(PLAN, resigned(der.sequence(*own)))


async def test_the_serial_number_is_returned() -> None:
    assert check(PLAN, 7, await issued(PLAN), CERTIFICATE) == 7
    assert check(PLAN, 7, await issued(PLAN, 8), CERTIFICATE, FREE) == 8


async def test_extensions_that_were_right_for_one_plan_are_wrong_for_another() -> None:
    plans = [replace(PLAN, extended_key_usage=("1.2.3", f"1.2.3.{number}")) for number in range(4)]
    certificates = [await issued(plan) for plan in plans]
    for _ in range(2):
        for plan, certificate in zip(plans, certificates, strict=True):
            check(plan, 7, certificate, CERTIFICATE)
        for plan, certificate in zip(plans, certificates[1:], strict=False):
            assert "extendedKeyUsage" in differences(plan, certificate)


def fields(certificate: bytes) -> list[bytes]:
    return der.pieces(tbs_of(certificate))


def with_extensions(certificate: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    *others, extensions = fields(certificate)
    own = der.pieces(der.pieces(extensions)[0])
    return resigned(der.sequence(*others, der.tlv(0xA3, der.sequence(*change(own)))))


def extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    return der.sequence(der.oid(kind), *([der.boolean(True)] if critical else []), der.octet_string(value))  # noqa: FBT003


async def test_a_certificate_of_version_1_is_found() -> None:
    version_1 = resigned(der.sequence(*fields(await issued(PLAN))[1:7]))
    assert "version: v1" in differences(PLAN, version_1)


async def test_an_extension_that_slipped_in_is_found() -> None:
    tampered = with_extensions(await issued(PLAN), lambda own: [*own, extension("1.2.3.9", b"\x05\x00")])
    assert "extension 1.2.3.9: not planned" in differences(PLAN, tampered)


async def test_a_ca_certificate_is_found() -> None:
    leaf = extension("2.5.29.19", b"\x30\x00", critical=True)
    ca = extension("2.5.29.19", b"\x30\x03\x01\x01\xff", critical=True)
    tampered = with_extensions(await issued(PLAN), lambda own: [ca if one == leaf else one for one in own])
    assert "extension 2.5.29.19: planned 3000, is 30030101ff" in differences(PLAN, tampered)


async def test_an_extension_that_is_there_twice_is_found() -> None:
    tampered = with_extensions(await issued(PLAN), lambda own: [*own, own[-1]])
    assert "can't be read" in differences(PLAN, tampered)


async def test_a_key_identifier_may_not_be_critical() -> None:
    identifier = extension("2.5.29.14", der.octet_string(bytes(20)), critical=True)
    tampered = with_extensions(await issued(PLAN), lambda own: [one for one in own if der.oid("2.5.29.14") not in one])
    check(PLAN, 7, tampered, CERTIFICATE)
    tampered = with_extensions(tampered, lambda own: [*own, identifier])
    assert "extension 2.5.29.14" in differences(PLAN, tampered)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (der.sequence(der.tlv(0xA5, b"\x05\x00")), "can't be read"),
        (der.sequence(der.tlv(0x82, b"a b")), "not a DNS name"),
        (write_general_names([DirectoryName(DistinguishedName())]), "is dirname:"),
    ],
)
async def test_names_that_nobody_planned_are_found(value: bytes, text: str) -> None:
    certificate = await issued(replace(PLAN, names=()))
    tampered = with_extensions(certificate, lambda own: [*own, extension("2.5.29.17", value)])
    assert text in differences(PLAN, tampered)


@pytest.mark.parametrize("tag", [0x81, 0x86])
async def test_the_same_text_as_a_name_of_another_kind_is_found(tag: int) -> None:
    def changed(own: list[bytes]) -> list[bytes]:
        last = str(PLAN.names[-1].value).encode()
        return [one.replace(der.tlv(0x82, last), der.tlv(tag, last)) for one in own]

    assert "subjectAltName" in differences(PLAN, with_extensions(await issued(PLAN), changed))


async def test_a_key_identifier_of_another_issuer_is_found() -> None:
    tbs = tbs_of(await issued(PLAN))
    tampered = resigned(tbs.replace(PROFILE.key_identifier, bytes(20)))
    assert "authorityKeyIdentifier" in differences(PLAN, tampered)


async def with_authority(value: bytes) -> bytes:
    authority = extension("2.5.29.35", value)
    return with_extensions(
        await issued(PLAN), lambda own: [*(one for one in own if der.oid("2.5.29.35") not in one), authority]
    )


async def test_the_issuers_certificate_may_be_named_but_no_other() -> None:
    """RFC 5280 section 4.2.1.1: its issuer and its serial number, both or neither."""
    root, number = CERTIFICATE.issuer.public_bytes(), der.read(der.integer(CERTIFICATE.serial_number)).content
    for name, serial, right in (
        (root, number, True),
        (root, b"\x09", False),
        (CERTIFICATE.subject.public_bytes(), number, False),
    ):
        named = der.tlv(0xA1, der.tlv(0xA4, name))
        certificate = await with_authority(der.sequence(named, der.tlv(0x82, serial)))
        if right:
            check(PLAN, 7, certificate, CERTIFICATE)
        else:
            assert "authorityKeyIdentifier: of another certificate" in differences(PLAN, certificate)


@pytest.mark.parametrize("tag", [0x81, 0x82])
async def test_unique_identifiers_are_found(tag: int) -> None:
    """RFC 5280 section 4.1.2.8: no CA may generate them."""
    *others, extensions = fields(await issued(PLAN))
    tampered = resigned(der.sequence(*others, der.tlv(tag, b"\x00\x01"), extensions))
    assert "unique identifiers" in differences(PLAN, tampered)


async def test_a_time_in_the_wrong_form_is_found() -> None:
    """RFC 5280 section 4.1.2.5: UTCTime through the year 2049."""
    own = fields(await issued(PLAN))
    own[4] = der.sequence(der.generalized_time(PLAN.not_before), der.generalized_time(PLAN.not_after))
    assert "validity: not in the form" in differences(PLAN, resigned(der.sequence(*own)))


async def test_an_issuer_may_name_itself_by_other_means_than_its_key() -> None:
    empty = extension("2.5.29.35", der.sequence())
    certificate = with_extensions(
        await issued(PLAN), lambda own: [*(one for one in own if der.oid("2.5.29.35") not in one), empty]
    )
    check(PLAN, 7, certificate, CERTIFICATE)


async def test_a_validity_beyond_the_issuers_is_found() -> None:
    plan = replace(PLAN, not_after=CERTIFICATE.not_valid_after_utc + timedelta(days=1))
    tbs = tbs_of(await issued(PLAN))
    tampered = resigned(tbs.replace(der.time(PLAN.not_after), der.time(plan.not_after)))
    assert differences(plan, tampered) == "validity: ends after the issuing CA's"
    last = replace(PLAN, not_after=CERTIFICATE.not_valid_after_utc)
    check(last, 7, await issued(last), CERTIFICATE)


async def test_a_subject_is_compared_whatever_its_string_types() -> None:
    tbs = tbs_of(await issued(PLAN))
    check(PLAN, 7, resigned(tbs.replace(der.utf8("Pump 17"), der.printable("Pump 17"))), CERTIFICATE)


async def test_a_key_that_cannot_be_read_is_found() -> None:
    tbs = tbs_of(await issued(PLAN))
    tampered = resigned(tbs.replace(PLAN.spki[-64:], bytes(64)))
    assert "can't be read" in differences(PLAN, tampered)


DAY = timedelta(days=1)
FREE = Latitude(serial=True, clock=DAY, shorter=True, extensions=frozenset({"1.2.3.4"}), subject=True, constraints=True)


def told(planned: CertificatePlan, certificate: bytes, latitude: Latitude = FREE, serial: int = 1) -> str:
    try:
        check(planned, serial, certificate, ISSUER.chain()[0], latitude)
    except PlanMismatch as error:
        return str(error)
    return ""


async def test_a_ca_may_choose_what_its_latitude_says() -> None:
    bare = make_plan(spki=PLAN.spki)
    for changes in (
        {"extensions": (PlannedExtension("1.2.3.4", critical=False, value=b"\x05\x00"),)},
        {"not_before": PLAN.not_before - DAY, "not_after": PLAN.not_after + DAY},
        {"not_before": PLAN.not_before + DAY, "not_after": PLAN.not_before + 2 * DAY},
        {"subject": DistinguishedName()},
        {"subject": DistinguishedName.from_text("CN=pump.test")},
    ):
        certificate = await issued(replace(bare, **changes))
        assert told(bare, certificate) == ""
        assert told(bare, certificate, serial=7) == ""
        assert told(bare, certificate, NO_LATITUDE, serial=7) != ""


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
async def test_a_ca_may_choose_only_a_serial_number_that_there_can_be() -> None:
    """RFC 5280 section 4.1.2.2: positive, of at most 20 octets."""
    own = fields(await issued(PLAN))
    for number, text in ((1, ""), (SERIAL_LIMIT - 1, ""), (0, "serial"), (-1, "serial"), (SERIAL_LIMIT, "serial")):
        own[1] = der.integer(number)
        assert told(PLAN, resigned(der.sequence(*own)), serial=9).partition(" ")[0] == text


async def test_a_ca_may_choose_how_it_says_that_a_certificate_is_no_cas() -> None:
    """Not at all or not critical (RFC 5280 section 4.2.1.9 wants neither of a leaf), but nothing else."""
    certificate, fixed = await issued(PLAN), replace(FREE, constraints=False)
    without = with_extensions(certificate, lambda own: [one for one in own if der.oid(BASIC_CONSTRAINTS) not in one])
    assert told(PLAN, without) == ""
    assert told(PLAN, without, fixed) == f"extension {BASIC_CONSTRAINTS}: missing"
    usual = with_extensions(without, lambda own: [*own, extension(BASIC_CONSTRAINTS, b"\x30\x00")])
    assert told(PLAN, usual) == ""
    assert told(PLAN, usual, fixed) == f"extension {BASIC_CONSTRAINTS}: wrong criticality"
    ca = with_extensions(without, lambda own: [*own, extension(BASIC_CONSTRAINTS, b"\x30\x03\x01\x01\xff")])
    assert f"extension {BASIC_CONSTRAINTS}: planned 3000, is 30030101ff" in told(PLAN, ca)


async def test_a_ca_may_not_choose_how_critical_other_extensions_are() -> None:
    def changed(own: list[bytes]) -> list[bytes]:
        usage = next(one for one in own if der.oid(KEY_USAGE) in one)
        kind, _, value = der.pieces(usage)
        return [der.sequence(kind, value) if one == usage else one for one in own]

    assert told(PLAN, with_extensions(await issued(PLAN), changed)) == f"extension {KEY_USAGE}: wrong criticality"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"extensions": (PlannedExtension("1.2.3.4", critical=True, value=b"\x05\x00"),)}, "1.2.3.4"),
        ({"extensions": (PlannedExtension("1.2.3.5", critical=False, value=b"\x05\x00"),)}, "1.2.3.5"),
        ({"not_before": PLAN.not_before - 2 * DAY}, "validity"),
        ({"not_before": PLAN.not_before + 2 * DAY}, "validity"),
        ({"not_after": PLAN.not_after + 2 * DAY}, "validity"),
        ({"subject": DistinguishedName.from_text("CN=other.test")}, "subject"),
        ({"subject": DistinguishedName.from_text("CN=pump.test,O=Test")}, "subject"),
        ({"subject": DistinguishedName.from_text("O=Test")}, "subject"),
        ({"names": ()}, "2.5.29.17: missing"),
        ({"extended_key_usage": ("1.3.6.1.5.5.7.3.2",)}, "extendedKeyUsage"),
    ],
)
async def test_a_ca_may_choose_nothing_beyond_its_latitude(changes: dict[str, object], text: str) -> None:
    bare = make_plan(spki=PLAN.spki)
    assert text in told(bare, await issued(replace(bare, **changes)))  # type: ignore[arg-type] # fails if mistyped


async def test_a_ca_that_may_choose_the_time_may_have_what_never_ends_signed() -> None:
    """By section 4.1.2.5 of RFC 5280 the last second that can be written is for what never ends."""
    endless = make_plan(spki=PLAN.spki, not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    ends = await issued(make_plan(spki=PLAN.spki))
    assert told(endless, ends) == ""
    assert told(endless, ends, replace(FREE, shorter=False)).startswith("validity: planned")


async def test_a_plan_without_names_leaves_no_choice_of_subject() -> None:
    bare = make_plan(spki=PLAN.spki, names=())
    for subject in (DistinguishedName.from_text("CN=other"), DistinguishedName()):
        own = fields(await issued(bare))
        own[5] = subject.to_x509().public_bytes()
        assert told(bare, resigned(der.sequence(*own))).startswith("subject: planned")


async def test_only_dns_names_and_addresses_may_be_said_again_in_the_subject() -> None:
    bare = make_plan(spki=PLAN.spki, names=(dns_name("pump.test"), EmailAddress("pump@pump.test")))
    for text, right in (("CN=pump.test", True), ("CN=pump@pump.test", False)):
        certificate = await issued(replace(bare, subject=DistinguishedName.from_text(text)))
        assert ("subject" in told(bare, certificate)) is not right


async def test_without_a_shorter_life_in_its_latitude_a_ca_may_not_shorten() -> None:
    bare = make_plan(spki=PLAN.spki)
    for days, right in ((1, True), (2, False)):
        certificate = await issued(replace(bare, not_after=PLAN.not_after - days * DAY))
        assert ("validity" in told(bare, certificate, replace(FREE, shorter=False))) is not right


def meaning(certificate: bytes) -> object:
    """Return all that a certificate says, as ``cryptography`` reads it; a key identifier is the CA's choice."""
    read = x509.load_der_x509_certificate(certificate)
    extensions = {
        (each.oid.dotted_string, each.critical, names_of(read) if is_names else each.value.public_bytes())
        for each in read.extensions
        if (is_names := each.oid.dotted_string == SUBJECT_ALT_NAME) or each.oid.dotted_string != SUBJECT_KEY_IDENTIFIER
    }
    key = read.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    times = read.not_valid_before_utc, read.not_valid_after_utc
    return read.version, read.serial_number, read.issuer, read.subject, times, key, extensions


def said_of(octets: bytes) -> str:
    try:
        check(PLAN, 7, octets, CERTIFICATE)
    except PlanMismatch as error:
        return str(error)
    return ""


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
async def test_a_change_of_any_octet_is_found_or_changes_no_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if signed anew each time, so that only a comparison can find it."""
    monkeypatch.setattr(checking._Issuer, "verify", lambda *_: None)  # signing so often would take long
    certificate = await issued(PLAN)
    tbs, _, signature = der.pieces(certificate)
    for place in range(len(tbs)):
        for bit in (0x01, 0x20, 0x80):
            changed = bytearray(tbs)
            changed[place] ^= bit
            octets = der.sequence(bytes(changed), PROFILE.algorithm, signature)
            assert said_of(octets) or meaning(octets) == meaning(certificate)


async def test_a_signature_with_unused_bits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking._Issuer, "verify", lambda *_: None)  # the last bit of a real one may be set
    bits = der.tlv(der.BIT_STRING, b"\x01", bytes(64))
    octets = der.sequence(tbs_of(await issued(PLAN)), PROFILE.algorithm, bits)
    assert said_of(octets) == "signature: not a whole number of octets"


async def test_a_change_of_any_octet_outside_of_the_signed_ones_is_found() -> None:
    certificate = await issued(PLAN)
    behind = 4 + len(tbs_of(certificate))
    for place in (*range(4), *range(behind, len(certificate))):
        changed = bytearray(certificate)
        changed[place] ^= 1
        assert said_of(bytes(changed))


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(st.data())
async def test_changes_anywhere_are_found_or_change_no_meaning(data: st.DataObject) -> None:
    certificate = await issued(PLAN)
    tbs = bytearray(tbs_of(certificate))
    for place in data.draw(st.lists(st.integers(0, len(tbs) - 1), min_size=1, max_size=4, unique=True)):
        tbs[place] = data.draw(st.integers(0, 255))
    octets = resigned(bytes(tbs))
    assert said_of(octets) or meaning(octets) == meaning(certificate)
