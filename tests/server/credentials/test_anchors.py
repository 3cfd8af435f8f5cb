"""Certificates of other CAs: the path, the time, revocation; every doubt is a no."""

from __future__ import annotations

import gc
import os
import re
from contextlib import suppress
from datetime import timedelta
from itertools import permutations
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca import der
from server.clock import system_clock
from server.credentials.anchors import AnchorConfigurationError, Rejected, TrustAnchors, refuse_own
from server.credentials.crls import CrlFiles, MalformedCrl
from tests.fakes.manufacturer import YESTERDAY, Made, make

if TYPE_CHECKING:
    from pathlib import Path

ROOT = make("Device Root", ca=True)
SUB = make("Device Sub CA", ROOT, ca=True)
NOW = system_clock()
DAY = timedelta(days=1)


def anchors(*trusted: Made, **changes: Any) -> TrustAnchors:
    certificates = [one.certificate for one in trusted or (ROOT,)]
    usual: dict[str, Any] = {"intermediates": (), "crls": None, "grace": timedelta(0)}
    return TrustAnchors("acme", certificates, **(usual | changes))


def presented(*made: Made) -> tuple[x509.Certificate, ...]:
    return tuple(one.certificate for one in made)


@pytest.mark.parametrize(
    "purposes",
    [None, [ExtendedKeyUsageOID.SERVER_AUTH], [x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")]],
    ids=["none", "serverAuth", "cmcRA"],
)
def test_a_device_certificate_is_evidence_whatever_its_purposes_and_never_ours(purposes: list[Any] | None) -> None:
    device = make("pump", SUB, extensions=[(x509.ExtendedKeyUsage(purposes), True)] if purposes else [])

    found = anchors().judge(presented(device, SUB), NOW)

    assert found is not None
    evidence = found.evidence
    assert (evidence.anchor, evidence.profile, evidence.endpoint) == ("acme", None, None)
    assert (str(evidence.subject), evidence.serial) == ("CN=pump", device.certificate.serial_number)


def identity(device: Made, *above: Made) -> str:
    found = anchors().judge(presented(device, *above), NOW)
    assert found is not None
    return found.identity


def test_the_holders_name_has_the_serial_number_in_it() -> None:
    assert re.fullmatch(r"certificate:acme\.[0-9a-f]{16}\.abc", identity(make("pump", SUB, serial=0xABC), SUB))


def test_the_same_serial_number_of_two_cas_names_two_holders() -> None:
    """A serial number is unique within one issuer alone (RFC 5280 section 4.1.2.2)."""
    another = make("Another Sub CA", ROOT, ca=True)
    namesake = make("Device Sub CA", ROOT, ca=True)  # with a key of its own: makers give all their plants one name
    renamed = make("Renamed Sub CA", ROOT, ca=True, key=SUB.key)
    cas = (SUB, another, namesake, renamed)
    assert len({identity(make("pump", ca, serial=7), ca) for ca in cas}) == len(cas)


def test_a_ca_with_a_new_certificate_for_its_name_and_key_names_the_same_holders() -> None:
    device = make("pump", SUB)
    again = make("Device Sub CA", ROOT, ca=True, key=SUB.key)
    assert identity(device, SUB) == identity(device, again)


def test_a_missing_intermediate_is_found_in_the_configuration_and_an_intermediate_may_be_the_anchor() -> None:
    device = make("pump", SUB)

    assert anchors().judge(presented(device), NOW) is None
    assert anchors(intermediates=(SUB.certificate,)).judge(presented(device), NOW) is not None
    assert anchors(SUB).judge(presented(device), NOW) is not None


OTHER_ROOT = make("Another Root", ca=True)
OTHER_SUB = make("Another Sub CA", OTHER_ROOT, ca=True)


@pytest.mark.parametrize(
    "chain",
    [
        presented(make("pump"), SUB, ROOT),
        presented(make("pump", OTHER_ROOT), SUB, ROOT),
        presented(make("pump", OTHER_ROOT), OTHER_ROOT),
        presented(make("pump", OTHER_SUB), OTHER_SUB),
        presented(make("pump", OTHER_SUB), OTHER_SUB, OTHER_ROOT),
    ],
    ids=["itself", "other", "other and root", "other and half its path", "other and its path"],
)
def test_a_certificate_that_does_not_lead_here_is_not_judged_here(chain: tuple[x509.Certificate, ...]) -> None:
    """It may be under the anchors that are asked next."""
    assert anchors().judge(chain, NOW) is None


def test_a_device_certificate_need_not_say_that_it_is_no_ca() -> None:
    assert anchors().judge(presented(make("pump", ROOT, ca=None)), NOW) is not None
    with pytest.raises(AnchorConfigurationError, match="is no CA"):
        anchors(make("Old Root", ca=None))


def test_a_forged_signature_under_the_right_name_is_no_path() -> None:
    device = make("pump", make("Device Sub CA", ca=True))
    with pytest.raises(Rejected, match="signature") as refused:
        anchors().judge(presented(device, SUB), NOW)
    assert refused.value.by_name  # it may be that of another party whose CA has the same name


@pytest.mark.parametrize("odd", ["signs nothing", "unknown kind"])
def test_who_presents_a_ca_beside_it_whose_key_can_not_have_signed_is_refused(odd: str) -> None:
    """Anybody can put such a certificate into its chain, and must not get an error of the server for it."""
    device = make("pump", make("Device Sub CA", ca=True))
    key = x25519.X25519PrivateKey.generate().public_key()
    builder = x509.CertificateBuilder(
        device.certificate.issuer, device.certificate.issuer, key, 5, YESTERDAY, NOW + DAY
    )
    octets = builder.sign(ROOT.key, hashes.SHA256()).public_bytes(Encoding.DER)
    if odd == "unknown kind":
        octets = octets.replace(der.oid("1.3.101.110"), der.oid("1.3.101.99"))
    beside = x509.load_der_x509_certificate(octets)
    with pytest.raises(Rejected, match="signature"):
        anchors().judge((device.certificate, beside, SUB.certificate), NOW)


@pytest.mark.parametrize(
    ("seconds", "grace", "good"),
    [(-1, 0, True), (1, 0, False), (0, 1, True), (86400, 1, True), (86401, 1, False)],
)
def test_the_end_has_a_grace_to_the_second(seconds: int, grace: int, *, good: bool) -> None:
    end = NOW.replace(microsecond=0)
    device = make("pump", ROOT, end=end)
    judge, moment = anchors(grace=grace * DAY), end + timedelta(seconds=seconds)
    if good:
        assert judge.judge(presented(device), moment) is not None
    else:
        with pytest.raises(Rejected, match="expired") as refused:
            judge.judge(presented(device), moment)
        assert not refused.value.by_name


def test_the_beginning_has_no_grace() -> None:
    device = make("pump", ROOT, begin=NOW + timedelta(hours=1))
    with pytest.raises(Rejected, match="not yet valid"):
        anchors(grace=DAY).judge(presented(device), NOW)


def test_a_ca_is_no_device() -> None:
    for chain in (presented(ROOT), presented(SUB, ROOT)):
        with pytest.raises(Rejected, match="that of a CA"):
            anchors().judge(chain, NOW)


def test_what_is_trusted_itself_is_no_evidence() -> None:
    with pytest.raises(AnchorConfigurationError, match="CN=pump is no CA"):
        anchors(make("pump", ROOT))
    with pytest.raises(AnchorConfigurationError, match="CN=pump is no CA"):
        anchors(intermediates=presented(make("pump", ROOT)))


def test_a_device_can_not_issue() -> None:
    valve = make("valve", ROOT)
    with pytest.raises(Rejected, match="invalid CA"):
        anchors().judge(presented(make("pump", valve), valve), NOW)


def with_sha1(made: Made, signer: Made) -> x509.Certificate:
    """No library signs with SHA-1 any more, so the signature is put on by hand."""
    algorithm = der.sequence(der.oid("1.2.840.10045.4.1"))  # ecdsa-with-SHA1
    parts = [part.raw for part in der.children(der.read(made.certificate.tbs_certificate_bytes))]
    tbs = der.sequence(*parts[:2], algorithm, *parts[3:])
    signature = signer.key.sign(tbs, ec.ECDSA(hashes.SHA1()))  # noqa: S303 - what is to be refused
    return x509.load_der_x509_certificate(der.sequence(tbs, algorithm, der.bit_string(signature)))


def test_a_broken_hash_proves_nothing() -> None:
    with pytest.raises(Rejected, match="broken hash"):
        anchors().judge((with_sha1(make("pump", ROOT), ROOT),), NOW)
    with pytest.raises(Rejected, match="broken hash"):
        anchors().judge((make("pump", SUB).certificate, with_sha1(SUB, ROOT)), NOW)


def test_an_anchor_may_be_as_old_as_its_own_signature_is() -> None:
    """It is trusted since it is configured; roots of makers outlive hash functions."""
    old = Made(with_sha1(ROOT, ROOT), ROOT.key)
    assert anchors(old).judge(presented(make("pump", SUB), SUB), NOW) is not None


def test_names_that_can_not_be_read_are_refused() -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("no name at all")])
    with pytest.raises(Rejected, match="names of the presented certificate"):
        anchors().judge(presented(make("pump", ROOT, extensions=[(names, False)])), NOW)


