"""Name constraints of CA certificates (RFC 5280 section 4.2.1.10): which names a CA's certificates may have.

Who verifies a path refuses a certificate with other names, so that none is signed.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from cryptography import x509

from ca.names import (
    EMAIL_ADDRESS,
    DirectoryName,
    DistinguishedName,
    DnsName,
    EmailAddress,
    IpAddress,
    MalformedName,
    Uri,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ca.names import GeneralName
    from ca.plan import CertificatePlan

_FORMS: dict[type, type[x509.GeneralName]] = {
    DnsName: x509.DNSName,
    IpAddress: x509.IPAddress,
    EmailAddress: x509.RFC822Name,
    Uri: x509.UniformResourceIdentifier,
    DirectoryName: x509.DirectoryName,
}


@dataclass(frozen=True, slots=True)
class NameConstraints:
    """What one CA certificate says.

    Attributes:
        permitted: where there are any of a form, names of that form must be within one.
        excluded: no name may be within one.
    """

    permitted: tuple[x509.GeneralName, ...]
    excluded: tuple[x509.GeneralName, ...]

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Self | None:
        """Return a CA certificate's constraints, None without. Raises ValueError for those that can't be read."""
        try:
            value = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return None
        return cls(tuple(value.permitted_subtrees or ()), tuple(value.excluded_subtrees or ()))

    def violations(self, plan: CertificatePlan) -> Iterator[str]:
        """Yield what is wrong with the names of a plan: those that are outside, and those that can't be judged."""
        for name in _names(plan):
            form = _FORMS.get(type(name))
            if form is None:
                if any(type(tree) not in _FORMS.values() for tree in (*self.permitted, *self.excluded)):
                    yield f"{name} can't be compared with the name constraints of the issuing CA"
                continue
            permitted = [tree for tree in self.permitted if isinstance(tree, form)]
            excluded = [tree for tree in self.excluded if isinstance(tree, form)]
            if _is_outside(name, permitted) or any(_is_within(name, tree, any_=True) for tree in excluded):
                yield f"{name} is outside of the name constraints of the issuing CA"


def permitted_base(constraints: Iterable[NameConstraints]) -> DistinguishedName:
    """Return a name under which subjects are permitted; empty where every subject is.

    Raises MalformedName when the first that is permitted is no text; no issuer is loaded with such a chain.
    """
    trees = (tree for each in constraints for tree in each.permitted)
    bases = (DistinguishedName.from_x509(tree.value) for tree in trees if isinstance(tree, x509.DirectoryName))
    return next(bases, DistinguishedName())


def _names(plan: CertificatePlan) -> Iterator[GeneralName]:
    yield from plan.names
    if plan.subject:
        yield DirectoryName(plan.subject)
    for text in plan.subject.values(EMAIL_ADDRESS):
        yield EmailAddress(text)


def _is_outside(name: GeneralName, permitted: Sequence[x509.GeneralName]) -> bool:
    return bool(permitted) and not any(_is_within(name, tree, any_=False) for tree in permitted)


def _is_within(name: GeneralName, tree: x509.GeneralName, *, any_: bool) -> bool:  # noqa: PLR0911 - one for each form
    """Whether a name is within a subtree; with `any_`, whether it may be, or stands for one that is."""
    match name, tree.value:
        case DnsName(value), str(base):
            return _is_below(value, base.lower()) or (any_ and _covers(value, base.lower()))
        case EmailAddress(value), str(base):
            return _is_mailbox_of(value, base)
        case Uri(value), str(base):
            host = urlsplit(value).hostname
            if host is None or _is_address(host):
                return any_  # a host is needed to compare: who verifies must refuse
            return host == base.lower() or (base.startswith(".") and host.endswith(base.lower()))
        case IpAddress(address), ipaddress.IPv4Network() | ipaddress.IPv6Network() as network:
            return address in network
        case DirectoryName(value), x509.Name() as base:
            return _begins_with(value, base, any_=any_)
        case _:
            return any_


def _is_below(value: str, base: str) -> bool:
    """Whether labels were added on the left, or none; a dot in front is read as others read it: at least one."""
    return not base or value == base or value.endswith(base if base.startswith(".") else f".{base}")


def _covers(value: str, base: str) -> bool:
    """Whether a wildcard name stands for one that is in the subtree."""
    return value.startswith("*.") and base.removeprefix(".").partition(".")[2] == value[2:]


def _is_mailbox_of(value: str, base: str) -> bool:
    local, _, host = value.rpartition("@")
    host = host.lower()
    if "@" in base:
        wanted, _, domain = base.rpartition("@")
        return local == wanted and host == domain.lower()
    return host == base.lower() or (base.startswith(".") and host.endswith(base.lower())) or not base


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _begins_with(value: DistinguishedName, base: x509.Name, *, any_: bool) -> bool:
    try:
        wanted = DistinguishedName.from_x509(base).canonical()
    except MalformedName:
        return any_
    return value.canonical()[: len(wanted)] == wanted
