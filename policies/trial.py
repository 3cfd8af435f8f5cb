"""Running the tests that policy files carry: a request is made up, judged, and compared with what is expected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import der
from ca.csr import Csr, RequestedAttribute, RequestedExtension
from ca.keys import POST_QUANTUM, KeyShape
from ca.plan import KeyUsage
from ca.weak_keys import weaknesses
from policies.decision import Approved, Deferred, Denied
from policies.document import DocumentProblem
from policies.durations import duration_text
from policies.profile import Ceilings, IssuerFacts
from policies.profile_set import ProfileSet
from policies.request import (
    EVIDENCE_WORDS,
    AccountEvidence,
    CertificateEvidence,
    ChallengeEvidence,
    DeviceEvidence,
    EnrollmentRequest,
    Facts,
    LookupAnswer,
    PasswordEvidence,
    PossessionEvidence,
    RegistrationAuthorityEvidence,
    Renewed,
    Requester,
)
from policies.words import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, PURPOSE_NAMES, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ca.csr import SubjectKey
    from policies.cases import Expected, Given, GivenRenewal, PolicyTest
    from policies.decision import Decision
    from policies.profile import PolicyFile
    from policies.request import Evidence

TEST_NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
"""The time at which tests inside policy files play."""

_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_CERTIFICATE_SERIAL = 0x1001
_CA = bytes.fromhex("30030101ff")


def failed_tests(file: PolicyFile, ceilings: Ceilings) -> Iterator[DocumentProblem]:
    """Run the tests of a file against its own profiles and yield those that fail, each with its place."""
    for test, place in file.tests:
        differences = list(_differences(test, run_test(file, test, ceilings)))
        if differences:
            yield DocumentProblem(place, f'test "{test.name}" fails: {"; ".join(differences)}')


def run_test(file: PolicyFile, test: PolicyTest, ceilings: Ceilings) -> Decision:
    """Return what the file's profiles decide on the request of one of its tests."""
    name = test.profile or file.profiles[0].name
    facts = IssuerFacts(TEST_NOW - timedelta(days=3650), TEST_NOW + test.given.issuer_left)
    issuers = {profile.sections.issuer: facts for profile in file.profiles}
    profiles = ProfileSet(file.profiles, ceilings=ceilings, issuers=issuers)
    csr = None if test.given.csr is None else file.csrs[test.given.csr]
    return profiles.decide(request_of(test.given, name, csr))


def request_of(given: Given, profile: str, csr: Csr | None = None) -> EnrollmentRequest:
    """Return the request that a test describes, for the named profile; with a CSR from a file where it names one."""
    if csr is not None:
        given = given.model_copy(update={"subject": csr.subject, "names": csr.names})
    key = _key(given.key) if csr is None else csr.key
    renewed = None
    if given.renews is not None:
        renewed = _renewed(given, given.renews, profile, key)
    kind = given.evidence_words[0] if given.evidence_words else "nobody"
    return EnrollmentRequest(
        key="test",
        kind=given.kind,
        endpoint=given.endpoint,
        profile=profile,
        csr=csr or _csr(given, key),
        requester=Requester(given.requester or f"{kind}:test", _evidence(given, profile)),
        now=TEST_NOW,
        renewed=renewed,
        facts=_facts(given),
    )


def _facts(given: Given) -> Facts:
    answers = [
        LookupAnswer(name, "test", found=values is not None, values=tuple((values or {}).items()))
        for name, values in given.lookup.items()
    ]
    return Facts(
        tuple(answers),
        active=given.active,
        issued_to_requester=given.issued_to_requester,
        issued_under_profile=given.issued_under_profile,
        key_renewals=given.key_renewals,
        key_holders=given.key_holders,
        origin=None if given.renews is None else given.renews.requester,
    )


_SEEDED: dict[str, tuple[Callable[[bytes], Any], int]] = {
    "ml-dsa-44": (mldsa.MLDSA44PrivateKey.from_seed_bytes, 32),
    "ml-dsa-65": (mldsa.MLDSA65PrivateKey.from_seed_bytes, 32),
    "ml-dsa-87": (mldsa.MLDSA87PrivateKey.from_seed_bytes, 32),
    "ml-kem-768": (mlkem.MLKEM768PrivateKey.from_seed_bytes, 64),
    "ml-kem-1024": (mlkem.MLKEM1024PrivateKey.from_seed_bytes, 64),
}


@cache
def _key(word: str) -> SubjectKey:
    """Return a public key of this shape, the same each time; whoever reads this knows its private part."""
    kind, _, size = word.partition(":")
    if kind == "rsa":
        return _rsa_key(int(size))
    if kind == "ec":
        return ec.derive_private_key(0xC0FFEE, _CURVES[size]).public_key()
    if kind in _SEEDED:
        made, seed = _SEEDED[kind]
        public: SubjectKey = made(bytes(seed)).public_key()
        return public
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()


def _rsa_key(bits: int) -> rsa.RSAPublicKey:
    """Return a key without any known weakness; nobody knows, nor needs to know, what its modulus is made of."""
    number = int.from_bytes(b"".join(sha256(bytes([count])).digest() for count in range(64)), "big")
    modulus = number >> (2048 * 8 - bits) | 1 << (bits - 1) | 1
    while True:
        key = rsa.RSAPublicNumbers(65537, modulus).public_key()
        if not any(weaknesses(key, b"")):
            return key
        modulus += 2


