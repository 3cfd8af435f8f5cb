"""The sections of a profile: the format of policy files.

Three words decide over each part of a certificate, and they never mean each other: what is *forced* is in the
certificate whatever was asked for, what is *allowed* is taken from the request when it fits, what is a *default* is
used when the request has nothing of the kind. What is absent is forbidden.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from ca.plan import KeyUsage
from policies.alternative_names import Names
from policies.decision import ApprovalTerms, QuotaLimits, Rate
from policies.document import Strict
from policies.durations import Duration, parse_duration
from policies.expressions import ExpressionField
from policies.extensions import Extensions
from policies.fields import KEY_KINDS, AttributeWord, EvidenceWord, KeyKind, KeyPatternField, Purpose, Template, listed
from policies.patterns import CharactersField, EndpointPatternField, GlobField
from policies.words import CA_USAGES, NEVER_REQUESTED_PURPOSES, PURPOSES


class Evidence(Strict):
    """How the requester must have proven who it is: any one of the kinds, or all of them."""

    any: tuple[EvidenceWord, ...] = ()
    all: tuple[EvidenceWord, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Evidence:
        if bool(self.any) == bool(self.all):
            raise ValueError("write either any: [...] or all: [...], with at least one kind of evidence")
        return self

    @cached_property
    def limit(self) -> str:
        """The demand in words."""
        return f"any of {', '.join(self.any)}" if self.any else f"all of {', '.join(self.all)}"

    def is_met_by(self, present: frozenset[str]) -> bool:
        """Whether these kinds of evidence are enough."""
        return not present.isdisjoint(self.any) if self.any else present.issuperset(self.all)


def _fingerprint(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        raise ValueError(f'"{text}" is no SHA-256 of a public key: 64 hexadecimal digits')
    return text.lower()


class Clients(Strict):
    """For whom a profile is: requesters by their names, or groups of them."""

    names: tuple[GlobField, ...] = ()
    groups: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _somebody(self) -> Clients:
        if not (self.names or self.groups):
            raise ValueError("write names: [...] or groups: [...]; nobody would be meant")
        return self


class Keys(Strict):
    """Which public keys may be certified."""

    allowed: Annotated[tuple[KeyPatternField, ...], Field(min_length=1)]
    weak: Literal["refuse", "report"] = "refuse"
    blocked: tuple[Annotated[str, AfterValidator(_fingerprint)], ...] = ()
    reuse: Literal["any", "same-client"] = "any"
    escrow: bool = False

    @cached_property
    def limit(self) -> str:
        """The list in words."""
        return listed(self.allowed)


class Text(Strict):
    """What a subject attribute of the request may be."""

    like: Annotated[tuple[GlobField, ...], Field(min_length=1)]
    characters: CharactersField | None = None
    length: Annotated[int, Field(ge=1)] | None = None
    required: bool = False
    max: Annotated[int, Field(ge=1, le=16)] = 1
    among_names: bool = False

    @cached_property
    def limit(self) -> str:
        """The patterns in words."""
        return listed(self.like)

    @cached_property
    def is_free(self) -> bool:
        """Whether one of the patterns matches everything."""
        return any(pattern.text == "*" for pattern in self.like)


class Subject(Strict):
    """The subject of the certificate."""

    forced: dict[AttributeWord, Template] = Field(default_factory=dict)
    allowed: dict[AttributeWord, Text] = Field(default_factory=dict)
    default: dict[AttributeWord, Template] = Field(default_factory=dict)
    others: Literal["refuse", "ignore"] = "refuse"

    @model_validator(mode="after")
    def _once(self) -> Subject:
        both = sorted(self.forced.keys() & (self.allowed.keys() | self.default.keys()))
        if both:
            raise ValueError(f"{', '.join(both)} is forced: it can't be allowed or have a default as well")
        return self


class KeyUsages(Strict):
    """The bits of keyUsage."""

    forced: tuple[KeyUsage, ...] = ()
    forced_for: dict[KeyKind, tuple[KeyUsage, ...]] = Field(default_factory=dict)
    allowed: tuple[KeyUsage, ...] = ()

    @model_validator(mode="after")
    def _no_ca(self) -> KeyUsages:
        every = {*self.forced, *self.allowed, *(bit for bits in self.forced_for.values() for bit in bits)}
        if every & CA_USAGES:
            raise ValueError("keyCertSign and cRLSign make a CA; a profile never has them")
        return self

    @cached_property
    def granted(self) -> dict[str, tuple[frozenset[KeyUsage], str]]:
        """What a key of each kind always gets, as bits and in words."""
        granted = {}
        for kind in KEY_KINDS:
            bits = frozenset((*self.forced, *self.forced_for.get(kind, ())))
            granted[kind] = (bits, ", ".join(sorted(bits)))
        return granted


class Purposes(Strict):
    """Extended key usages, as dotted numbers after reading."""

    forced: tuple[Purpose, ...] = ()
    allowed: tuple[Purpose, ...] = ()
    default: tuple[Purpose, ...] = ()

    @model_validator(mode="after")
    def _bounded(self) -> Purposes:
        if PURPOSES["anyExtendedKeyUsage"] in {*self.forced, *self.allowed, *self.default}:
            raise ValueError("anyExtendedKeyUsage removes every restriction; name the purposes")
        powerful = NEVER_REQUESTED_PURPOSES.intersection(self.allowed)
        if powerful:
            raise ValueError(
                f"{', '.join(sorted(powerful))} gives power over others: it can be forced, never asked for"
            )
        if not (self.forced or self.allowed or self.default):
            raise ValueError("no purpose at all would be every purpose; name at least one")
        return self


class Validity(Strict):
    """From when to when."""

    default: Duration
    max: Duration | None = None
    backdate: Duration = timedelta(minutes=5)
    issuer_end: Literal["refuse", "shorten"] = "refuse"

    @cached_property
    def limit(self) -> timedelta:
        """The longest whole period, backdating included."""
        return self.max or self.default + self.backdate

    @model_validator(mode="after")
    def _within(self) -> Validity:
        if self.default < timedelta(minutes=1):
            raise ValueError("a certificate lives at least one minute")
        if self.backdate > timedelta(hours=48):
            raise ValueError("backdate is more than 48h")
        if self.default + self.backdate > self.limit:
            raise ValueError("default and backdate together are longer than max")
        return self


def _window(text: object) -> timedelta | float:
    """Read ``30d`` or ``33%``."""
    match = re.fullmatch(r"([0-9]{1,3})%", text) if isinstance(text, str) else None
    if match is None:
        return parse_duration(text)
    if not 0 < int(match[1]) <= 100:
        raise ValueError("a share of the lifetime is from 1% to 100%")
    return int(match[1]) / 100


class Replaced(Strict):
    """What becomes of a certificate that was renewed, some time after the renewal."""

    hold_after: Duration | None = None
    revoke_after: Duration | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Replaced:
        if self.hold_after is None and self.revoke_after is None:
            raise ValueError("write revoke_after, hold_after, or both; keep: leave the section out")
        if self.hold_after is not None and self.revoke_after is not None and self.hold_after >= self.revoke_after:
            raise ValueError("hold_after comes before revoke_after")
        return self


def _replaced(value: object) -> object:
    """Read ``keep`` as nothing."""
    if isinstance(value, str) and value != "keep":
        raise ValueError(f'should be keep, or a mapping like {{revoke_after: 14d}}, not "{value}"')
    return None if value == "keep" else value


class Renewal(Strict):
    """What a renewal may change, and when it may come; without this section nothing is renewed."""

    evidence: Evidence | None = None
    profiles: tuple[str, ...] = ()
    subject: Literal["same", "any"] = "same"
    names: Literal["same", "fewer", "any"] = "same"
    key: Literal["any", "new", "same"] = "any"
    key_renewals: Annotated[int, Field(ge=1)] | None = None
    window: Annotated[timedelta | float, BeforeValidator(_window), WithJsonSchema({"type": "string"})] | None = None
    replaced: Annotated[
        Replaced | None, BeforeValidator(_replaced, json_schema_input_type=Replaced | Literal["keep"])
    ] = None


Treatment = Literal["ignore", "refuse"]


class Unused(Strict):
    """What happens when a request carries something that can't go into the certificate."""

    attributes: Treatment = "ignore"
    extensions: Treatment = "ignore"
    critical_extensions: Treatment = "refuse"
    usages: Treatment = "ignore"
    duplicate_names: Treatment = "ignore"
    powers: Treatment = "refuse"


