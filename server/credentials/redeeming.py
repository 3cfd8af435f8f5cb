"""Secrets of the store: made, presented, and what each is good for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from ca.names import COMMON_NAME, DnsName
from server.credentials.sealing import Unsealable
from server.store import credentials as store_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    import sqlalchemy as sa

    from ca.csr import Csr
    from policies.request import EndpointName
    from server.credentials.sealing import Sealer
    from server.store.credentials import CredentialKind, StoredCredential

REPLAY = timedelta(hours=24)
"""For how long a used secret still authenticates: who lost the reply asks again, and gets the same certificate. That
nothing else is issued for it is for the transaction of the intent to see to (`EnrollmentRequest.spends`)."""

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that people mistake for another when they type it
_GROUPS, _LENGTH = 6, 5  # 30 letters of 31: 148 bits


def new_secret(letter: Callable[[str], str] = secrets.choice) -> str:
    """Return a new secret of 148 bits, easy to type: six groups of five letters and digits.

    Args:
        letter: chooses one of a text's characters, unpredictably.
    """
    return "-".join("".join(letter(_ALPHABET) for _ in range(_LENGTH)) for _ in range(_GROUPS))


def digest_of(secret: str) -> bytes:
    """Return what is kept of a generated secret, and what it is found by."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Redeemable:
    """A secret of the store that was presented and is right; a request that relies on it names it in `spends`.

    Attributes:
        id: what `EnrollmentRequest.spends` takes.
        username: the user name that goes with it; the device, or the identifier, where it goes by itself.
        profile: what `EnrollmentRequest.profile` must be, None when any of the endpoint's will do.
        device, names: see `objection`.
    """

    id: str
    username: str
    profile: str | None
    device: str | None
    names: tuple[str, ...]

    def objection(self, csr: Csr) -> str | None:
        """Return why this request is not what the secret was made for, None when it is.

        Bound to a device: every common name and DNS name must be the device's, alone or with a domain behind it, and
        one must be there. Bound to names: the subject alternative names must be among them.
        """
        if self.device is not None and not _is_for(csr, self.device):
            return "The credentials are for another device: common name and DNS names must be that device's."
        if self.names and not {str(name) for name in csr.names} <= set(self.names):
            return "The credentials are for other subject alternative names."
        return None


def _is_for(csr: Csr, device: str) -> bool:
    wanted = device.casefold()
    named = [a.value for rdn in csr.subject.rdns for a in rdn if a.oid == COMMON_NAME]
    named += [name.value for name in csr.names if isinstance(name, DnsName)]
    return bool(named) and all(one.casefold() == wanted or one.casefold().startswith(f"{wanted}.") for one in named)


def look_up(
    connection: sa.Connection, kind: CredentialKind, endpoint: EndpointName, username: str | None, secret: str
) -> tuple[StoredCredential | None, tuple[StoredCredential, ...]]:
    """Return the generated secret that this is, and those that a person chose for the user name, still to be compared.

    Args:
        connection: reads the store.
        kind: what it is presented for.
        endpoint: where.
        username: what came with it; None where nothing does, and then chosen secrets can't be found.
        secret: the secret.
    """
    generated = store_credentials.find_by_digest(connection, kind, endpoint, digest_of(secret))
    if generated is not None and username is not None and not _same(generated.username, username):
        generated = None
    if generated is not None or username is None:
        return generated, ()
    found = store_credentials.find_by_username(connection, kind, endpoint, username)
    return None, tuple(one for one in found if one.argon2 is not None)


def _same(expected: str | None, username: str) -> bool:
    """Compare user names; a secret without one goes with any."""
    return expected is None or hmac.compare_digest(expected.encode(), username.encode("utf-8", "surrogatepass"))


def opened(
    credentials: Iterable[StoredCredential], sealer: Sealer, holds: Callable[[bytes], bool]
) -> tuple[StoredCredential, bytes] | None:
    """Return the sealed secret that something was made with, and what it is; None when it is none of them.

    One that was sealed under another key is none: it can't be opened, and proves nothing.
    """
    for one in credentials:
        try:
            secret = sealer.open(one.sealed or b"", one.id)
        except Unsealable:
            continue
        if holds(secret):
            return one, secret
    return None


def why_not(credential: StoredCredential, now: datetime) -> str | None:
    """Return why a right secret does not authenticate now, None when it does: good, or used a short time ago."""
    objection = credential.objection(now)
    if objection is None or credential.revoked_at is not None:
        return objection
    spent = credential.spent_at
    return None if spent is not None and now < spent + REPLAY else objection


def redeemable(credential: StoredCredential) -> Redeemable:
    """Return what a right secret is good for."""
    return Redeemable(
        id=credential.id,
        username=credential.username or credential.device or credential.id,
        profile=credential.profile,
        device=credential.device,
        names=credential.names,
    )
