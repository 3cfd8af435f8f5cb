"""Reading and writing ASN.1 encodings (X.690): strict DER by default, tolerant BER where CMS clients need it.

The reader knows elements, not schemas: a codec walks them with `read`, `children` and the value readers, and decodes
everything inside one guarded function. The writer keeps the order that it is given, unlike general libraries that sort
every SET. Tag numbers above 30 do not occur in the structures of PKIX and are refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OID = 0x06
ENUMERATED = 0x0A
UTF8_STRING = 0x0C
NUMERIC_STRING = 0x12
PRINTABLE_STRING = 0x13
T61_STRING = 0x14
IA5_STRING = 0x16
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
VISIBLE_STRING = 0x1A
UNIVERSAL_STRING = 0x1C
BMP_STRING = 0x1E
SEQUENCE = 0x30
SET = 0x31

DEPTH_LIMIT = 32
_CONSTRUCTED = 0x20
_END_OF_CONTENTS = b"\x00\x00"
_OID_OCTETS = 128
_OID_TEXT = re.compile(r"[012](\.(0|[1-9][0-9]{0,38})){1,32}")
_PRINTABLE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")

_CHARSETS = {
    UTF8_STRING: "utf-8",
    NUMERIC_STRING: "ascii",
    PRINTABLE_STRING: "ascii",
    T61_STRING: "latin-1",  # what every implementation means by it
    IA5_STRING: "ascii",
    VISIBLE_STRING: "ascii",
    UNIVERSAL_STRING: "utf-32-be",
    BMP_STRING: "utf-16-be",
}
_JOINABLE = frozenset(tag | _CONSTRUCTED for tag in (OCTET_STRING, *_CHARSETS))
# Whether an identifier octet is that of a constructed element; None where more has to be looked at than its length.
_IS_CONSTRUCTED = tuple(None if tag & 0x1F == 0x1F or not tag else tag & _CONSTRUCTED != 0 for tag in range(256))
_IS_CONSTRUCTED_BER = tuple(None if tag in _JOINABLE else known for tag, known in enumerate(_IS_CONSTRUCTED))


class MalformedDer(ValueError):
    """Not the encoding that was expected. The text is safe to show to the requester."""


class Tlv(NamedTuple):
    """One element.

    Attributes:
        tag: the identifier octet with class and constructed bit, such as `SEQUENCE` (0x30) or 0xA0 for ``[0]``.
        constructed: whether the content is a series of elements.
        content: the content octets, without the end-of-contents of an indefinite length.
        raw: the whole element as received.
    """

    tag: int
    constructed: bool
    content: bytes
    raw: bytes


_new = tuple.__new__  # a third faster than the class; elements are what a request is made of


def context(number: int, *, constructed: bool = True) -> int:
    """Return the identifier octet of the context-specific tag ``[number]``, 0 to 30."""
    return 0x80 | (_CONSTRUCTED if constructed else 0) | number


# --- reading -----------------------------------------------------------------------------------------------------


def read(data: bytes, *, ber: bool = False) -> Tlv:
    """Read exactly one element. Raises MalformedDer, also for octets after it.

    With ``ber``, indefinite and non-minimal lengths are taken, and universal strings in pieces are joined.
    """
    element, end = _element(data, 0, 0, ber=ber)
    if end != len(data):
        raise MalformedDer("octets after the end of an element")
    return element


def read_as(data: bytes, tag: int) -> bytes:
    """Return the content of exactly one element with this identifier octet; strict. Raises MalformedDer."""
    found = contents(data)
    if len(found) != 1:
        raise MalformedDer("not one element" if found else "an element is cut off")
    if found[0][0] != tag:
        raise unexpected(found[0][0], tag)
    return found[0][1]


def read_first(data: bytes, offset: int = 0, *, ber: bool = False) -> tuple[Tlv, int]:
    """Read the element that starts at an offset; return it and the offset behind it. Raises MalformedDer."""
    return _element(data, offset, 0, ber=ber)


def children(element: Tlv, *, ber: bool = False) -> list[Tlv]:
    """Return the elements inside a constructed one, in order. Raises MalformedDer."""
    if not element.constructed:
        raise MalformedDer("an element that should be constructed is primitive")
    return elements(element.content, ber=ber)


def inside(element: Tlv, tag: int, *, ber: bool = False) -> list[Tlv]:
    """Return the elements inside one with this identifier octet, that of a constructed one. Raises MalformedDer."""
    return elements(expect(element, tag).content, ber=ber)


def elements(data: bytes, *, ber: bool = False) -> list[Tlv]:
    """Return the elements that follow one another until the end of the octets. Raises MalformedDer."""
    found = []
    offset, size = 0, len(data)
    is_constructed = _IS_CONSTRUCTED_BER if ber else _IS_CONSTRUCTED
    while offset < size:
        tag = data[offset]
        start = offset + 2
        length = data[offset + 1] if start <= size else 0xFF
        # The short cuts for nearly every element there is: one-octet tag, minimal definite length, all of it there.
        if length > 0x7F:
            if length == 0x82 and start + 1 < size and data[start]:
                length, start = data[start] << 8 | data[start + 1], start + 2
            elif length == 0x81 and start < size and data[start] > 0x7F:
                length, start = data[start], start + 1
            else:
                start = size + 1
        end = start + length
        constructed = is_constructed[tag]
        if end <= size and constructed is not None:
            found.append(_new(Tlv, (tag, constructed, data[start:end], data[offset:end])))
            offset = end
        else:
            element, offset = _element(data, offset, 0, ber=ber)
            found.append(element)
    return found


def contents(data: bytes) -> list[tuple[int, bytes]]:
    """Return identifier octet and content of the elements that follow one another; strict. Raises MalformedDer.

    It takes half of what `elements` takes, for whoever needs no more of them.
    """
    found = []
    offset, size = 0, len(data)
    try:
        while offset < size:
            tag, length = data[offset], data[offset + 1]
            start = offset + 2
            offset = start + length
            if length > 0x7F or offset > size or _IS_CONSTRUCTED[tag] is None:
                element, offset = _element(data, start - 2, 0, ber=False)
                found.append((tag, element.content))
            else:
                found.append((tag, data[start:offset]))
    except IndexError:
        raise MalformedDer("an element is cut off") from None
    return found


def pieces(element: bytes) -> list[bytes]:
    """Return the elements inside one, each as a whole; strict. Raises MalformedDer, also for octets after it."""
    return [each.raw for each in elements(read(element).content)]


def expect(element: Tlv, tag: int) -> Tlv:
    """Return the element when it has this identifier octet. Raises MalformedDer."""
    if element.tag != tag:
        raise unexpected(element.tag, tag)
    return element


def octets(element: Tlv, *, ber: bool = False) -> bytes:
    """Return the value of an OCTET STRING, universal or implicitly tagged.

    With ``ber``, a constructed one (definite or not) is joined from its pieces. Raises MalformedDer.
    """
    if not element.constructed:
        return element.content
    if not ber:
        raise MalformedDer("an octet string in pieces")
    pieces = elements(element.content, ber=True)
    if any(piece.tag != OCTET_STRING for piece in pieces):
        raise MalformedDer("a piece of an octet string is something else")
    return b"".join(piece.content for piece in pieces)


def definite(element: Tlv) -> bytes:
    """Return a BER element with minimal definite lengths and joined strings, in its own order. Raises MalformedDer.

    This is DER but for the order of SETs and the values of BOOLEANs: what a signature over an attribute set needs.
    """
    return _definite(element, 0)


def _definite(element: Tlv, depth: int) -> bytes:
    if depth > DEPTH_LIMIT:
        raise MalformedDer("elements nested too deeply")
    if not element.constructed:
        return tlv(element.tag, element.content)
    return tlv(element.tag, *(_definite(child, depth + 1) for child in elements(element.content, ber=True)))


def _element(data: bytes, offset: int, depth: int, *, ber: bool) -> tuple[Tlv, int]:
    try:
        tag, length = data[offset], data[offset + 1]
    except IndexError:
        raise MalformedDer("an element is cut off") from None
    if tag & 0x1F == 0x1F or tag == 0:
        raise MalformedDer(f"tag {tag:#04x} is not supported")
    start = offset + 2
    if length > 0x7F:
        if length == 0x80:
            return _indefinite(data, offset, depth, ber=ber)
        if length == 0x82 and start + 1 < len(data) and data[start]:  # nearly always
            start, length = start + 2, data[start] << 8 | data[start + 1]
        else:
            start, length = _long_length(data, start, length & 0x7F, ber=ber)
    end = start + length
    if end > len(data):
        raise MalformedDer("an element is longer than what contains it")
    if ber and tag in _JOINABLE:
        if depth >= DEPTH_LIMIT:
            raise MalformedDer("elements nested too deeply")
        content, _ = _series(data[start:end], 0, end - start, tag, depth)
        return Tlv(tag ^ _CONSTRUCTED, False, content, data[offset:end]), end  # noqa: FBT003 - a field, by position
    return _new(Tlv, (tag, tag & _CONSTRUCTED != 0, data[start:end], data[offset:end])), end


def _long_length(data: bytes, start: int, count: int, *, ber: bool) -> tuple[int, int]:
    encoded = data[start : start + count]
    if len(encoded) != count:
        raise MalformedDer("a length is cut off")
    length = int.from_bytes(encoded, "big")
    if not ber and (encoded[0] == 0 or length < 0x80):
        raise MalformedDer("a length is not minimal (X.690 section 10.1)")
    return start + count, length


def _indefinite(data: bytes, offset: int, depth: int, *, ber: bool) -> tuple[Tlv, int]:
    tag = data[offset]
    if not ber:
        raise MalformedDer("an indefinite length (X.690 section 10.1)")
    if not tag & _CONSTRUCTED:
        raise MalformedDer("a primitive element of indefinite length")
    if depth >= DEPTH_LIMIT:
        raise MalformedDer("elements nested too deeply")
    content, end = _series(data, offset + 2, None, tag, depth)
    end += len(_END_OF_CONTENTS)
    if tag in _JOINABLE:
        tag ^= _CONSTRUCTED
    return Tlv(tag, tag & _CONSTRUCTED != 0, content, data[offset:end]), end


def _series(data: bytes, start: int, end: int | None, tag: int, depth: int) -> tuple[bytes, int]:
    """Walk the elements to ``end`` or to end-of-contents, each once: doing it twice would double at each level."""
    pieces = []
    position = start
    while data[position : position + 2] != _END_OF_CONTENTS if end is None else position < end:
        piece, position = _element(data, position, depth + 1, ber=True)
        # X.690 section 8.23.6: the pieces of a character string are octet strings; some write their own type.
        if tag in _JOINABLE:
            if piece.tag not in {OCTET_STRING, tag ^ _CONSTRUCTED}:
                raise MalformedDer("a piece of a string is something else")
            pieces.append(piece.content)
    content = b"".join(pieces) if tag in _JOINABLE else data[start:position]
    return content, position


# --- values ------------------------------------------------------------------------------------------------------


def read_integer(element: Tlv) -> int:
    """Return the value of an INTEGER or ENUMERATED, or of an implicitly tagged one. Raises MalformedDer."""
    content = element.content
    if not content or element.constructed:
        raise MalformedDer("an integer without octets")
    if len(content) > 1 and (content[0], content[1] >> 7) in {(0, 0), (0xFF, 1)}:
        raise MalformedDer("an integer is not minimal (X.690 section 8.3.2)")
    return int.from_bytes(content, "big", signed=True)


def read_boolean(element: Tlv) -> bool:
    """Return the value of a BOOLEAN; only 00 and FF are values (X.690 section 11.1). Raises MalformedDer."""
    if element.content not in {b"\x00", b"\xff"}:
        raise MalformedDer("a boolean is neither 00 nor FF")
    return element.content == b"\xff"


def unexpected(tag: int, wanted: int) -> MalformedDer:
    """Return the error for one identifier octet where another belongs."""
    return MalformedDer(f"tag {tag:#04x} where {wanted:#04x} belongs")


def dotted(element: Tlv) -> str:
    """Return the value of an OBJECT IDENTIFIER in dotted form. Raises MalformedDer."""
    return read_oid(expect(element, OID).content)


def read_oid(content: bytes) -> str:
    """Return an object identifier's content octets in dotted form. Raises MalformedDer."""
    try:
        return _dotted(content)
    except ValueError as error:
        raise MalformedDer("not an object identifier (X.690 section 8.19)") from error


