"""What fullcmc takes from outside: envelopes and the requests in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca import der
from server.cms.algorithms import Digest
from server.cms.certificates import SIGNED_DATA, content_info
from server.cms.signed import CONTENT_TYPE, MESSAGE_DIGEST, NO_SIGNATURE
from server.cms.signing import attribute
from server.est.cmc import codec, envelope
from server.est.cmc.messages import PKI_DATA, CmcFault
from tests.ca.requests import SUBJECT
from tests.fakes.issuer import spki_of
from tests.fuzz.target import Target, tolerant
from tests.fuzz.targets.pkix import KEY, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterable

_CMC = "1.3.6.1.5.5.7.7."
_WITNESS = der.sequence(
    der.sequence(der.oid("2.16.840.1.101.3.4.2.1")),
    der.sequence(der.oid("1.2.840.113549.2.9")),
    der.octet_string(b"mac"),
)
_CONTROLS = (
    (2, der.utf8("pump")),
    (5, der.integer(7)),
    (6, der.octet_string(b"nonce")),
    (17, der.sequence(SUBJECT, der.integer(7), der.tlv(der.ENUMERATED, b"\x01"), der.octet_string(b"secret"))),
    (21, der.octet_string(b"token")),
    (22, der.octet_string(b"r" * 64)),
    (34, _WITNESS),
)
_TEMPLATE = der.sequence(der.tlv(0xA5, SUBJECT), der.tlv(0xA6, der.read(spki_of(KEY)).content))
_LINK = der.sequence(der.sequence(der.oid(_CMC + "33"), _WITNESS))
_SIGNED = der.tlv(0xA1, der.sequence(der.oid("1.2.840.10045.4.3.2")), der.bit_string(b"signature"))
_CRMF = der.tlv(0xA1, der.sequence(der.integer(99), _TEMPLATE, _LINK), _SIGNED)


def _pki_data(requests: Iterable[bytes]) -> bytes:
    controls = (
        der.sequence(der.integer(part), der.oid(f"{_CMC}{number}"), der.set_of(value))
        for part, (number, value) in enumerate(_CONTROLS, 100)
    )
    return der.sequence(der.sequence(*controls), der.sequence(*requests), der.sequence(), der.sequence())


_DATA = _pki_data([*(der.tlv(0xA0, der.integer(n), each) for n, each in enumerate(REQUESTS[:4], 1)), _CRMF])


def _envelope(content: bytes, algorithm: str) -> bytes:
    digest = Digest.SHA256
    attributes = der.set_of(
        attribute(CONTENT_TYPE, der.oid(PKI_DATA)),
        attribute(MESSAGE_DIGEST, der.octet_string(digest.digest(content))),
    )
    signer = der.sequence(
        der.integer(3),
        der.tlv(0x80, b"key"),
        digest.identifier(),
        der.tlv(0xA0, der.read(attributes).content),
        der.sequence(der.oid(algorithm)),
        der.octet_string(digest.digest(attributes)),
    )
    encapsulated = der.sequence(der.oid(PKI_DATA), der.tlv(0xA0, der.octet_string(content)))
    hashed = der.set_of(digest.identifier())
    return content_info(SIGNED_DATA, der.sequence(der.integer(3), hashed, encapsulated, der.set_of(signer)))


def _opened(octets: bytes) -> object:
    message, _ = envelope.open_envelope(codec.unwrap(octets))
    return envelope.verify_signer(message, [spki_of(KEY)])


TARGETS = (
    Target("cmc.pki-data", tolerant(codec.decode_pki_data, CmcFault), (_DATA, _pki_data([_CRMF]), _pki_data([]))),
    Target(
        "cmc.envelope",
        tolerant(_opened, CmcFault),
        (_envelope(_DATA, NO_SIGNATURE), _envelope(_DATA, "1.2.840.10045.4.3.2")),
    ),
)
