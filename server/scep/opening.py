"""Opening what messages carry: envelopes, and the certification requests in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ca.csr import BadProof, MalformedCsr, parse_with_secret
from ca.issuer import IssuerError
from server.cms.algorithms import Digest
from server.cms.enveloped import Undecipherable, decipher
from server.cms.passwords import Password
from server.cms.signed import verify
from server.cohort import next_step
from server.scep.gate import Authentic, Sealed, sealed
from server.scep.messages import Recipient
from server.scep.problems import EC_REQUESTER, RA_UNAVAILABLE, UNREADABLE, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca.csr import Csr
    from server.scep.keyring import Keyring
    from server.scep.messages import Accepted, PkiMessage
    from server.scep.ra import RaKey


@dataclass(slots=True)
class Operation:
    """One message while it is worked on: what is known of it, for the reply and for the record.

    Attributes:
        message: the message.
        address: the peer's IP address.
        ra: signs the reply.
        sealed: the envelope, None when it was not read.
        csr: the certification request without its challenge, None when it was not read.
    """

    message: PkiMessage
    address: str | None
    ra: RaKey
    sealed: Sealed | None = None
    csr: Csr | None = None


class Envelopes:
    """Opens the envelopes of one endpoint.

    Args:
        keys: those that open them.
        accepted: the algorithms that the endpoint takes.
        random: returns that many octets, to decipher on with where no content key is found.
    """

    def __init__(self, keys: Keyring, accepted: Accepted, random: Callable[[int], bytes]) -> None:
        self._keys = keys
        self._accepted = accepted
        self._random = random

    def sealed(self, authentic: Authentic) -> Sealed:
        """Return the envelope; one that names no RA of ours may be for one that another process has renewed.

        Raises:
            Rejected: as `server.scep.gate.sealed`.
        """

        def read() -> Sealed:
            return sealed(authentic, tuple(key.addressed for key in self._keys.live()), self._accepted)

        found = read()
        return found if found.wrapped.names(found.ours) or not self._keys.catch_up() else read()

    async def request(self, operation: Operation, request: Sealed) -> tuple[Csr, Csr]:
        """Return the enveloped request as sent, and without its challenge; every way to fail gives the same answer.

        Only authorisation may see that: what goes further and on record is without, in no backup in the clear. Where
        the signer's key can't decrypt, the challenge encrypts the reply (section 3.1), as the operation knows from
        then on.

        Raises:
            Rejected: it can't be read, or the reply could be encrypted to nobody.
        """
        content = await self.deciphered(operation.ra, request)
        octets = b"" if content is None else content  # are read as well: nonsense takes as long as bad padding
        try:
            digests = self._accepted.digests
            csr, bare = parse_with_secret(octets, allow_sha1=Digest.SHA1 in digests, allow_md5=Digest.MD5 in digests)
        except MalformedCsr as error:
            if not isinstance(error, BadProof):
                # As much work as it is to find out that a signature does not hold: which of both it was is not to tell.
                verify(operation.message.signed, request.authentic.key)
            why = "the envelope can't be deciphered" if content is None else f"certification request: {error}"
            raise Rejected(replace(UNREADABLE, detail=why)) from error
        operation.csr = bare
        if not isinstance(request.reply_to, Recipient):
            if csr.challenge_password:
                password = Password(csr.challenge_password.encode(), request.envelope.cipher)
                operation.sealed = request._replace(reply_to=password)
            elif request.reply_to is None:
                raise Rejected(EC_REQUESTER)
        return csr, bare

    async def deciphered(self, ra: RaKey, request: Sealed) -> bytes | None:
        """Return the content of an envelope, None when it can't be deciphered. Raises Rejected: not now."""
        try:
            key = await ra.unwrap(request.wrapped.encrypted_key, request.transport)
        except IssuerError as error:
            raise Rejected(replace(RA_UNAVAILABLE, detail=str(error))) from error
        await next_step()
        try:
            return decipher(request.envelope, key, self._random)
        except Undecipherable:
            return None