@lru_cache(maxsize=1024)
def _dotted(content: bytes) -> str:
    if not 0 < len(content) <= _OID_OCTETS or content[-1] & 0x80:
        raise ValueError
    arcs, value = [], 0
    for position, octet in enumerate(content):
        if octet == 0x80 and (position == 0 or not content[position - 1] & 0x80):
            raise ValueError  # a padded arc
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def read_bits(element: Tlv) -> tuple[int, bytes]:
    """Return a BIT STRING's number of unused bits and its octets. Raises MalformedDer."""
    content = element.content
    if not content or element.constructed or content[0] > 7 or (content[0] and len(content) == 1):
        raise MalformedDer("not a bit string (X.690 section 8.6)")
    if content[0] and content[-1] & ((1 << content[0]) - 1):
        raise MalformedDer("unused bits are set (X.690 section 11.2.1)")
    return content[0], content[1:]


def read_text(element: Tlv) -> str:
    """Return the value of any character string type. Raises MalformedDer for other types and wrong octets."""
    return text(element.tag, element.content)


def text(tag: int, content: bytes) -> str:
    """Return the value of a character string with this identifier octet. Raises MalformedDer as `read_text`."""
    charset = _CHARSETS.get(tag)
    if charset is None:
        raise MalformedDer(f"tag {tag:#04x} where a character string belongs")
    try:
        return content.decode(charset)
    except UnicodeDecodeError as error:
        raise MalformedDer("a character string has octets outside of its alphabet") from error


