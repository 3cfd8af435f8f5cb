"""The certificate plan: everything that will be in the certificate but serial number and signature.

What the issuer alone knows (its name, its key identifier, its signature algorithm) is not part of the plan either:
the plan names the issuer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from ca.names import DistinguishedName, GeneralName


class KeyUsage(StrEnum):
    """The bits of keyUsage by their ASN.1 names (RFC 5280 section 4.2.1.3)."""

    DIGITAL_SIGNATURE = "digitalSignature"
    CONTENT_COMMITMENT = "contentCommitment"
    KEY_ENCIPHERMENT = "keyEncipherment"
    DATA_ENCIPHERMENT = "dataEncipherment"
    KEY_AGREEMENT = "keyAgreement"
    KEY_CERT_SIGN = "keyCertSign"
    CRL_SIGN = "cRLSign"
    ENCIPHER_ONLY = "encipherOnly"
    DECIPHER_ONLY = "decipherOnly"


@dataclass(frozen=True, slots=True)
class PlannedExtension:
    """An extension given by the profile: type in dotted form, criticality, DER of the value."""

    oid: str
    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """What a policy approved and an issuer signs. Built from allowed values only, never copied from a CSR.

    Attributes:
        issuer: the configured name of the issuer that shall sign.
        profile: the profile that approved.
        policy_digest: SHA-256, hex, of the policy file that approved.
        subject: the subject; may be empty when there are names (the names are critical then).
        names: subjectAltName in this order, without repetition.
        spki: DER of the SubjectPublicKeyInfo.
        not_before, not_after: aware UTC times of whole seconds, both inclusive (RFC 5280 section 4.1.2.5).
        key_usage: the bits of keyUsage; the extension is critical, and absent when this is empty.
        extended_key_usage: purposes in dotted form; never empty for an end entity.
        extensions: what the profile adds beyond these, in order.
        ca: whether basicConstraints says CA; always False for what policies approve.
    """

    issuer: str
    profile: str
    policy_digest: str
    subject: DistinguishedName
    names: tuple[GeneralName, ...]
    spki: bytes
    not_before: datetime
    not_after: datetime
    key_usage: frozenset[KeyUsage]
    extended_key_usage: tuple[str, ...]
    extensions: tuple[PlannedExtension, ...] = ()
    ca: bool = False