def test_a_subject_that_is_no_text_is_refused() -> None:
    """It was a TypeError of the library's, found by fuzzing."""
    parts = [part.raw for part in der.children(der.read(make("pump", ROOT).certificate.tbs_certificate_bytes))]
    subject = der.sequence(der.set_of(der.sequence(der.oid("2.5.4.3"), der.bit_string(b"pump"))))
    tbs = der.sequence(*parts[:5], subject, *parts[6:])
    signature = ROOT.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    odd = x509.load_der_x509_certificate(der.sequence(tbs, parts[2], der.bit_string(signature)))
    with pytest.raises(Rejected, match="names of the presented certificate"):
        anchors().judge((odd,), NOW)


def test_what_only_one_of_two_parsers_reads_is_refused() -> None:
    """It was an error of OpenSSL's that nobody expected, found by fuzzing."""
    octets = make("pump", ROOT).certificate.public_bytes(Encoding.DER)
    odd = x509.load_der_x509_certificate(octets.replace(b"\x0c\x04pump", b"\x0c\x04pum\xff"))
    with pytest.raises(Rejected, match="can't be read"):
        anchors().judge((odd,), NOW)


def test_an_unknown_critical_extension_is_refused() -> None:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    with pytest.raises(Rejected, match="critical"):
        anchors().judge(presented(make("pump", ROOT, extensions=[(extension, True)])), NOW)


