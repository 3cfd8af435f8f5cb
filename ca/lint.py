"""The full set of PKIX rules, asked before anything is signed (pkilint).

A run costs about 2 ms, more than all other work for a certificate, so that by default it is made once for each shape
of plan. That is sound because of what the rules look at:

- Nearly all judge structure: which extensions, with what criticality, which string and time types, which algorithms.
  The structure is part of the shape, and everything that a profile gives as ready octets is part of it as a whole.
- Some judge the syntax of single values: DNS names, addresses, lengths. These values are typed, made by `ca.names`, and
  written by one writer that refuses what RFC 5280 does not allow.
- A few relate values to each other, an e-mail address of the subject to the names, domain components to one another,
  or look into names that have an inside of their own (directoryName, otherName). A plan with any of these has no
  shape: it is linted every time.

Only clean shapes are remembered. Of what was signed, also by CAs elsewhere, a sample is examined in full beside the
work (`server.sampling`), and a finding there is an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Literal

from cryptography.hazmat.primitives.asymmetric import ec

from ca import der
from ca.keys import split_key
from ca.name_codec import DOMAIN_COMPONENT
from ca.names import EMAIL_ADDRESS, DirectoryName, OtherName
from ca.tbs import IssuerProfile, PerCertificate, UnsignablePlan, write_certificate, write_tbs

if TYPE_CHECKING:
    from collections.abc import Hashable

    from cryptography import x509

    from ca.pkix_rules import PkixRules
    from ca.plan import CertificatePlan

Mode = Literal["shape", "always"]

_RELATED = frozenset({EMAIL_ADDRESS, DOMAIN_COMPONENT})
_OPAQUE: frozenset[type] = frozenset({DirectoryName, OtherName})

STRICTER_THAN_RFC = {
    "pkix.invalid_domain_name_syntax": "refuses names of one label, which RFC 1034 section 3.5 allows",
    "pkix.invalid_email_address_syntax": "refuses a host of one label",
    "pkix.invalid_uri_syntax": "refuses schemes and hosts that RFC 3986 allows",
}
"""Findings that don't count, with the reason. `ca.names` guards the same values."""


@dataclass(frozen=True, slots=True)
class LintFinding:
    """A rule that the certificate would break.

    Attributes:
        code: pkilint's code, such as ``pkix.no_ku_bits_set``; ``unsignable`` for a plan that can't be written at all.
        severity: ``error`` or ``fatal``.
        path: where in the certificate.
        message: what is wrong, for administrators; may be empty.
    """

    code: str
    severity: str
    path: str
    message: str = ""


def load_rules() -> type[PkixRules]:
    """Return the rules, loaded with the first call; any thread may make it, and others wait for it meanwhile.

    A server that serves already does this in a thread, so that neither its start nor its first request waits long.
    """
    from ca.pkix_rules import PkixRules  # noqa: PLC0415 - the purpose of this function

    return PkixRules


class Linter:
    """Lints the certificates that plans would become. Not for several threads at once."""

    def __init__(self, mode: Mode = "shape", *, remembered: int = 4096) -> None:
        """Lint once for each shape of plan, remembering so many, or always."""
        self._always = mode == "always"
        self._remembered = remembered
        self._clean: dict[Hashable, None] = {}
        self._issuer = PerCertificate(IssuerProfile.of)

    @cached_property
    def _rules(self) -> PkixRules:
        return load_rules()()

    def lint(
        self, plan: CertificatePlan, serial: int, issuer_certificate: x509.Certificate, *, full: bool = False
    ) -> tuple[LintFinding, ...]:
        """Return the errors that a certificate of this plan would have; empty when it may be signed.

        With ``full`` the rules run even when the shape is known to be clean. Takes microseconds for a known shape,
        about 2 ms otherwise.
        """
        issuer = self._issuer(issuer_certificate)
        outside = issuer.outside(plan)
        if outside:
            return tuple(LintFinding("name_constraints", "error", "", words) for words in outside)
        shape = None if self._always or full else _shape(plan, issuer)
        if shape is not None and shape in self._clean:
            return ()
        findings = self._run(plan, serial, issuer)
        if shape is not None and not findings:
            if len(self._clean) >= self._remembered:
                del self._clean[next(iter(self._clean))]
            self._clean[shape] = None
        return findings

    def _run(self, plan: CertificatePlan, serial: int, issuer: IssuerProfile) -> tuple[LintFinding, ...]:
        try:
            twin = write_certificate(write_tbs(plan, serial, issuer), issuer, _no_signature(issuer))
        except UnsignablePlan as error:
            return (LintFinding("unsignable", "error", "", str(error)),)
        return self.examine(twin)

    def examine(self, certificate: bytes) -> tuple[LintFinding, ...]:
        """Return the errors of a certificate, DER, by all rules, whatever is remembered."""
        try:
            document = self._rules.read(certificate)
        except ValueError as error:
            return (LintFinding("unreadable", "fatal", "", str(error)),)
        findings = (LintFinding(*each) for each in self._rules.broken(document))
        return tuple(finding for finding in findings if finding.code not in STRICTER_THAN_RFC)


def _no_signature(issuer: IssuerProfile) -> bytes:
    """Return octets in the form of a signature that no key verifies: the twin must never pass for a certificate."""
    if isinstance(issuer.key, ec.EllipticCurvePublicKey):
        return der.sequence(der.integer(0), der.integer(0))
    return bytes(256)  # of another length than some algorithms have, which no rule looks at


def _shape(plan: CertificatePlan, issuer: IssuerProfile) -> Hashable | None:
    """Return what the rules can tell apart in a plan, None when they can tell every plan apart."""
    subject = tuple([tuple([attribute.oid for attribute in rdn]) for rdn in plan.subject.rdns])
    if not _RELATED.isdisjoint(chain(*subject)) or not _OPAQUE.isdisjoint(map(type, plan.names)):
        return None
    return (
        plan.profile,
        plan.policy_digest,
        issuer.name,
        issuer.key_identifier,
        issuer.algorithm,
        plan.ca,
        subject,
        frozenset(map(type, plan.names)),
        _algorithm(plan.spki),
        plan.not_before.year < 2050,
        plan.not_after.year < 2050,
        plan.key_usage,
        plan.extended_key_usage,
        plan.extensions,
    )


def _algorithm(spki: bytes) -> bytes:
    """Return what the rules see of a key: its AlgorithmIdentifier."""
    try:
        return split_key(spki)[0]
    except der.MalformedDer:
        return spki
