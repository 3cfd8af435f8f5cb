"""Where the fields of a TBSCertificate stand (RFC 5280 section 4.1), for whoever wants some of them as octets."""

from __future__ import annotations

from typing import NamedTuple

from ca import der

EXTENSIONS = der.context(3)
"""The tag around the extensions, the last of what may follow the key."""
_VERSION = der.context(0)


class Fields(NamedTuple):
    """The fields of a TBSCertificate as they stand, none of them judged.

    Attributes:
        version: in its explicit tag; None in a certificate of version 1.
        serial, algorithm, issuer, validity, subject, spki: what every certificate has.
        more: what follows: unique identifiers, extensions in their explicit tag.
    """

    version: der.Tlv | None
    serial: der.Tlv
    algorithm: der.Tlv
    issuer: der.Tlv
    validity: der.Tlv
    subject: der.Tlv
    spki: der.Tlv
    more: list[der.Tlv]


def read_fields(tbs: der.Tlv, *, ber: bool = False) -> Fields:
    """Tell the fields of a TBSCertificate apart; ``ber`` as in `der.read`. Raises MalformedDer."""
    found = der.inside(tbs, der.SEQUENCE, ber=ber)
    version = found.pop(0) if found and found[0].tag == _VERSION else None
    if len(found) < 6:
        raise der.MalformedDer("not a certificate")
    serial, algorithm, issuer, validity, subject, spki, *more = found
    return Fields(version, serial, algorithm, issuer, validity, subject, spki, more)
