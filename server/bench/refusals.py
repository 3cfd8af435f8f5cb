"""How long those refusals take that only the RA's key can tell apart: a difference is an oracle.

A figure for people and never a test: on a busy machine the noise is larger than what an attacker could average out.
"""

from __future__ import annotations

import secrets
import time
from http import HTTPStatus
from statistics import median, quantiles
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from rich.table import Table

from ca import der
from server.bench import scep_message
from server.bench.load import EnrollmentFailed
from server.bench.scep import ScepClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FAULTS = (
    "padding of the wrapped key",
    "length of the wrapped key",
    "padding of the content",
    "content",
    "proof of possession",
)
_ENVELOPED_DATA = der.oid("1.2.840.113549.1.7.3")
_DATA = der.oid("1.2.840.113549.1.7.1")
_RSA = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
_AES128_CBC = der.oid("2.16.840.1.101.3.4.1.2")
_FAILURE = "2"


class FaultyClient(ScepClient):
    """Sends requests that are good until the RA's key has been used."""

    def message(self, fault: str) -> bytes:
        """Return a signed request with one of `FAULTS`."""
        if self._recipient is None:
            raise EnrollmentFailed("the RA's certificate is asked for when the client is entered")
        public = self._recipient.public_key()
        if not isinstance(public, rsa.RSAPublicKey):
            raise EnrollmentFailed("the RA's key is not RSA")
        key, signer = next(self._signers)
        csr = bytearray(self._request(key, f"bench-{secrets.token_hex(8)}"))
        if fault == "content":
            csr = bytearray(secrets.token_bytes(len(csr)))
        elif fault == "proof of possession":
            csr[-1] ^= 1
        content_key = secrets.token_bytes(16)
        ciphertext, vector = _encrypted(bytes(csr), content_key)
        if fault == "padding of the content":
            ciphertext = ciphertext[:-1] + bytes((ciphertext[-1] ^ 1,))
        wrapped = _wrapped(public, content_key, fault)
        issuer = der.sequence(self._recipient.issuer.public_bytes(), der.integer(self._recipient.serial_number))
        info = der.sequence(der.integer(0), issuer, _RSA, der.octet_string(wrapped))
        algorithm = der.sequence(_AES128_CBC, der.octet_string(vector))
        encrypted = der.sequence(_DATA, algorithm, der.tlv(der.context(0, constructed=False), ciphertext))
        enveloped = der.sequence(der.integer(0), der.set_of(info), encrypted)
        envelope = der.sequence(_ENVELOPED_DATA, der.tlv(der.context(0), enveloped))
        return scep_message.pkcs_req(envelope, key, signer, transaction=secrets.token_hex(16))

    async def refused(self, message: bytes) -> float:
        """Return how many seconds the refusal took. Raises EnrollmentFailed for anything but a CertRep FAILURE."""
        url = f"{self._url}?operation=PKIOperation"
        began = time.perf_counter()
        reply = await self._connection.request("POST", url, body=message, headers={})
        took = time.perf_counter() - began
        attributes = scep_message.cert_rep(reply.expect(HTTPStatus.OK).body).attributes
        if attributes.get(scep_message.PKI_STATUS) != _FAILURE:
            raise EnrollmentFailed(f"no CertRep FAILURE: {attributes}")
        return took


def _encrypted(content: bytes, key: bytes) -> tuple[bytes, bytes]:
    vector, padder = secrets.token_bytes(16), PKCS7(128).padder()
    context = Cipher(AES128(key), CBC(vector)).encryptor()
    return context.update(padder.update(content) + padder.finalize()) + context.finalize(), vector


def _wrapped(public: rsa.RSAPublicKey, key: bytes, fault: str) -> bytes:
    if fault == "length of the wrapped key":
        return public.encrypt(key[:5], padding.PKCS1v15())
    if fault != "padding of the wrapped key":
        return public.encrypt(key, padding.PKCS1v15())
    octets, numbers = public.key_size // 8, public.public_numbers()
    block = b"\x00\x01" + b"\xff" * (octets - 3 - len(key)) + b"\x00" + key  # the block type of signatures
    return pow(int.from_bytes(block, "big"), numbers.e, numbers.n).to_bytes(octets, "big")


async def measure_refusals(client: FaultyClient, count: int, done: Callable[[], None]) -> Mapping[str, Sequence[float]]:
    """Return the seconds of `count` refusals for each fault, one at a time and taken in turns.

    Raises:
        EnrollmentFailed: the server does not answer as it should.
    """
    found: dict[str, list[float]] = {fault: [] for fault in FAULTS}
    async with client:
        for _ in range(count):
            for fault in sorted(FAULTS, key=lambda _: secrets.randbits(32)):
                found[fault].append(await client.refused(client.message(fault)))
                done()
    return found


def refusal_table(found: Mapping[str, Sequence[float]]) -> Table:
    """Return the table that is printed: a difference means something when it is well above the noise."""
    table = Table(title="SCEP refusals that only the RA's key can tell apart", title_justify="left")
    table.add_column("what is wrong")
    for heading in ("median", "fastest tenth", "difference of medians", "noise"):
        table.add_column(heading, justify="right")
    first = median(found[FAULTS[0]])
    for fault, seconds in found.items():
        middle, fast = median(seconds), quantiles(seconds, n=10)[0]
        noise = abs(median(seconds[::2]) - median(seconds[1::2]))
        table.add_row(fault, _micro(middle), _micro(fast), _micro(middle - first), _micro(noise))
    return table


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"
