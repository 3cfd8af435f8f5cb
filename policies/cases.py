"""Test cases inside policy files: the format. A file whose own tests fail is refused."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from ca.names import (
    Attribute,
    DirectoryName,
    DistinguishedName,
    EmailAddress,
    GeneralName,
    IpAddress,
    OtherName,
    RegisteredId,
    Uri,
    dns_name,
)
from ca.plan import KeyUsage
from policies.document import Strict, did_you_mean
from policies.durations import Duration
from policies.fields import EvidenceWord, Purpose
from policies.request import EndpointName, Kind, Protocol
from policies.words import SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Callable

_KEY = re.compile(r"rsa:[0-9]{4,5}|ec:P-(256|384|521)|ed25519|ml-dsa-(44|65|87)|ml-kem-(768|1024)")
_WORD = f"({'|'.join(SUBJECT_ATTRIBUTES)}|[0-2](\\.[0-9]+)+)"
_PLAIN_SUBJECT = re.compile(f"{_WORD}=[A-Za-z0-9][A-Za-z0-9._@: '/-]*([,+]{_WORD}=[A-Za-z0-9][A-Za-z0-9._@: '/-]*)*")
"""Where nothing is escaped: read with all the words of policy files, and much faster."""
_OWN_EVIDENCE = {Protocol.ACME: "account", Protocol.EST: "password", Protocol.SCEP: "challenge"}


def _other(value: str) -> OtherName:
    oid, _, octets = value.partition(":")
    return OtherName(oid, bytes.fromhex(octets))


_REQUESTERS = ("password", "challenge", "certificate", "account", "possession")
_NAME_KINDS: dict[str, Callable[[str], GeneralName]] = {
    "dirname": lambda value: DirectoryName(DistinguishedName.from_text(value)),
    "dns": dns_name,
    "email": EmailAddress,
    "ip": lambda value: IpAddress(ipaddress.ip_address(value)),
    "other": _other,
    "rid": RegisteredId,
    "uri": Uri,
}


def parse_name(text: str) -> GeneralName:
    """Read ``dns:``, ``ip:``, ``email:``, ``uri:``, ``rid:``, ``dirname:`` or ``other:OID:HEX``. Raises ValueError."""
    kind, _, value = text.partition(":")
    if kind not in _NAME_KINDS:
        raise ValueError(f'"{text}" is no name; write dns:device.example, ip:10.0.0.1, email:, uri:, rid: or dirname:')
    return _NAME_KINDS[kind](value)


def _name(value: object) -> GeneralName:
    if isinstance(value, str):
        return parse_name(value)
    raise ValueError("a name is written like dns:device.example")


def _subject(value: object) -> DistinguishedName:
    if not isinstance(value, str):
        raise ValueError("a subject is written like CN=device,O=Example")  # noqa: TRY004 - pydantic collects ValueError
    if _PLAIN_SUBJECT.fullmatch(value) is None:
        return DistinguishedName.from_text(value) if value else DistinguishedName()
    relative = [tuple(map(_attribute, rdn.split("+"))) for rdn in value.split(",")]
    return DistinguishedName(tuple(reversed(relative)))


def _attribute(text: str) -> Attribute:
    word, _, value = text.partition("=")
    return Attribute(SUBJECT_ATTRIBUTES.get(word, word), value)


def _endpoint(value: object) -> EndpointName:
    try:
        return EndpointName.parse(str(value))
    except ValueError as error:
        raise ValueError(f"an endpoint is written like est/default; protocols: {', '.join(Protocol)}") from error


def _requester(value: object) -> str:
    kind, colon, _ = str(value).partition(":")
    if kind not in _REQUESTERS or not colon:
        hint = did_you_mean(kind, _REQUESTERS)
        raise ValueError(f'"{value}" is no requester; write kind and name, like password:pump-17{hint}')
    return str(value)


_TEXT = WithJsonSchema({"type": "string"})
Name = Annotated[GeneralName, BeforeValidator(_name), _TEXT]
SubjectText = Annotated[DistinguishedName, BeforeValidator(_subject), _TEXT]
EndpointText = Annotated[EndpointName, BeforeValidator(_endpoint), _TEXT]
RequesterText = Annotated[str, BeforeValidator(_requester), _TEXT]


class GivenExtension(Strict):
    """An extension that the request asks for; the value is DER in hex."""

    oid: str
    critical: bool = False
    value: str = ""

    @field_validator("value")
    @classmethod
    def _hex(cls, value: str) -> str:
        bytes.fromhex(value)
        return value


class GivenRenewal(Strict):
    """The certificate that the request renews."""

    subject: SubjectText = DistinguishedName()
    names: tuple[Name, ...] = ()
    profile: str | None = None
    age: Duration = timedelta(days=300)
    lifetime: Duration = timedelta(days=365)
    key: Literal["other", "same"] = "other"
    requester: RequesterText | None = None


class Given(Strict):
    """A request."""

    endpoint: EndpointText
    requester: RequesterText = ""
    evidence: tuple[EvidenceWord, ...] | None = None
    csr: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._ -]{0,127}$")] | None = None
    key: str = "ec:P-256"
    subject: SubjectText = DistinguishedName()
    names: tuple[Name, ...] = ()
    authorized: tuple[Name, ...] | None = None
    certificate: GivenRenewal | None = None
    renews: GivenRenewal | None = None
    ca: bool = False
    key_usage: tuple[KeyUsage, ...] = ()
    extended_key_usage: tuple[Purpose, ...] = ()
    extensions: tuple[GivenExtension, ...] = ()
    attributes: tuple[str, ...] = ()
    challenge_password: bool = False
    issuer_left: Duration = timedelta(days=3650)
    lookup: dict[str, dict[str, str] | None] = Field(default_factory=dict)
    active: int = 0
    issued_to_requester: int = 0
    issued_under_profile: int = 0
    key_renewals: int = 0
    key_holders: tuple[RequesterText, ...] = ()

    @field_validator("key")
    @classmethod
    def _key(cls, value: str) -> str:
        if not _KEY.fullmatch(value):
            raise ValueError(
                f'"{value}" is no key; write rsa:2048, ec:P-256, ed25519, ml-dsa-65, ml-kem-768 or the like'
            )
        return value

    @property
    def kind(self) -> Kind:
        """Whether this is a first enrollment or a renewal."""
        return Kind.RENEW if self.renews else Kind.ENROLL

    @property
    def evidence_words(self) -> tuple[str, ...]:
        """The evidence as written, or what the protocol brings by itself: for a renewal the certificate."""
        if self.evidence is not None:
            return self.evidence
        return ("certificate",) if self.renews else (_OWN_EVIDENCE[self.endpoint.protocol],)


class Expected(Strict):
    """What the decision must be; what is not written is not compared."""

    decision: Literal["approved", "deferred", "denied"]
    rules: tuple[str, ...] | None = None
    shadow: tuple[str, ...] | None = None
    subject: SubjectText | None = None
    names: tuple[Name, ...] | None = None
    lifetime: Duration | None = None
    key_usage: tuple[KeyUsage, ...] | None = None
    extended_key_usage: tuple[Purpose, ...] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Expected:
        plan = (self.subject, self.names, self.lifetime, self.key_usage, self.extended_key_usage)
        if self.decision == "denied" and any(part is not None for part in plan):
            raise ValueError("a denied request has no certificate: write rules: [...] only")
        if self.decision != "denied" and self.rules is not None:
            raise ValueError("rules: says which rules deny; it goes with decision: denied")
        return self


class PolicyTest(Strict):
    """One test: a request and what must become of it."""

    name: str
    profile: str | None = None
    given: Given
    expect: Expected
