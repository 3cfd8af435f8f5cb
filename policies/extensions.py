"""The section of a profile on extensions that every certificate gets, beyond names and usages."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from ca import der
from ca.names import MalformedName, uri
from ca.plan import PlannedExtension
from policies.document import Strict
from policies.fields import ObjectIdentifier
from policies.words import EXTENSION_NAMES, name_of

_POLICIES, _CRL, _ACCESS, _FEATURES = "2.5.29.32", "2.5.29.31", "1.3.6.1.5.5.7.1.1", "1.3.6.1.5.5.7.1.24"
_CPS, _OCSP, _ISSUERS = "1.3.6.1.5.5.7.2.1", "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"
_ANY_POLICY = "2.5.29.32.0"
_STATUS_REQUEST = 5
_URI = 0x86
_OWN_KEYS = {
    "2.5.29.14": "it is the issuer's business",
    "2.5.29.15": "write key_usage",
    "2.5.29.17": "write names",
    "2.5.29.19": "no profile makes a CA",
    "2.5.29.30": "it is for CA certificates only",
    _CRL: "write crl",
    _POLICIES: "write certificate_policies",
    "2.5.29.33": "it is for CA certificates only",
    "2.5.29.35": "it is the issuer's business",
    "2.5.29.36": "it is for CA certificates only",
    "2.5.29.37": "write extended_key_usage",
    "2.5.29.54": "it is for CA certificates only",
    _ACCESS: "write ocsp and issuers",
    _FEATURES: "write must_staple",
}


def _address(text: str) -> str:
    """Read an address from which anyone can fetch; https would need the very status that it brings."""
    try:
        value = uri(text).value
    except MalformedName as error:
        raise ValueError(str(error)) from error
    if not re.match(r"(http|ldap)://.", value):
        raise ValueError(f'"{text}" is no address that begins with http:// or ldap:// (RFC 5280 section 8)')
    return value


def _statement(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"https?://[!-~]+", text):
        raise ValueError(f'"{text}" is no address of a statement, like https://pki.example/cps')
    return text


Address = Annotated[str, AfterValidator(_address)]


class OtherExtension(Strict):
    """An extension by its number."""

    oid: ObjectIdentifier
    critical: bool = False
    value: str | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _readable(self) -> OtherExtension:
        if self.oid in _OWN_KEYS:
            raise ValueError(f"{name_of(self.oid, EXTENSION_NAMES)} can't be written here: {_OWN_KEYS[self.oid]}")
        if (self.value is None) == (self.text is None):
            raise ValueError("write either value (DER in hex) or text")
        try:
            der.read(self.octets)
        except (der.MalformedDer, ValueError) as error:
            raise ValueError(f"value is no DER in hex: {error}") from error
        return self

    @property
    def octets(self) -> bytes:
        """DER of the value."""
        if self.text is not None:
            return der.tlv(der.UTF8_STRING, self.text.encode())
        return bytes.fromhex(self.value or "")


class Extensions(Strict):
    """Extensions that are in every certificate of a profile."""

    certificate_policies: dict[ObjectIdentifier, Annotated[str | None, AfterValidator(_statement)]] = Field(
        default_factory=dict
    )
    crl: tuple[Address, ...] = ()
    ocsp: tuple[Address, ...] = ()
    issuers: tuple[Address, ...] = ()
    must_staple: bool = False
    others: tuple[OtherExtension, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self) -> Extensions:
        if self.must_staple and not self.ocsp:
            raise ValueError("must_staple needs an OCSP responder: write ocsp")
        if _ANY_POLICY in self.certificate_policies:
            raise ValueError("anyPolicy is for CA certificates")
        kinds = [other.oid for other in self.others]
        if len(set(kinds)) != len(kinds):
            raise ValueError("others has an extension twice")
        return self

    @cached_property
    def planned(self) -> tuple[PlannedExtension, ...]:
        """The extensions as plans have them."""
        made = []
        if self.certificate_policies:
            made.append(PlannedExtension(_POLICIES, critical=False, value=self._policies()))
        if self.crl:
            names = der.tlv(der.context(0), der.tlv(der.context(0), *_locations(self.crl)))
            made.append(PlannedExtension(_CRL, critical=False, value=der.sequence(der.sequence(names))))
        if self.ocsp or self.issuers:
            ways = [(_OCSP, each) for each in _locations(self.ocsp)] + [
                (_ISSUERS, each) for each in _locations(self.issuers)
            ]
            value = der.sequence(*(der.sequence(der.oid(way), place) for way, place in ways))
            made.append(PlannedExtension(_ACCESS, critical=False, value=value))
        if self.must_staple:
            made.append(PlannedExtension(_FEATURES, critical=False, value=der.sequence(der.integer(_STATUS_REQUEST))))
        made += (PlannedExtension(other.oid, other.critical, other.octets) for other in self.others)
        return tuple(made)

    @cached_property
    def brought(self) -> frozenset[tuple[str, bytes]]:
        """The numbers of these extensions with their values: who asks for one of them asks for what it gets anyway."""
        return frozenset((each.oid, each.value) for each in self.planned)

    def _policies(self) -> bytes:
        every = []
        for policy, statement in self.certificate_policies.items():
            parts = [der.oid(policy)]
            if statement is not None:
                text = der.tlv(der.IA5_STRING, statement.encode("ascii"))
                parts.append(der.sequence(der.sequence(der.oid(_CPS), text)))
            every.append(der.sequence(*parts))
        return der.sequence(*every)


def _locations(addresses: tuple[str, ...]) -> list[bytes]:
    return [der.tlv(_URI, address.encode("ascii")) for address in addresses]