class Condition(Strict):
    """A demand of the profile's own, in CEL."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    require: ExpressionField
    message: Annotated[str, Field(min_length=1, max_length=200)]
    shadow: bool = False


def _distinct(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    names = [condition.id for condition in conditions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two rules are called {', '.join(twice)}")
    return conditions


class Approval(Strict):
    """Who must approve what the rules let through."""

    role: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")] | None = None
    count: Annotated[int, Field(ge=1, le=9)] = 1
    expires: Duration | None = None
    when: ExpressionField | None = None

    @property
    def limit(self) -> str:
        """The demand in words."""
        return f"{self.count} with the role {self.role}" if self.role else f"{self.count} of anybody"

    @property
    def terms(self) -> ApprovalTerms:
        """The demand as decisions have it."""
        return ApprovalTerms(self.count, self.role, self.expires)


def _approval(value: object) -> object:
    """Read ``none`` and ``manual`` as the mappings they stand for."""
    if isinstance(value, str) and value not in {"none", "manual"}:
        raise ValueError(f"should be 'none' or 'manual', or a mapping that says who must approve, not \"{value}\"")
    return {"none": None, "manual": Approval()}.get(value, value) if isinstance(value, str) else value


class Lookup(Strict):
    """What the server looks up about the requester before it asks the policy."""

    source: str
    key: Literal["requester", "CN", "serialNumber", "dns"] = "requester"
    required: bool = True


def _rate(text: object) -> Rate:
    match = re.fullmatch(r"([1-9][0-9]{0,6})/([0-9]+[smhdwy])", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("a quota is a number and a time, like 5/1d")
    return Rate(int(match[1]), parse_duration(match[2]))


RateField = Annotated[Rate, BeforeValidator(_rate), WithJsonSchema({"type": "string"})]


class Quota(Strict):
    """How many certificates are given."""

    active: Annotated[int, Field(ge=1)] | None = None
    per_requester: RateField | None = None
    per_profile: RateField | None = None

    @cached_property
    def limits(self) -> QuotaLimits:
        """The limits as decisions have them."""
        return QuotaLimits(self.active, self.per_requester, self.per_profile)


LookupName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Sections(Strict):
    """One profile as its file has it."""

    description: str = ""
    testing: bool = False
    endpoints: Annotated[tuple[EndpointPatternField, ...], Field(min_length=1)]
    issuer: str
    clients: Clients | None = None
    evidence: Evidence
    certificate_names: Literal["same", "any"] = "same"
    key: Keys
    subject: Subject = Subject()
    names: Names = Names()
    key_usage: KeyUsages = KeyUsages()
    extended_key_usage: Purposes
    validity: Validity
    renewal: Renewal | None = None
    unused: Unused = Unused()
    extensions: Extensions = Extensions()
    lookups: dict[LookupName, Lookup] = Field(default_factory=dict)
    quota: Quota | None = None
    rules: Annotated[tuple[Condition, ...], AfterValidator(_distinct)] = ()
    approval: Annotated[
        Approval | None, BeforeValidator(_approval, json_schema_input_type=Approval | Literal["none", "manual"])
    ] = None
    lint: Literal["shape", "always"] = "shape"

    @model_validator(mode="after")
    def _nobody_unknown_without_approval(self) -> Sections:
        every = [self.evidence, *([self.renewal.evidence] if self.renewal and self.renewal.evidence else [])]
        taken = {word for evidence in every for word in (*evidence.any, *evidence.all)}
        if "possession" in taken and (self.approval is None or self.approval.when is not None):
            raise ValueError(
                "possession proves a key and no identity: approval: manual, without a condition, is needed"
            )
        return self