def test_our_own_ca_is_never_another_partys() -> None:
    with pytest.raises(AnchorConfigurationError, match="CN=Device Root is our own CA"):
        refuse_own(anchors(), [ROOT.certificate])
    refuse_own(anchors(), [SUB.certificate])


# --- revocation --------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Good CRLs of both CAs."""
    return [ROOT.crl(tmp_path / "root.crl"), SUB.crl(tmp_path / "sub.crl")]


def test_a_certificate_that_no_crl_names_stands_and_from_the_next_crl_on_it_does_not(files: list[Path]) -> None:
    device, judge = make("pump", SUB), anchors(crls=CrlFiles(files))

    assert judge.judge(presented(device, SUB), NOW) is not None
    assert judge.judge(presented(device, SUB), NOW) is not None
    SUB.crl(files[1], device.certificate)
    with pytest.raises(Rejected, match="is revoked"):
        judge.judge(presented(device, SUB), NOW)


def test_nothing_is_kept_of_the_lists_that_there_were(files: list[Path]) -> None:
    """A list comes every hour, and a server runs for years."""

    def kept() -> int:
        seen: dict[int, object] = {}
        todo: list[object] = [vars(crls)]
        while todo:
            one = todo.pop()
            if id(one) not in seen and not isinstance(one, type | ModuleType):
                seen[id(one)] = one
                todo.extend(gc.get_referents(one))
        return sum(isinstance(one, bytes) for one in seen.values())

    device, crls, counts = make("pump", SUB), CrlFiles(files), []
    judge = anchors(crls=crls)
    for hours in range(5):
        SUB.crl(files[1], begin=YESTERDAY + timedelta(hours=hours))
        assert judge.judge(presented(device, SUB), NOW) is not None
        counts.append(kept())
    assert len(set(counts)) == 1