def read_time(element: Tlv) -> datetime:
    """Return a UTCTime or GeneralizedTime as RFC 5280 section 4.1.2.5 writes it, aware. Raises MalformedDer."""
    try:
        text = element.content.decode("ascii")
        if element.tag == UTC_TIME and len(text) == 13:
            text = ("19" if text[:2] >= "50" else "20") + text
        elif element.tag != GENERALIZED_TIME or len(text) != 15:
            raise MalformedDer("not a time (RFC 5280 section 4.1.2.5)")
        if not text[:14].isdigit() or text[14] != "Z":
            raise MalformedDer("not a time (RFC 5280 section 4.1.2.5)")
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedDer("not a time (RFC 5280 section 4.1.2.5)") from error


# --- writing -----------------------------------------------------------------------------------------------------


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return the element with this identifier octet around the parts, joined in order."""
    content = b"".join(parts) if len(parts) != 1 else parts[0]
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    if length < 0x100:
        return bytes((tag, 0x81, length)) + content
    if length < 0x10000:
        return bytes((tag, 0x82, length >> 8, length & 0xFF)) + content
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(encoded))) + encoded + content


sequence: Callable[..., bytes] = partial(tlv, SEQUENCE)
"""Returns a SEQUENCE of encoded elements."""


def set_of(*parts: bytes, sort: bool = True) -> bytes:
    """Return a SET OF encoded elements, sorted as DER wants (X.690 section 11.6) or in the order given."""
    return tlv(SET, *(sorted(parts) if sort else parts))


def boolean(value: bool) -> bytes:  # noqa: FBT001 - the one thing that it takes
    """Return a BOOLEAN."""
    return b"\x01\x01\xff" if value else b"\x01\x01\x00"


def integer(value: int) -> bytes:
    """Return an INTEGER."""
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return tlv(INTEGER, value.to_bytes(size, "big", signed=True))


@lru_cache(maxsize=1024)
def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER. Raises MalformedDer for what is not one."""
    if not _OID_TEXT.fullmatch(dotted):
        raise MalformedDer(f"not an object identifier: {dotted!r:.80}")
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    if first < 2 and second > 39:
        raise MalformedDer(f"not an object identifier: {dotted!r:.80}")
    return tlv(OID, *(_arc(arc) for arc in (40 * first + second, *rest)))


