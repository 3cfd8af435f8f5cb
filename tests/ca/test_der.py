from __future__ import annotations

import re
import time as duration
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ca import der

OIDS = st.one_of(
    st.tuples(st.integers(0, 1), st.integers(0, 39)), st.tuples(st.just(2), st.integers(0, 2**64))
).flatmap(
    lambda first: st.lists(st.integers(0, 2**64), max_size=8).map(lambda rest: ".".join(map(str, (*first, *rest))))
)
MOMENTS = st.datetimes(datetime(1950, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001 - the strategy adds UTC
    lambda moment: moment.replace(microsecond=0)
)


def indefinite(tag: int, *parts: bytes) -> bytes:
    return bytes((tag, 0x80)) + b"".join(parts) + b"\x00\x00"


@given(st.binary(max_size=300))
@example(b"\x30\x80" * 100)
@example(b"\x24\x80" * 100)
def test_any_octets_are_read_or_refused_with_the_one_exception(data: bytes) -> None:
    for ber in (False, True):
        try:
            element = der.read(data, ber=ber)
            walk(element, ber=ber)
        except der.MalformedDer:
            continue
        if not ber:
            assert element.raw == data


ELEMENTS = st.lists(
    st.builds(
        der.tlv,
        st.sampled_from([0x02, 0x04, 0x0C, 0x30, 0x31, 0x82, 0xA0]),
        st.one_of(st.binary(max_size=20), st.integers(100, 300).map(bytes)),
    ),
    max_size=5,
).map(b"".join)


@given(
    st.one_of(st.binary(max_size=60), ELEMENTS, st.builds(lambda data, cut: data[:-cut], ELEMENTS, st.integers(1, 5)))
)
@example(b"\x30")
@example(b"\x30\x81\x05hello")
@example(b"\x30\x82")
def test_contents_and_pieces_are_those_of_elements(data: bytes) -> None:
    try:
        found = der.elements(data)
    except der.MalformedDer as error:
        with pytest.raises(der.MalformedDer, match=re.escape(str(error))):
            der.contents(data)
        with pytest.raises(der.MalformedDer, match=re.escape(str(error))):
            der.pieces(der.octet_string(data))
        return
    assert der.contents(data) == [(each.tag, each.content) for each in found]
    assert der.pieces(der.octet_string(data)) == [each.raw for each in found]


@given(data=st.one_of(st.binary(max_size=60), ELEMENTS), ber=st.booleans())
@example(data=der.octet_string(bytes(0x10000)), ber=False)
@example(data=b"\x30\x83\x80" + bytes(300), ber=False)
@example(data=b"\x24\x03\x04\x01a\x0c\x01b", ber=True)
def test_elements_are_what_is_read_one_after_another(*, data: bytes, ber: bool) -> None:
    found, offset = [], 0
    try:
        while offset < len(data):
            element, offset = der.read_first(data, offset, ber=ber)
            found.append(element)
    except der.MalformedDer:
        with pytest.raises(der.MalformedDer):
            der.elements(data, ber=ber)
        return
    assert der.elements(data, ber=ber) == found
    assert der.inside(der.read(der.sequence(data)), der.SEQUENCE, ber=ber) == found


def test_one_element_is_read_as_what_it_should_be() -> None:
    assert der.read_as(b"\x04\x02hi", der.OCTET_STRING) == b"hi"
    for data in (b"", b"\x04", b"\x04\x02h", b"\x04\x00\x05\x00", b"\x30\x00"):
        with pytest.raises(der.MalformedDer):
            der.read_as(data, der.OCTET_STRING)


def walk(element: der.Tlv, *, ber: bool, depth: int = 0) -> None:
    for value in (der.read_integer, der.read_boolean, der.read_bits, der.read_text, der.read_time, der.definite):
        try:
            value(element)
        except der.MalformedDer:
            continue
    try:
        der.read_oid(element.content)
    except der.MalformedDer:
        assert element.tag != 0x05 or element.content != b"\x00"
    der.octets(element, ber=ber) if not element.constructed else None
    if element.constructed and depth < 40:
        for child in der.children(element, ber=ber):
            walk(child, ber=ber, depth=depth + 1)


@given(st.binary(max_size=70000).filter(lambda content: len(content) < 70000), st.sampled_from([0x04, 0x30, 0xA3]))
def test_what_is_written_is_read_back(content: bytes, tag: int) -> None:
    element = der.read(der.tlv(tag, content))
    assert (element.tag, element.content, element.constructed) == (tag, content, tag != 0x04)


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65535, 65536, 1 << 23])
def test_lengths_are_minimal(size: int) -> None:
    encoded = der.octet_string(bytes(size))
    assert der.read(encoded).content == bytes(size)


@given(st.integers())
@example(127)
@example(128)
@example(-128)
@example(-129)
def test_integers_survive(value: int) -> None:
    assert der.read_integer(der.read(der.integer(value))) == value