def test_a_revoked_intermediate_revokes_what_is_below(files: list[Path]) -> None:
    ROOT.crl(files[0], SUB.certificate)
    with pytest.raises(Rejected, match="one above it, is revoked"):
        anchors(crls=CrlFiles(files)).judge(presented(make("pump", SUB), SUB), NOW)


DELTA = x509.DeltaCRLIndicator(1)
UNREADABLE = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.20"), der.null())  # a CRLNumber is an INTEGER


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"end": NOW - timedelta(seconds=5)}, "out of date"),
        ({"begin": NOW + timedelta(hours=1)}, "out of date"),
        ({"key": make("x").key}, "no CRL of its issuer"),
        ({"extension": DELTA}, "no CRL of its issuer"),
        ({"extension": UNREADABLE}, "no CRL of its issuer"),
    ],
    ids=["ended", "of the future", "forged", "delta", "unreadable"],
)
def test_a_crl_that_does_not_count_is_none(files: list[Path], changes: dict[str, Any], why: str) -> None:
    SUB.crl(files[1], **changes)
    judge = anchors(crls=CrlFiles(files))
    for _ in range(2):  # not when it is remembered either
        with pytest.raises(Rejected, match=why):
            judge.judge(presented(make("pump", SUB), SUB), NOW)


def test_a_crl_is_good_for_itself_alone_and_for_the_ca_that_signed_it_under_its_name(files: list[Path]) -> None:
    """Signatures are verified once: what is remembered of one must not vouch for another."""
    judge = anchors(crls=CrlFiles(files))
    assert judge.judge(presented(make("pump", SUB), SUB), NOW) is not None
    namesake = make("Device Sub CA", ROOT, ca=True)
    renamed = make("Renamed Sub CA", ROOT, ca=True, key=SUB.key)
    for other in (namesake, renamed):
        with pytest.raises(Rejected, match="no CRL of its issuer"):
            judge.judge(presented(make("pump", other), other), NOW)
    namesake.crl(files[1], begin=YESTERDAY + timedelta(hours=1))
    with pytest.raises(Rejected, match="no CRL of its issuer"):
        judge.judge(presented(make("pump", SUB), SUB), NOW)


def test_a_crl_that_does_not_say_when_the_next_one_comes_is_out_of_date(files: list[Path]) -> None:
    """RFC 5280 section 5.1.2.5 wants it; without, an old list could be left in place for ever."""
    made = x509.load_pem_x509_crl(files[1].read_bytes())
    parts = [part.raw for part in der.children(der.read(made.tbs_certlist_bytes))]
    tbs = der.sequence(*parts[:4], *parts[5:])
    signature = SUB.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    files[1].write_bytes(der.sequence(tbs, parts[1], der.bit_string(signature)))
    assert x509.load_der_x509_crl(files[1].read_bytes()).next_update_utc is None
    with pytest.raises(Rejected, match="out of date"):
        anchors(crls=CrlFiles(files)).judge(presented(make("pump", SUB), SUB), NOW)


def test_a_crl_counts_from_its_time_until_that_of_the_next(files: list[Path]) -> None:
    begin = NOW.replace(microsecond=0)
    end, second = begin + timedelta(hours=1), timedelta(seconds=1)
    SUB.crl(files[1], begin=begin, end=end)
    judge, chain = anchors(crls=CrlFiles(files)), presented(make("pump", SUB), SUB)
    for moment in (begin, end - second):
        assert judge.judge(chain, moment) is not None
    for moment in (begin - second, end):
        with pytest.raises(Rejected, match="out of date"):
            judge.judge(chain, moment)


def test_a_crl_of_the_same_size_is_read_again_too(files: list[Path]) -> None:
    device, other = make("pump", SUB, serial=1 << 100), make("valve", SUB, serial=1 << 101)
    judge = anchors(crls=CrlFiles(files))
    SUB.crl(files[1], other.certificate)
    os.utime(files[1], (0, 0))  # clocks of file systems are coarse
    size = files[1].stat().st_size
    assert judge.judge(presented(device, SUB), NOW) is not None
    while SUB.crl(files[1], device.certificate).stat().st_size != size:  # signatures differ in length
        pass
    with pytest.raises(Rejected, match="is revoked"):
        judge.judge(presented(device, SUB), NOW)