def _arc(value: int) -> bytes:
    encoded = [value & 0x7F]
    while value := value >> 7:
        encoded.append(0x80 | value & 0x7F)
    return bytes(reversed(encoded))


octet_string: Callable[[bytes], bytes] = partial(tlv, OCTET_STRING)
"""Returns an OCTET STRING."""


def bit_string(value: bytes, unused: int = 0) -> bytes:
    """Return a BIT STRING of whole octets, of whose last so many bits are unused (and must be zero)."""
    return tlv(BIT_STRING, bytes((unused,)), value)


def null() -> bytes:
    """Return a NULL."""
    return b"\x05\x00"


def printable(text: str) -> bytes:
    """Return a PrintableString. Raises MalformedDer for characters outside of its alphabet."""
    if not text.isascii() or not _PRINTABLE.issuperset(text.encode()):
        raise MalformedDer("a character is not in the alphabet of PrintableString")
    return tlv(PRINTABLE_STRING, text.encode())


def utf8(text: str) -> bytes:
    """Return a UTF8String."""
    return tlv(UTF8_STRING, text.encode())


def ia5(text: str) -> bytes:
    """Return an IA5String. Raises MalformedDer for characters outside of ASCII."""
    if not text.isascii():
        raise MalformedDer("a character is not in the alphabet of IA5String")
    return tlv(IA5_STRING, text.encode())


def utc_time(moment: datetime) -> bytes:
    """Return a UTCTime of whole seconds for an aware time of 1950 to 2049. Raises MalformedDer."""
    moment = moment.astimezone(UTC)
    if not 1950 <= moment.year < 2050:
        raise MalformedDer("UTCTime ends with the year 2049")
    return tlv(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())


def generalized_time(moment: datetime) -> bytes:
    """Return a GeneralizedTime of whole seconds for an aware time."""
    moment = moment.astimezone(UTC)
    return tlv(GENERALIZED_TIME, f"{moment.year:04}{moment.strftime('%m%d%H%M%SZ')}".encode())


def time(moment: datetime) -> bytes:
    """Return a Time as RFC 5280 section 4.1.2.5 wants it: UTCTime through 2049, GeneralizedTime from 2050."""
    return utc_time(moment) if 1950 <= moment.astimezone(UTC).year < 2050 else generalized_time(moment)