@given(OIDS)
@example("1.39")
@example("2.40")
@example("1.2" + ".1" * 31)
def test_object_identifiers_survive(dotted: str) -> None:
    assert der.dotted(der.read(der.oid(dotted))) == dotted


@given(MOMENTS)
@example(datetime(1949, 12, 31, 23, 59, 59, tzinfo=UTC))
@example(datetime(1950, 1, 1, tzinfo=UTC))
@example(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC))
@example(datetime(2050, 1, 1, tzinfo=UTC))
def test_times_survive_and_change_their_type_in_2050(moment: datetime) -> None:
    element = der.read(der.time(moment))
    assert der.read_time(element) == moment
    assert element.tag == (der.UTC_TIME if 1950 <= moment.year < 2050 else der.GENERALIZED_TIME)


@given(st.booleans())
def test_booleans_survive(value: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    assert der.read_boolean(der.read(der.boolean(value))) is value


@given(st.text(st.characters(codec="utf-8")))
def test_text_survives(text: str) -> None:
    assert der.read_text(der.read(der.utf8(text))) == text


def test_every_character_string_type_is_read() -> None:
    assert der.read_text(der.read(der.printable("Pump 17"))) == "Pump 17"
    assert der.read_text(der.read(der.ia5("a@b"))) == "a@b"
    assert der.read_text(der.read(der.tlv(der.BMP_STRING, "Zürich".encode("utf-16-be")))) == "Zürich"
    assert der.read_text(der.read(der.tlv(der.UNIVERSAL_STRING, "Zürich".encode("utf-32-be")))) == "Zürich"
    assert der.read_text(der.read(der.tlv(der.T61_STRING, "Zürich".encode("latin-1")))) == "Zürich"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x01",
        b"\x04\x82\x01",
        b"\x04\x81\x01\x00",  # not minimal
        b"\x04\x81\x7f" + bytes(127),
        b"\x04\x82\x00\x81" + bytes(129),  # a leading zero
        b"\x04\x85\x01\x00\x00\x00\x00",  # longer than all there is
        b"\x30\x80\x00\x00",  # indefinite
        b"\x1f\x01\x00",  # a tag number of several octets
        b"\xbf\x01\x00",
        b"\x00\x00",
        b"\x05\x00\x00",  # octets behind
    ],
)
def test_what_is_not_der_is_refused(data: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        der.read(data)


def test_ber_takes_indefinite_lengths_and_keeps_the_octets() -> None:
    data = indefinite(0x30, indefinite(0xA0, der.integer(5)), b"\x02\x81\x01\x07")
    element = der.read(data, ber=True)
    assert element.raw == data
    tagged, number = der.children(element, ber=True)
    assert der.read_integer(der.children(tagged)[0]) == 5
    assert der.read_integer(number) == 7
    assert der.definite(element) == der.sequence(der.tlv(0xA0, der.integer(5)), der.integer(7))


def test_ber_joins_strings_in_pieces_of_either_length() -> None:
    pieces = (der.octet_string(b"ab"), indefinite(0x24, der.octet_string(b"cd")), der.tlv(0x24, der.octet_string(b"e")))
    for data in (der.tlv(0x24, *pieces), indefinite(0x24, *pieces)):
        element = der.read(data, ber=True)
        assert (element.tag, element.constructed, element.content) == (der.OCTET_STRING, False, b"abcde")
        assert der.definite(element) == der.octet_string(b"abcde")


def test_an_implicitly_tagged_octet_string_in_pieces_is_joined_on_demand() -> None:
    data = der.tlv(0xA0, der.octet_string(b"ab"), der.tlv(0x24, der.octet_string(b"cd")))
    assert der.octets(der.read(data, ber=True), ber=True) == b"abcd"
    with pytest.raises(der.MalformedDer):
        der.octets(der.read(data))
    with pytest.raises(der.MalformedDer):
        der.octets(der.read(der.tlv(0xA0, der.octet_string(b"ab"), der.integer(1))), ber=True)
    assert der.octets(der.read(der.tlv(0x80, b"ab"))) == b"ab"


def test_a_character_string_is_joined_from_octet_strings_or_its_own_kind() -> None:
    """X.690 section 8.23.6 says octet strings; some write the type of the string."""
    pieces = der.octet_string(b"ab"), der.utf8("cd")
    for data in (der.tlv(0x2C, *pieces), indefinite(0x2C, *pieces)):
        assert der.read_text(der.read(data, ber=True)) == "abcd"
    with pytest.raises(der.MalformedDer):
        der.read(der.tlv(0x2C, der.printable("ab")), ber=True)


@pytest.mark.parametrize("opening", [b"\x30\x80", b"\x24\x80"])
def test_nesting_beyond_the_limit_is_refused_at_once(opening: bytes) -> None:
    begin = duration.perf_counter()
    for depth in (31, 32, 33, 20000):
        data = opening * depth + b"\x00\x00" * depth
        try:
            der.definite(der.read(data, ber=True))
            accepted = True
        except der.MalformedDer:
            accepted = False
        assert accepted is (depth <= der.DEPTH_LIMIT)
    assert duration.perf_counter() - begin < 2


def test_deep_definite_nesting_is_refused_where_it_is_walked() -> None:
    constructed, string = b"", b""
    for _ in range(der.DEPTH_LIMIT + 2):
        constructed, string = der.sequence(constructed), der.tlv(0x24, string)
    with pytest.raises(der.MalformedDer):
        der.definite(der.read(constructed))
    with pytest.raises(der.MalformedDer):
        der.read(string, ber=True)


@pytest.mark.parametrize(
    "data",
    [
        indefinite(0x04, b"\x04\x01a"),  # primitive
        b"\x30\x80\x04\x01a",  # no end
        der.tlv(0x24, der.integer(1)),  # a piece that is no string
        indefinite(0x24, der.integer(1)),
        b"\x30\x80\x00",
    ],
)
def test_wrong_ber_is_refused(data: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        der.read(data, ber=True)


@pytest.mark.parametrize("content", [b"", b"\x80\x01", b"\x2a\x80\x01", b"\x2b\x80\x01", b"\x2a\x86", b"\x2a" * 129])
def test_wrong_object_identifiers_are_refused(content: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        der.read_oid(content)


@pytest.mark.parametrize("dotted", ["", "1", "3.1", "1.40", "1.2.", "1.-2", "1.02", "1.2.x", "1.2.\u0663"])
def test_wrong_dotted_text_is_refused(dotted: str) -> None:
    with pytest.raises(der.MalformedDer):
        der.oid(dotted)


@pytest.mark.parametrize("data", [b"\x02\x00", b"\x02\x02\x00\x01", b"\x02\x02\xff\x80", b"\x22\x00"])
def test_wrong_integers_are_refused(data: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        der.read_integer(der.read(data))


@pytest.mark.parametrize("content", [b"", b"\x08\x00", b"\x01", b"\x01\x01"])
def test_wrong_bit_strings_are_refused(content: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        der.read_bits(der.read(der.tlv(der.BIT_STRING, content)))


def test_a_bit_string_in_pieces_is_refused() -> None:
    with pytest.raises(der.MalformedDer):
        der.read_bits(der.read(b"\x23\x02\x05\x00"))


def test_bit_strings_survive() -> None:
    assert der.read_bits(der.read(der.bit_string(b"\xa0", 5))) == (5, b"\xa0")
    assert der.read_bits(der.read(der.bit_string(b"\x80", 7))) == (7, b"\x80")
    assert der.read_bits(der.read(der.bit_string(b""))) == (0, b"")


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (der.UTC_TIME, b"2611210000Z"),
        (der.UTC_TIME, b"261121000000+"),
        (der.UTC_TIME, b"261321000000Z"),
        (der.UTC_TIME, b"261121000000z"),
        (der.GENERALIZED_TIME, b"261121000000Z"),
        (der.UTC_TIME, b"2611210000\xff0Z"),
        (der.GENERALIZED_TIME, b"20261121000000.5Z"),
        (der.GENERALIZED_TIME, b"20261121 00000Z"),
        (der.GENERALIZED_TIME, b"202611210000000"),
        (der.INTEGER, b"20261121000000Z"),
    ],
)
def test_wrong_times_are_refused(tag: int, content: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        der.read_time(der.read(der.tlv(tag, content)))


def test_wrong_text_is_refused() -> None:
    for data in (der.tlv(der.UTF8_STRING, b"\xff"), der.tlv(der.IA5_STRING, b"\xff"), der.integer(1)):
        with pytest.raises(der.MalformedDer):
            der.read_text(der.read(data))


def test_the_writer_refuses_what_a_type_cannot_hold() -> None:
    for write, value in ((der.printable, "a@b"), (der.printable, "ü"), (der.ia5, "ü")):
        with pytest.raises(der.MalformedDer):
            write(value)
    for year in (1949, 2050):
        with pytest.raises(der.MalformedDer):
            der.utc_time(datetime(year, 1, 1, tzinfo=UTC))


def test_sets_are_sorted_unless_told_otherwise() -> None:
    two, one = der.integer(2), der.integer(1)
    assert der.set_of(two, one) == der.tlv(der.SET, one, two)
    assert der.set_of(two, one, sort=False) == der.tlv(der.SET, two, one)


def test_tags_are_checked() -> None:
    element = der.read(der.null())
    assert der.expect(element, der.NULL) is element
    assert der.context(2) == 0xA2
    assert der.context(2, constructed=False) == 0x82
    with pytest.raises(der.MalformedDer):
        der.expect(element, der.INTEGER)
    with pytest.raises(der.MalformedDer):
        der.dotted(element)
    with pytest.raises(der.MalformedDer):
        der.children(element)
    with pytest.raises(der.MalformedDer):
        der.read_boolean(der.read(b"\x01\x01\x01"))