def _spki(key: SubjectKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _shape(word: str, key: SubjectKey) -> KeyShape:
    kind, _, size = word.partition(":")
    bits = key.key_size if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else 256
    return KeyShape(kind, POST_QUANTUM.get(kind, ("", bits))[1], size if kind == "ec" else None)


def _csr(given: Given, key: SubjectKey) -> Csr:
    extensions = [RequestedExtension(e.oid, e.critical, bytes.fromhex(e.value)) for e in given.extensions]
    if given.ca:
        extensions.append(RequestedExtension(BASIC_CONSTRAINTS, critical=True, value=_CA))
    if given.key_usage:
        extensions.append(RequestedExtension(KEY_USAGE, critical=True, value=_key_usage(given.key_usage)))
    if given.extended_key_usage:
        value = der.sequence(*map(der.oid, given.extended_key_usage))
        extensions.append(RequestedExtension(EXTENDED_KEY_USAGE, critical=False, value=value))
    return Csr(
        der=b"",
        subject=given.subject,
        spki=_spki(key),
        key=key,
        key_shape=_shape(given.key, key),
        names=given.names,
        extensions=tuple(extensions),
        attributes=tuple(RequestedAttribute(oid, ()) for oid in given.attributes),
        challenge_password="test" if given.challenge_password else None,
    )


def _key_usage(bits: tuple[KeyUsage, ...]) -> bytes:
    number = sum(0x8000 >> index for index, bit in enumerate(KeyUsage) if bit in bits)
    return der.bit_string(number.to_bytes(2, "big"), 7)


def _evidence(given: Given, profile: str) -> tuple[Evidence, ...]:
    shown = given.certificate or given.renews
    every: tuple[Evidence, ...] = (
        PasswordEvidence(given.requester.partition(":")[2] or "test"),
        ChallengeEvidence("static"),
        PossessionEvidence("0" * 64),
        RegistrationAuthorityEvidence(_CERTIFICATE_SERIAL, "test"),
        AccountEvidence("test", given.names if given.authorized is None else given.authorized),
        DeviceEvidence(given.subject.common_names),
        CertificateEvidence(
            subject=shown.subject if shown else given.subject,
            names=shown.names if shown else given.names,
            serial=_CERTIFICATE_SERIAL,
            not_after=TEST_NOW + timedelta(days=1),
            anchor="own",
            profile=(shown and shown.profile) or profile,
            endpoint=given.endpoint,
        ),
    )
    return tuple(one for one in every if EVIDENCE_WORDS[type(one)] in given.evidence_words)


def _renewed(given: Given, old: GivenRenewal, profile: str, key: SubjectKey) -> Renewed:
    not_before = TEST_NOW - old.age
    return Renewed(
        serial=_CERTIFICATE_SERIAL,
        subject=old.subject,
        names=old.names,
        spki=_spki(key) if old.key == "same" else b"another key",
        not_before=not_before,
        not_after=not_before + old.lifetime,
        profile=old.profile or profile,
        endpoint=given.endpoint,
    )


def _differences(test: PolicyTest, decision: Decision) -> Iterator[str]:
    expect = test.expect
    word = type(decision).__name__.lower()
    if word != expect.decision:
        reasons = "" if isinstance(decision, Approved) else f" ({_reasons(decision)})"
        yield f"expected {expect.decision}, the decision is {word}{reasons}"
        return
    if expect.shadow is not None:
        found = sorted({finding.rule for finding in decision.trace.shadows})
        if found != sorted(set(expect.shadow)):
            yield f"expected {_words(expect.shadow)} to deny on trial, it is {_words(found)}"
    if isinstance(decision, Denied):
        rules = sorted({finding.rule for finding in decision.findings})
        if expect.rules is not None and rules != sorted(set(expect.rules)):
            yield f"expected the rules {', '.join(expect.rules)}, denied by {', '.join(rules)}"
        return
    yield from _plan_differences(expect, decision)


def _reasons(decision: Denied | Deferred) -> str:
    return ", ".join(f"{f.rule} at {f.location}: {f.message}" for f in decision.findings)


def _plan_differences(expect: Expected, decision: Approved | Deferred) -> Iterator[str]:
    plan = decision.plan
    lifetime = plan.not_after - TEST_NOW + timedelta(seconds=1)
    if expect.subject is not None and not plan.subject.matches(expect.subject):
        yield f'expected the subject "{expect.subject}", it is "{plan.subject}"'
    if expect.names is not None and set(plan.names) != set(expect.names):
        yield f"expected the names {_words(expect.names)}, they are {_words(plan.names)}"
    if expect.lifetime is not None and lifetime != expect.lifetime:
        yield f"expected a lifetime of {duration_text(expect.lifetime)}, it is {duration_text(lifetime)}"
    if expect.key_usage is not None and plan.key_usage != frozenset(expect.key_usage):
        yield f"expected the key usage {_words(expect.key_usage)}, it is {_words(sorted(plan.key_usage))}"
    if expect.extended_key_usage is not None and set(plan.extended_key_usage) != set(expect.extended_key_usage):
        wanted, got = (_purposes(oids) for oids in (expect.extended_key_usage, plan.extended_key_usage))
        yield f"expected the extended key usage {wanted}, it is {got}"


def _words(values: Iterable[object]) -> str:
    return "[" + ", ".join(map(str, values)) + "]"


def _purposes(oids: tuple[str, ...]) -> str:
    return _words([name_of(oid, PURPOSE_NAMES) for oid in oids])
