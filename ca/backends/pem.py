"""PEM armour for what is kept as DER."""

from __future__ import annotations

from base64 import b64encode
from textwrap import wrap


def csr_pem(der: bytes) -> str:
    """Return a certification request in PEM (RFC 7468 section 7)."""
    lines = "\n".join(wrap(b64encode(der).decode(), 64))
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}\n-----END CERTIFICATE REQUEST-----\n"
