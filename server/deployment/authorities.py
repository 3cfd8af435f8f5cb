"""The PKI of a new deployment: root, issuing CA, SCEP RA and the server's own TLS certificate."""

from __future__ import annotations

import secrets
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ca.ceremony import Credential, make_issuing_ca, make_ra_certificate, make_root, make_tls_certificate
from ca.names import COMMON_NAME, Attribute, DistinguishedName, DnsName, IpAddress, MalformedName, dns_name
from server.deployment.files import write_public, write_secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

    from server.clock import Clock

_CN_LIMIT = 64


def make(folder: Path, hosts: Sequence[DnsName | IpAddress], clock: Clock) -> x509.Certificate:
    """Make all keys and certificates and write them into ``ca/``, ``ra/``, ``tls/``, ``root.pem`` and ``chain.pem``.

    Args:
        folder: where those folders are.
        hosts: what the server's TLS certificate is for, the first name in its subject too.
        clock: for the validity of certificates.

    Returns:
        the root's certificate.
    """
    now = clock()
    # Names of their own: clients that know several deployments tell the authorities apart by name.
    deployment = secrets.token_hex(3)
    root = make_root(_named(f"Certwright Root {deployment}"), now=now)
    issuing = make_issuing_ca(root, _named(f"Certwright Issuing CA {deployment}"), now=now)
    ra = make_ra_certificate(issuing, _named(f"Certwright SCEP RA {deployment}"), now=now)
    first = next((host for host in hosts if isinstance(host, DnsName)), hosts[0])
    tls = make_tls_certificate(issuing, _named(str(first.value)), hosts, now=now)

    chain = issuing.certificate_pem() + root.certificate_pem()
    write_public(folder / "root.pem", root.certificate_pem())
    write_public(folder / "chain.pem", chain)
    _write(folder / "ca" / "root", root)
    _write(folder / "ca" / "issuing", issuing)
    _write(folder / "ra" / "ra", ra)
    write_public(folder / "tls" / "server.pem", tls.certificate_pem() + issuing.certificate_pem())
    write_secret(folder / "tls" / "server.key", tls.key_pem())
    return root.certificate


def host_name(text: str) -> DnsName | IpAddress:
    """Return a host name or an address as it stands in a certificate. Raises MalformedName."""
    try:
        return IpAddress(ip_address(text))
    except ValueError:
        if text.startswith("*"):
            raise MalformedName(f"a host has a name without wildcards: {text!r}") from None
        return dns_name(text)


def _named(common_name: str) -> DistinguishedName:
    """Return a subject of this common name; empty for a host name that is too long to be one (X.520)."""
    return DistinguishedName(((Attribute(COMMON_NAME, common_name),),) if len(common_name) <= _CN_LIMIT else ())


def _write(stem: Path, credential: Credential) -> None:
    """Write a certificate, its key, encrypted, and the passphrase."""
    passphrase = secrets.token_urlsafe(32)
    write_public(stem.with_suffix(".pem"), credential.certificate_pem())
    write_secret(stem.with_suffix(".key"), credential.key_pem(passphrase.encode()))
    write_secret(stem.with_suffix(".passphrase"), f"{passphrase}\n".encode())