@pytest.mark.parametrize("content", [None, b"garbage", b"-----BEGIN X509 CRL-----\n"])
def test_a_file_that_goes_missing_or_bad_lets_nobody_in(files: list[Path], content: bytes | None) -> None:
    crls = CrlFiles(files)
    crls.check()
    files[1].unlink()
    if content is not None:
        files[1].write_bytes(content)
    with pytest.raises(Rejected, match="no CRL of its issuer"):
        anchors(crls=crls).judge(presented(make("pump", SUB), SUB), NOW)
    with pytest.raises((OSError, MalformedCrl)):
        crls.check()


def test_the_newest_of_several_crls_counts(files: list[Path], tmp_path: Path) -> None:
    device = make("pump", SUB)
    newer = SUB.crl(tmp_path / "newer.crl", device.certificate, begin=YESTERDAY + timedelta(hours=1))
    with pytest.raises(Rejected, match="is revoked"):
        anchors(crls=CrlFiles([newer, *files])).judge(presented(device, SUB), NOW)


def test_a_ca_that_may_not_sign_crls_has_none(tmp_path: Path) -> None:
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    ca = make("Quiet CA", ca=True, extensions=[(usage, True)])
    crls = CrlFiles([ca.crl(tmp_path / "ca.crl")])
    with pytest.raises(Rejected, match="no CRL of its issuer"):
        anchors(ca, crls=crls).judge(presented(make("pump", ca)), NOW)


def test_what_our_own_ca_has_issued_is_never_another_partys_though_it_has_certified_our_ca() -> None:
    """A certificate of ours that is revoked would be good again, by the CRLs of somebody else."""
    ours = make("Issuing CA", ca=True)
    crossed = make("Issuing CA", ROOT, ca=True, key=ours.key)
    device = make("pump", ours)
    assert anchors().judge(presented(device, crossed), NOW) is not None
    assert anchors(own=presented(ours)).judge(presented(device, crossed), NOW) is None
    assert anchors(own=presented(ours)).judge(presented(make("pump", ROOT)), NOW) is not None


# --- CAs of the same name ----------------------------------------------------------------------------------------


def named(name: str, issuer: Made | None = None, *, identified: bool, ca: bool = True) -> Made:
    """Make a certificate with key identifiers, or without any, as old devices have."""
    key = ec.generate_private_key(ec.SECP256R1())
    above = key if issuer is None else issuer.key
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), False),
    ]
    return make(name, issuer, ca=ca, key=key, extensions=extensions if identified else ())


@pytest.mark.parametrize("identified", [True, False])
@pytest.mark.parametrize("generations", [2, 3])
def test_a_maker_that_gave_its_name_to_several_cas_has_the_devices_of_them_all(
    generations: int, *, identified: bool
) -> None:
    """A CA gets a new key and keeps its name (RFC 5280 section 3.3 has the name in the path, not the key)."""
    makers = [named("Device CA", identified=identified) for _ in range(generations)]
    for trusted in permutations(makers):
        judge = anchors(*trusted)
        for maker in makers:
            assert judge.judge(presented(named("pump", maker, identified=identified, ca=False)), NOW) is not None
        forged = named("pump", named("Device CA", identified=identified), identified=identified, ca=False)
        with suppress(Rejected):
            assert judge.judge(presented(forged), NOW) is None


@pytest.mark.parametrize("identified", [True, False])
def test_a_maker_that_gave_one_name_to_several_sub_cas_has_the_devices_of_them_all(*, identified: bool) -> None:
    root = named("Device Root", identified=identified)
    subs = [named("Device CA", root, identified=identified) for _ in range(2)]
    for order in permutations(subs):
        judge = anchors(root, intermediates=presented(*order))
        for sub in subs:
            assert judge.judge(presented(named("pump", sub, identified=identified, ca=False)), NOW) is not None


def test_of_two_cas_of_the_same_name_the_right_ones_end_counts() -> None:
    old, new = make("Device CA", ca=True, end=NOW - timedelta(hours=1)), make("Device CA", ca=True)
    judge = anchors(old, new)
    assert judge.judge(presented(make("pump", new)), NOW) is not None
    with pytest.raises(Rejected, match="expired"):
        judge.judge(presented(make("pump", old)), NOW)
