"""What a certification request says of its connection and of its sender (RFC 7030 section 3.5, RFC 7894)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from ca import der
from server.est.messages import Malformed
from server.outcome import Reason

if TYPE_CHECKING:
    from ca.csr import Csr

OTP_CHALLENGE = "1.2.840.113549.1.9.16.2.56"
REVOCATION_CHALLENGE = "1.2.840.113549.1.9.16.2.57"
IDENTITY_LINKING = "1.2.840.113549.1.9.16.2.58"
READ_HERE = frozenset({OTP_CHALLENGE, REVOCATION_CHALLENGE, IDENTITY_LINKING})
"""Attributes that are settled here: no policy has a use for them, and the secrets among them never go on record."""

_LONGEST = 255  # ub-aa-otpChallenge and the others, RFC 7894 section 3


class Linking(StrEnum):
    """What becomes of a claim to be bound to the TLS connection."""

    OFF = "off"
    """It is not looked at: for devices behind something that ends their TLS."""
    OPTIONAL = "optional"
    """It must be right when it is there."""
    REQUIRED = "required"
    """It must be there."""


class Meaning(StrEnum):
    """What challengePassword is."""

    BINDING = "binding"
    """The channel binding, as RFC 7030 says."""
    ONE_TIME_PASSWORD = "one-time-password"  # noqa: S105 - a word
    """A one-time password, as EJBCA's clients mean it."""
    AUTOMATIC = "automatic"
    """The channel binding when it is equal to it, else a one-time password."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What the request says.

    Attributes:
        is_linked: whether it is bound to this very connection.
        one_time_password: what it presents as such, None without.
        revocation_challenge: the secret with which its certificate may be revoked, None without.
    """

    is_linked: bool
    one_time_password: str | None = field(repr=False)
    revocation_challenge: str | None = field(repr=False)


def read_claims(csr: Csr, *, binding: bytes | None, linking: Linking, meaning: Meaning, foreign: bool) -> Claims:
    """Read the claims and compare those of a binding with the connection.

    The binding is base64 of tls-unique over TLS 1.2, base64 of tls-exporter (RFC 9266) over TLS 1.3.

    Args:
        csr: the certification request.
        binding: the connection's channel binding; None where there is none.
        linking: what the endpoint wants of a binding.
        meaning: what challengePassword is at the endpoint.
        foreign: whether the requester is a registration authority, whose clients are bound to connections of theirs
            (RFC 7030 section 3.7).

    Raises:
        Malformed: an attribute can't be read, or the binding is wrong or missing.
    """
    password = _text(csr, OTP_CHALLENGE, "otpChallenge")
    identity = _text(csr, IDENTITY_LINKING, "estIdentityLinking")
    bound = [] if identity is None else [("estIdentityLinking", identity)]
    challenge = csr.challenge_password
    if challenge is not None:
        if meaning is Meaning.BINDING or (meaning is Meaning.AUTOMATIC and _same(challenge, binding)):
            bound.append(("challengePassword", challenge))
        elif password is not None and password != challenge:
            raise Malformed(Reason.MALFORMED, "The certification request carries two different one-time passwords.")
        else:
            password = challenge
    wrong = [name for name, value in bound if not _same(value, binding)]
    if linking is not Linking.OFF and not foreign:
        _expect_linked(linking, bool(bound), wrong, binding)
    return Claims(bool(bound) and not wrong, password, _text(csr, REVOCATION_CHALLENGE, "revocationChallenge"))


def _expect_linked(
    linking: Linking,
    claimed: bool,  # noqa: FBT001 - a fact, not a switch
    wrong: list[str],
    binding: bytes | None,
) -> None:
    if (claimed or linking is Linking.REQUIRED) and not binding:
        raise Malformed(
            Reason.BAD_PROOF,
            f"The certification request {'says that it is' if claimed else 'must be'} bound to its TLS connection (RFC "
            "7030 section 3.5), and this connection has nothing to bind to: it takes TLS 1.3, or TLS 1.2 with Extended "
            "Master Secret, and no proxy in between that does not pass it on.",
        )
    if wrong:
        raise Malformed(
            Reason.BAD_PROOF,
            f"The {wrong[0]} of the certification request is not the channel binding of this TLS connection, which it "
            "must be in EST (RFC 7030 section 3.5); leave it out, or bind anew.",
        )
    if linking is Linking.REQUIRED and not claimed:
        raise Malformed(
            Reason.BAD_PROOF,
            "The certification request must be bound to its TLS connection (RFC 7030 section 3.5): put base64 of "
            "tls-unique (TLS 1.2) or tls-exporter (TLS 1.3) into estIdentityLinking or challengePassword.",
        )


def _same(value: str, binding: bytes | None) -> bool:
    expected = b64encode(binding) if binding else b""
    return bool(expected) and hmac.compare_digest(value.encode("utf-8", "surrogatepass"), expected)


def _text(csr: Csr, oid: str, name: str) -> str | None:
    """Return an attribute of one DirectoryString; None without it. Raises Malformed."""
    found = [attribute.values for attribute in csr.attributes if attribute.oid == oid]
    if not found:
        return None
    if len(found) > 1 or len(found[0]) != 1:
        raise Malformed(Reason.MALFORMED, f"The certification request has not exactly one {name}.")
    try:
        text = der.read_text(der.read(found[0][0]))
    except der.MalformedDer as error:
        raise Malformed(Reason.MALFORMED, f"The {name} of the certification request can't be read: {error}.") from error
    if not 0 < len(text) <= _LONGEST:
        raise Malformed(Reason.MALFORMED, f"The {name} of the certification request has no or too many characters.")
    return text
