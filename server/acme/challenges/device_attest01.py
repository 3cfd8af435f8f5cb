"""The device-attest-01 challenge: which device it is, and that the key is in it, by its manufacturer's word."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from server.acme.challenges.attestation import android_key, apple, step, tpm
from server.acme.challenges.attestation.chains import follow
from server.acme.challenges.attestation.statement import decode_statement
from server.acme.challenges.attestation.vocabulary import BadStatement
from server.acme.challenges.failure import ValidationFailed
from server.acme.messages import ErrorType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from cryptography import x509

    from server.acme.challenges.attestation.android_key import Boot
    from server.acme.challenges.attestation.statement import Statement
    from server.acme.challenges.attestation.vocabulary import Attested, Expected
    from server.acme.challenges.question import Question
    from server.acme.messages import Identifier

DEVICE_ATTEST_01 = "device-attest-01"

Judge: TypeAlias = "Callable[[Statement, Expected], Attested]"

_FORMATS: dict[str, Judge] = {
    "apple": apple.judge,
    "tpm": tpm.judge,
    "step": step.judge,
}


class DeviceAttest01:
    """Judges attestations; nothing is asked for outside, so there is nothing to wait for and to try again.

    Args:
        roots: by format, the roots that are pinned; a format without is not taken.
        identifiers: which devices there are: patterns like ``permanent-identifier:C02*``.
        android_boot: how an Android device must have been started.
    """

    type = DEVICE_ATTEST_01

    def __init__(
        self,
        roots: Mapping[str, Sequence[x509.Certificate]],
        identifiers: Sequence[str],
        *,
        android_boot: Boot = "verified",
    ) -> None:
        self._roots = roots
        android: Judge = partial(android_key.judge, boot=android_boot)
        self._formats = {**_FORMATS, "android-key": android}
        self._identifiers = tuple(identifiers)

    def knows(self, identifier: Identifier) -> bool:
        """Say whether a device may ask for this identifier at all."""
        return any(fnmatchcase(f"{identifier.type}:{identifier.value}", pattern) for pattern in self._identifiers)

    async def validate(self, question: Question) -> None:
        """Fail: an attestation is judged where it comes in, see `attest`. Raises ValidationFailed."""
        raise ValidationFailed(ErrorType.UNAUTHORIZED, f"{question.name} needs an attestation", final=True)

    def attest(self, octets: bytes, identifier: Identifier, expected: Expected, now: datetime) -> bytes:
        """Return DER of the attested key of the device with this identifier. Raises ValidationFailed."""
        try:
            attested = self._judge(decode_statement(octets), expected, now)
        except BadStatement as error:
            raise ValidationFailed(ErrorType.BAD_ATTESTATION_STATEMENT, str(error), final=True) from None
        if identifier not in attested.devices:
            detail = "the attestation is for another device than the identifier"
            raise ValidationFailed(ErrorType.BAD_ATTESTATION_STATEMENT, detail, final=True)
        return attested.spki

    def _judge(self, statement: Statement, expected: Expected, now: datetime) -> Attested:
        roots, judge = self._roots.get(statement.format), self._formats.get(statement.format)
        if roots is None or judge is None:
            raise BadStatement("this format of attestations is not taken here")
        follow(statement.certificates(), roots, now)
        return judge(statement, expected)
