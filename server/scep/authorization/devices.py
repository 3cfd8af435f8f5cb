"""A list of the devices that may enroll."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from ca.names import COMMON_NAME, DnsName
from policies.document import FormatVersion, Strict, read_document
from policies.request import ChallengeEvidence
from server.cms.certificates import key_digest
from server.outcome import Problem, Reason
from server.scep.authorization.admission import Admission

if TYPE_CHECKING:
    from pathlib import Path

    from ca.csr import Csr
    from server.outcome import Issued
    from server.scep.authorization.admission import Asked

SERIAL_NUMBER = "2.5.4.5"
NOT_LISTED = Problem(Reason.POLICY, "this device is not on the list of this endpoint")


class MalformedDeviceList(ValueError):
    """The file is not a list of devices. The text is for administrators."""


def _fingerprint(text: str) -> str:
    bare = text.lower().removeprefix("sha256:").replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", bare):
        raise ValueError("a key is written as the SHA-256 of its SubjectPublicKeyInfo, 64 hexadecimal digits")
    return bare


class Device(Strict):
    """One device.

    Attributes:
        name: its common name and DNS name, or its serialNumber; with a domain behind it too.
        key: SHA-256 of its public key; whoever holds that key needs no challenge.
    """

    name: Annotated[str, Field(min_length=1, max_length=255)]
    key: Annotated[str, AfterValidator(_fingerprint)] | None = None


class _File(Strict):
    version: FormatVersion
    devices: tuple[Device, ...]


def read_devices(path: Path) -> tuple[Device, ...]:
    """Read the file. Raises DocumentErrors, and MalformedDeviceList when it can't be read at all."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedDeviceList(f"{path} can't be read") from error
    return read_document(text, str(path), _File).value.devices


class DeviceList:
    """Turns away what is not on the list; admits who holds a listed key, and leaves others to prove themselves."""

    def __init__(self, devices: tuple[Device, ...]) -> None:
        self._devices = {device.name.casefold(): device for device in devices}

    async def admit(self, asked: Asked) -> Admission | Problem | None:
        """Look for the device by the names that it asks for; all of them must be one device's."""
        device = self._find(asked.csr)
        if device is None:
            return NOT_LISTED
        if device.key is None:
            return None
        if key_digest(asked.csr.spki) != device.key:
            return Problem(Reason.POLICY, NOT_LISTED.message, detail=f"{device.name} has another key on the list")
        return Admission(f"challenge:{device.name}", ChallengeEvidence("device-key"))

    async def confirm(self, transaction: str, csr: bytes | None, issued: Issued) -> None:  # noqa: ARG002 - nobody to ask
        """Let the certificate go."""
        return

    async def report(self, transaction: str, csr: bytes | None, problem: Problem) -> None:
        """Tell nobody."""

    def _find(self, csr: Csr) -> Device | None:
        named = {a.value for rdn in csr.subject.rdns for a in rdn if a.oid in {COMMON_NAME, SERIAL_NUMBER}}
        named |= {name.value for name in csr.names if isinstance(name, DnsName)}
        found = {id(device): device for device in map(self._named, named) if device is not None}
        known = all(self._named(name) is not None for name in named)
        return next(iter(found.values())) if known and len(found) == 1 else None

    def _named(self, name: str) -> Device | None:
        """Return the device of a name: itself, or what stands before its domain."""
        wanted = name.casefold()
        return self._devices.get(wanted) or self._devices.get(wanted.partition(".")[0])
