"""Files of certificates that the server renewed itself, with their keys.

Each pair is kept in a folder under the serial number of the certificate that it follows, so that every process of the
server, now or after a restart, finds the newest by walking from the configured one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


class Successors:
    """The pairs of one folder.

    Args:
        folder: where they are; made when it isn't there.
        passphrase: encrypts the keys; None leaves them as they are.
    """

    def __init__(self, folder: Path, passphrase: bytes | None) -> None:
        self.folder = folder
        self.passphrase = passphrase

    def paths(self, before: x509.Certificate) -> tuple[Path, Path]:
        """Return where the certificate that follows is, and its key; they need not be there."""
        stem = self.folder / f"after-{before.serial_number:x}"
        return stem.with_suffix(".pem"), stem.with_suffix(".key")

    def key(
        self, before: x509.Certificate, make: Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey]
    ) -> PrivateKeyTypes:
        """Return the key for the pair to follow; the first process that asks makes it.

        Raises:
            OSError: it can't be written or read.
            ValueError, TypeError: what is there is no key, or is encrypted otherwise.
        """
        path = self.paths(before)[1]
        if not path.exists():
            encryption = NoEncryption() if self.passphrase is None else BestAvailableEncryption(self.passphrase)
            _write(path, make().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return load_pem_private_key(path.read_bytes(), self.passphrase)

    def keep(self, before: x509.Certificate, chain: Iterable[x509.Certificate]) -> None:
        """Keep the certificate that follows, with those above it; from then on it is found. Raises OSError."""
        _write(self.paths(before)[0], b"".join(each.public_bytes(Encoding.PEM) for each in chain))


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all; who comes second leaves the first one's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink(missing_ok=True)
