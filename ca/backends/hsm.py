"""Keys in an HSM: the parent's side of the signer process, and private keys that ``cryptography`` takes for its own.

One request is under way at a time; the others wait in a queue. A process that dies or hangs is replaced and what it was
asked is asked once more: a signature that nobody has seen can be made twice.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric import utils as asymmetric_utils

from ca.issuer import IssuerConfigurationError, IssuerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PREFIX = 4
_TRIES = 2


@dataclass(frozen=True, slots=True)
class Token:
    """Which token to work with.

    Attributes:
        module: the HSM's PKCS#11 library.
        label: the token's label; None to look at what there is.
        pin: the user's PIN; None not to log in.
    """

    module: Path
    label: str | None = None
    pin: str | None = field(default=None, repr=False)


class HsmMisconfigured(IssuerConfigurationError):
    """Wrong PIN, no such token or key: trying again would not help, and might lock the token."""


class SignerProcess:
    """Talks to one signer process, which is started when it is first needed and replaced when it dies. Blocks.

    Attributes:
        executor: the queue: one thread, through which coroutines wait for their turn.
    """

    def __init__(self, token: Token, *, timeout: float = 10, start: Callable[..., Any] = subprocess.Popen) -> None:
        """Take a token; no request may take longer than `timeout` seconds, or the process is replaced."""
        self._token = token
        self._timeout = timeout
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._hopeless: str | None = None
        self._last = ""
        self._closed = False
        self._lock = Lock()
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="hsm")

    @property
    def pid(self) -> int | None:
        """The process, None when there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Ask and return the answer.

        Raises:
            HsmMisconfigured: it would not help to ask again.
            IssuerUnavailable: neither the process nor its replacement answers.
        """
        with self._lock:
            for _ in range(_TRIES):
                try:
                    reply = self._exchange({"do": do, **arguments})
                except (OSError, EOFError, ValueError) as error:
                    self._stop(f"{type(error).__name__} {error}".strip())
                    continue
                if "misconfigured" in reply:
                    raise HsmMisconfigured(f"the HSM says: {reply['misconfigured']}")
                if "broken" not in reply:
                    return reply
                self._stop(reply["broken"])
            raise IssuerUnavailable(f"the HSM does not answer: {self._last}")

    def release(self) -> None:
        """End the process until it is needed again; before a fork, each of whose sides then has its own."""
        self._stop("released")

    def close(self) -> None:
        """End the process for good; what it was asked is not asked again."""
        self._closed = True
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._stop("closed")

    def _exchange(self, message: dict[str, object]) -> dict[str, Any]:
        process = self._running()
        self._send(process, message)
        return self._receive(process)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise IssuerUnavailable("the HSM is not used any more")
        if self._hopeless is not None:  # a wrong PIN tried again and again locks the token
            raise HsmMisconfigured(self._hopeless)
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop(self._last)
        # -P: what lies in the working directory is not to be imported by the process that gets the PIN
        command = [sys.executable, "-P", "-m", "ca.backends.pkcs11_signer"]
        self._process = self._start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        if self._closed:  # meanwhile, by another thread, which has seen no process
            raise OSError("closed")
        opening = {"module": str(self._token.module), "token": self._token.label, "pin": self._token.pin}
        self._send(self._process, opening)
        reply = self._receive(self._process)
        if "misconfigured" in reply:
            self._hopeless = f"the HSM says: {reply['misconfigured']}"
            self._stop(self._hopeless)
            raise HsmMisconfigured(self._hopeless)
        if "broken" in reply:
            raise OSError(reply["broken"])
        return self._process

    def _send(self, process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
        if process.stdin is None:
            raise OSError("no pipe")
        content = json.dumps(message).encode()
        left = len(content).to_bytes(_PREFIX, "big") + content
        while left:  # only what a pipe takes at once: for who hangs a longer write would wait for ever
            if not select.select([], [process.stdin], [], self._timeout)[1]:
                raise OSError(f"nothing taken within {self._timeout:g} s")
            left = left[process.stdin.write(left[: select.PIPE_BUF]) or 0 :]

    def _receive(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        length = int.from_bytes(self._read(process, _PREFIX), "big")
        reply: dict[str, Any] = json.loads(self._read(process, length))
        return reply

    def _read(self, process: subprocess.Popen[bytes], count: int) -> bytes:
        if process.stdout is None:
            raise OSError("no pipe")
        parts, missing = [], count
        while missing:
            if not select.select([process.stdout], [], [], self._timeout)[0]:
                raise OSError(f"no answer within {self._timeout:g} s")
            part = process.stdout.read(missing)
            if not part:
                raise EOFError("the signer process has ended")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _stop(self, why: str) -> None:
        self._last = why
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()


LONG = 1 << 16
"""More octets than this are hashed here; certificates are far below, and the HSM hashes them."""


def _no_private_bytes() -> NoReturn:
    raise TypeError("the key is in an HSM and can't leave it")


def _digest(algorithm: asymmetric_utils.Prehashed | hashes.HashAlgorithm) -> str:
    if isinstance(algorithm, asymmetric_utils.Prehashed):
        raise TypeError("the HSM hashes by itself")
    return algorithm.name


def _octets(data: Any, algorithm: asymmetric_utils.Prehashed | hashes.HashAlgorithm) -> dict[str, object]:
    """Return what is to be signed as the signer process takes it: a long revocation list only as its hash."""
    octets = bytes(data)
    if len(octets) <= LONG or isinstance(algorithm, asymmetric_utils.Prehashed):
        return {"data": octets.hex()}
    hasher = hashes.Hash(algorithm)
    hasher.update(octets)
    return {"data": hasher.finalize().hex(), "hashed": True}


class HsmRsaKey(rsa.RSAPrivateKey):
    """An RSA key in an HSM: signs and decrypts, blocking."""

    def __init__(self, signer: SignerProcess, label: str, public: rsa.RSAPublicKey) -> None:
        self.signer, self._label, self._public = signer, label, public

    def sign(
        self,
        data: Any,
        padding: padding.AsymmetricPadding,
        algorithm: asymmetric_utils.Prehashed | hashes.HashAlgorithm | asymmetric_utils.NoDigestInfo,
    ) -> bytes:
        """Return a signature, PKCS #1 v1.5 or PSS with a salt as long as is said. Raises as `SignerProcess.ask`."""
        if isinstance(algorithm, asymmetric_utils.NoDigestInfo):
            raise TypeError("the HSM hashes by itself")
        more: dict[str, object] = {"scheme": "pkcs1"}
        if padding.name != "EMSA-PKCS1-v1_5":
            salt = getattr(padding, "_salt_length", None)
            if not isinstance(salt, int):
                raise TypeError("the length of the salt must be a number")
            more = {"scheme": "pss", "salt": salt}
        name = _digest(algorithm)
        reply = self.signer.ask("sign", label=self._label, digest=name, **_octets(data, algorithm), **more)
        return bytes.fromhex(reply["signature"])

    def decrypt(self, ciphertext: Any, padding: padding.AsymmetricPadding) -> bytes:
        """Return the plain text. Raises ValueError for a wrong padding, and as `SignerProcess.ask`."""
        oaep = None
        if padding.name == "EME-OAEP":
            oaep = [padding.algorithm.name, padding.mgf._algorithm.name]  # type: ignore[attr-defined] # noqa: SLF001 - as cryptography's own backend reads it
        reply = self.signer.ask("decrypt", label=self._label, data=bytes(ciphertext).hex(), oaep=oaep)
        if "plain" not in reply:
            raise ValueError("the HSM could not decrypt")
        return bytes.fromhex(reply["plain"])

    @property
    def key_size(self) -> int:
        """The bits of the modulus."""
        return self._public.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public key."""
        return self._public

    def private_numbers(self) -> NoReturn:
        """Refuse."""
        _no_private_bytes()

    def private_bytes(self, *_arguments: object, **_more: object) -> NoReturn:
        """Refuse."""
        _no_private_bytes()

    def __copy__(self) -> HsmRsaKey:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> HsmRsaKey:
        return self


class HsmEcKey(ec.EllipticCurvePrivateKey):
    """An EC key in an HSM: signs, blocking."""

    def __init__(self, signer: SignerProcess, label: str, public: ec.EllipticCurvePublicKey) -> None:
        self.signer, self._label, self._public = signer, label, public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Return an Ecdsa-Sig-Value. Raises as `SignerProcess.ask`."""
        name = _digest(signature_algorithm.algorithm)
        octets = _octets(data, signature_algorithm.algorithm)
        reply = self.signer.ask("sign", label=self._label, scheme="ecdsa", digest=name, **octets)
        return bytes.fromhex(reply["signature"])

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """The bits of the field."""
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public key."""
        return self._public

    def exchange(self, *_arguments: object) -> NoReturn:
        """Refuse."""
        raise TypeError("the HSM's key is for signatures")

    def private_numbers(self) -> NoReturn:
        """Refuse."""
        _no_private_bytes()

    def private_bytes(self, *_arguments: object, **_more: object) -> NoReturn:
        """Refuse."""
        _no_private_bytes()

    def __copy__(self) -> HsmEcKey:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> HsmEcKey:
        return self


def hsm_key(signer: SignerProcess, label: str) -> HsmRsaKey | HsmEcKey:
    """Return the key with this label. Raises HsmMisconfigured and IssuerUnavailable."""
    return _loaded(signer, label, signer.ask("public_key", label=label))


def generate_hsm_key(signer: SignerProcess, label: str, kind: str, identifier: bytes) -> HsmRsaKey | HsmEcKey:
    """Make a key pair in the HSM that can't leave it. Raises HsmMisconfigured and IssuerUnavailable.

    Args:
        signer: the process, with the PIN.
        label: the label of the new objects; it must be free.
        kind: ``P-256``, ``P-384``, ``P-521``, or ``rsa:`` with its bits.
        identifier: the CKA_ID of both.
    """
    reply = signer.ask("generate", label=label, kind=kind, identifier=identifier.hex())
    return _loaded(signer, label, reply)


def _loaded(signer: SignerProcess, label: str, reply: dict[str, Any]) -> HsmRsaKey | HsmEcKey:
    public = serialization.load_der_public_key(bytes.fromhex(reply["spki"]))
    if isinstance(public, rsa.RSAPublicKey):
        return HsmRsaKey(signer, label, public)
    if isinstance(public, ec.EllipticCurvePublicKey):
        return HsmEcKey(signer, label, public)
    raise HsmMisconfigured("the HSM's key is neither RSA nor EC")
