"""The change of roots: what devices need that know one of the two (RFC 7030 section 4.1.3, RFC 9810 section 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from policies.document import DocumentErrors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policies.request import EndpointName
    from server.app.secret_sources import KeyPath, Reader
    from server.config import Config


class UnfitTrust(ValueError):
    """The certificates are not those of a change of roots. The text says what is wrong."""


def load_trust(
    name: EndpointName, config: Config, reader: Reader, chain: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Return what an endpoint hands out besides its chain, nothing where the configuration names nothing.

    Raises DocumentErrors: the file is missing, is none, or does not link the roots.
    """
    file = config.endpoints.est[name].other_root
    if file is None:
        return ()
    where: KeyPath = ("endpoints", str(name), "other_root")
    octets = reader.file(where, file)
    try:
        found = tuple(x509.load_pem_x509_certificates(octets))
        check_trust(found, chain[-1])
    except UnfitTrust as error:
        raise DocumentErrors([config.problem(where, f"{file}: {error}")]) from error
    except ValueError as error:
        raise DocumentErrors([config.problem(where, f"{file} holds no PEM certificates")]) from error
    return found


def check_trust(found: Sequence[x509.Certificate], root: x509.Certificate) -> None:
    """Raise UnfitTrust unless these are another root and the two certificates that link it with `root`, no more.

    Which of the two is old is a matter of time: with the old root as `root` they are NewWithNew, NewWithOld and
    OldWithNew, with the new one OldWithOld, OldWithNew and NewWithOld.
    """
    others = [one for one in found if _signed(one, one)]
    if len(others) != 1 or _key(others[0]) == _key(root):
        raise UnfitTrust("there must be one root in it, other than that of the chain")
    if not _signed(root, root):
        raise UnfitTrust("the chain of the issuer does not end in a root")
    (other,) = others
    links = {"other": (_key(other), root), "own": (_key(root), other)}
    rest = [one for one in found if one is not other]
    for which, (key, issuer) in links.items():
        if not any(_key(one) == key and _signed(one, issuer) for one in rest):
            raise UnfitTrust(f"the {which} root signed by the {'own' if which == 'other' else 'other'} one is missing")
    if len(rest) != len(links):
        raise UnfitTrust("there are certificates in it that link nothing")
    if not all(_is_ca(one) for one in found):
        raise UnfitTrust("there is a certificate in it that is not a CA's")


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
