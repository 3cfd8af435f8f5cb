"""How CMP messages are protected (RFC 9810 section 5.1.3): by a shared secret, or by signatures."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.serialization import Encoding

from ca import der, keys
from ca.tbs import IssuerProfile, signer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography import x509

    from ca.tbs import SigningKey

PASSWORD_BASED_MAC = "1.2.840.113533.7.66.13"  # noqa: S105 - an object identifier
_HASHES = {"1.3.14.3.2.26": "sha1", "2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.3": "sha512"}
_MACS = {
    "1.3.6.1.5.5.8.1.2": "sha1",
    "1.2.840.113549.2.7": "sha1",
    "1.2.840.113549.2.9": "sha256",
    "1.2.840.113549.2.11": "sha512",
}
_SHA256, _HMAC_SHA256 = "2.16.840.1.101.3.4.2.1", "1.2.840.113549.2.9"
_ITERATIONS = 2048
ITERATION_LIMIT = 100_000
"""More iterations than this would be work that another can impose on us."""


class BadProtection(ValueError):
    """A message is not protected as it should be: whoever sent it, it is not the CA."""


def members(element: der.Tlv, least: int, most: int) -> list[der.Tlv]:
    """Return the elements of a SEQUENCE that has so many. Raises MalformedDer."""
    found = der.inside(element, der.SEQUENCE)
    if not least <= len(found) <= most:
        raise der.MalformedDer("a sequence has too few or too many elements")
    return found


class Protection(Protocol):
    """Who we are for the CA, and how we know it.

    Attributes:
        sender: DER of our name.
        reference: the senderKID; empty for none.
        certificates: DER of what goes along with each message.
    """

    @property
    def sender(self) -> bytes: ...  # noqa: D102 - see the class

    @property
    def reference(self) -> bytes: ...  # noqa: D102 - see the class

    @property
    def certificates(self) -> Sequence[bytes]: ...  # noqa: D102 - see the class

    def begin(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        """Return the DER of the algorithm of one message, and what protects the octets of its header and body."""
        ...

    def verify(self, algorithm: der.Tlv, octets: bytes, protected: bytes) -> None:
        """Make sure that a message is the CA's. Raises BadProtection and MalformedDer."""
        ...


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """What we share with the CA: PasswordBasedMac (section 5.1.3.1).

    Attributes:
        reference: names the secret.
        value: the secret.
        random: gives unpredictable octets, for salts.
    """

    reference: bytes
    value: bytes = field(repr=False)
    random: Callable[[int], bytes] = field(repr=False)

    @property
    def sender(self) -> bytes:
        """The NULL-DN: the secret has no name."""
        return der.sequence()

    @property
    def certificates(self) -> Sequence[bytes]:
        """Nothing."""
        return ()

    def begin(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        """Choose a salt; see `Protection.begin`."""
        salt = self.random(16)
        parameters = der.sequence(
            der.octet_string(salt),
            der.sequence(der.oid(_SHA256), der.null()),
            der.integer(_ITERATIONS),
            der.sequence(der.oid(_HMAC_SHA256), der.null()),
        )
        algorithm = der.sequence(der.oid(PASSWORD_BASED_MAC), parameters)
        return algorithm, lambda data: _mac(self.value + salt, _ITERATIONS, data)

    def verify(self, algorithm: der.Tlv, octets: bytes, protected: bytes) -> None:
        """Compare the MAC; see `Protection.verify`."""
        oid, *parameters = members(algorithm, 1, 2)
        if not parameters or der.dotted(oid) != PASSWORD_BASED_MAC:
            raise BadProtection("the CA's message is not protected with a shared secret")
        salt, owf, iterations, mac = members(parameters[0], 4, 4)
        names = [der.dotted(members(each, 1, 2)[0]) for each in (owf, mac)]
        count = der.read_integer(der.expect(iterations, der.INTEGER))
        if names[0] not in _HASHES or names[1] not in _MACS or not 0 < count <= ITERATION_LIMIT:
            raise BadProtection("the CA protects its messages in a way that is not known here")
        salted = self.value + der.expect(salt, der.OCTET_STRING).content
        expected = _mac(salted, count, protected, owf=_HASHES[names[0]], mac=_MACS[names[1]])
        if not hmac.compare_digest(expected, octets):
            raise BadProtection("the CA's message is not protected with our secret")


class Signatures:
    """Our key and certificate, and those of the CA (section 5.1.3.3)."""

    def __init__(
        self, key: SigningKey, certificates: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]
    ) -> None:
        """Take our key, our certificate with those above it, and the certificates that the CA may sign with.

        A certificate that one of those has issued is not taken: devices have such certificates too. Raises ValueError
        when our key and certificate don't belong together or are of a kind that does not sign.
        """
        own = certificates[0]
        if key.public_key() != own.public_key():
            raise ValueError("the key does not belong to the certificate")
        profile = IssuerProfile.of(own)
        self.sender = own.subject.public_bytes()
        self.reference = profile.key_identifier
        self.certificates = tuple(each.public_bytes(Encoding.DER) for each in certificates)
        self._algorithm, self._sign = profile.algorithm, signer(key)
        self._trusted = [IssuerProfile.of(each).key for each in trusted]

    def begin(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        """Return our algorithm; see `Protection.begin`."""
        return self._algorithm, self._sign

    def verify(self, algorithm: der.Tlv, octets: bytes, protected: bytes) -> None:
        """Verify the signature by one of the CA's keys; see `Protection.verify`."""
        for key in self._trusted:
            try:
                keys.verify(key, algorithm, octets, protected)
            except (keys.BadSignature, keys.UnusableSignature):
                continue
            return
        raise BadProtection("the CA's message is not signed with one of its keys")


def _mac(secret: bytes, iterations: int, data: bytes, *, owf: str = "sha256", mac: str = "sha256") -> bytes:
    """Return the MAC; `secret` ends with the salt."""
    key = secret
    for _ in range(iterations):
        key = hashlib.new(owf, key).digest()
    return hmac.digest(key, data, mac)
