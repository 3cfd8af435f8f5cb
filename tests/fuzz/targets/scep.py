"""What SCEP takes from outside before anybody is known."""

from __future__ import annotations

from ca import der
from server.scep.codec import Malformed, read_issuer_and_serial, read_message_parameter, read_pki_message
from server.scep.exposure import among_attributes, instead_of_envelope
from server.scep.gate import authenticate, sealed
from server.scep.messages import PRESETS
from server.scep.observation import UNKNOWN_CARRIER, observe
from server.scep.problems import Rejected
from server.scep.routes import read_query
from tests.fuzz.target import KEPT, Target, tolerant

_RECORDED = KEPT.parent / "scep"
_MESSAGES = tuple(path.read_bytes() for path in sorted(_RECORDED.glob("strongswan-*.der")))
_QUERIES = tuple(path.read_bytes() for path in sorted(_RECORDED.glob("*.query")))
_NAME = der.sequence(der.set_of(der.sequence(der.oid("2.5.4.3"), der.utf8("Issuing CA"))))


def _message(octets: bytes) -> object:
    """Read a message and see all that is seen of one before a key is touched."""
    message = read_pki_message(octets)
    among_attributes(message)
    instead_of_envelope(message)
    seen = observe(message, UNKNOWN_CARRIER, None, None)
    taken = PRESETS["legacy-des"]
    try:
        if message.signer is None:
            return seen
        return observe(message, UNKNOWN_CARRIER, sealed(authenticate(message, taken), [message.signer], taken), None)
    except Rejected:
        return seen


def _parameter(octets: bytes) -> object:
    """Read the query of a GET, and the message in it."""
    asked = read_query("/scep?" + octets.decode("latin-1"))
    return read_message_parameter(asked.get("message", b""))


TARGETS = (
    Target("scep.message", tolerant(_message, Malformed), _MESSAGES),
    Target("scep.parameter", tolerant(_parameter, Malformed), tuple(query.partition(b"?")[2] for query in _QUERIES)),
    Target(
        "scep.issuer_and_serial",
        tolerant(read_issuer_and_serial, Malformed),
        (der.sequence(_NAME, der.integer(17)), b"\x30\x80" + _NAME + der.integer(1 << 158) + b"\x00\x00"),
    ),
)
