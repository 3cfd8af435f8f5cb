from __future__ import annotations

from ipaddress import ip_address as parse_ip
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from ca import der, names
from ca.name_codec import read_general_names, read_name, write_general_names, write_name
from ca.names import (
    Attribute,
    DirectoryName,
    DistinguishedName,
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    MalformedName,
    OtherName,
    RegisteredId,
    Uri,
)
from tests.ca.strategies import DISTINGUISHED, GENERAL
from tests.fakes.issuer import NOW


@given(st.text(max_size=80))
def test_any_text_is_a_normal_name_or_refused(text: str) -> None:
    for constructor in (names.dns_name, names.email_address, names.uri):
        try:
            name = constructor(text)
        except MalformedName:
            continue
        assert constructor(name.value) == name
        assert name.value.isascii()


@given(st.binary(max_size=20))
def test_an_address_has_4_or_16_octets(octets: bytes) -> None:
    try:
        assert names.ip_address(octets).value.packed == octets
    except MalformedName:
        assert len(octets) not in {4, 16}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Pump.Example", "pump.example"),
        ("*.example", "*.example"),
        ("localhost", "localhost"),
        ("_a.b-c.d", "_a.b-c.d"),
        (".".join(["a" * 49] * 5) + ".bcd", ".".join(["a" * 49] * 5) + ".bcd"),
    ],
)
def test_dns_names_are_lower_case(text: str, value: str) -> None:
    assert names.dns_name(text) == DnsName(value)


@pytest.mark.parametrize(
    "text",
    [
        *["", ".", "a..b", "a.", ".a", "*", "*a.b", "a.*.b", "**.a", "-a.b", "a-.b", "a b", "a\x00.b", "bücher.test"],
        *["\u212aelvin.test", "a" * 64 + ".b", ".".join(["a" * 49] * 5) + ".bcde", "a\n"],
    ],
)
def test_what_is_no_dns_name_is_refused(text: str) -> None:
    with pytest.raises(MalformedName):
        names.dns_name(text)


def test_the_domain_of_an_address_is_lower_case_and_its_user_is_not() -> None:
    assert names.email_address("Ops.Team+x@Example.TEST") == EmailAddress("Ops.Team+x@example.test")
    assert names.email_address("a" * 64 + "@b") == EmailAddress("a" * 64 + "@b")


@pytest.mark.parametrize("text", ["", "a", "@a.b", "a@", "a@*.b", "a b@c", '"a"@b', "a..b@c", "ü@b.c", "a" * 65 + "@b"])
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    with pytest.raises(MalformedName):
        names.email_address(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SPIFFE://Trust.Example/Pump", "spiffe://trust.example/Pump"),
        ("https://User@HOST:8443/a?B#c", "https://User@host:8443/a?B#c"),
        ("URN:uuid:F81D", "urn:uuid:F81D"),
        ("https://Pump.Test", "https://pump.test"),
        ("https://[2001:DB8::1]/", "https://[2001:db8::1]/"),
        ("https://a.test/%2e%2E/%7e%2f", "https://a.test/../~%2F"),
        ("https://10.0.0.1:/", "https://10.0.0.1:/"),
    ],
)
def test_scheme_and_host_of_a_uri_are_lower_case(text: str, value: str) -> None:
    assert names.uri(text) == Uri(value)


@pytest.mark.parametrize("text", ["", "pump", "/pump", "//host/pump", "1a:b", "a:", "a://", "a:b c", "a:ü", "a:b\n"])
def test_what_is_no_absolute_uri_is_refused(text: str) -> None:
    with pytest.raises(MalformedName):
        names.uri(text)


@pytest.mark.parametrize("rest", ["\\", '"', "<b>", "%zz", "%4", "b|c", "[b]", "b#c#d", "{b}", "^", "`"])
def test_characters_that_no_uri_has_are_refused(rest: str) -> None:
    for text in (f"a:{rest}", f"https://a.test/{rest}", f"https://u{rest}@a.test/"):
        with pytest.raises(MalformedName, match="not an absolute URI"):
            names.uri(text)


@pytest.mark.parametrize(
    "authority",
    ["", "a..b", "-a", "*.a.test", "%61.test", "a\\b", "[::1].a.test", "[::g]", "::1", "a:b", "u@", "a@b@c"],
)
def test_an_authority_has_a_host(authority: str) -> None:
    """RFC 5280 section 4.2.1.6: a fully qualified domain name or an IP address."""
    with pytest.raises(MalformedName):
        names.uri(f"https://{authority}/a")


@given(st.lists(GENERAL, min_size=1, max_size=5))
def test_general_names_survive_the_encoding(general: list[GeneralName]) -> None:
    assert read_general_names(write_general_names(general)) == tuple(general)


@given(st.lists(GENERAL, min_size=1, max_size=5))
def test_general_names_are_encoded_as_the_library_does(general: list[GeneralName]) -> None:
    other = x509.SubjectAlternativeName(map(names.to_x509, general))
    assert [names.from_x509(name) for name in other] == general
    assert other.public_bytes() == write_general_names(general)


@given(DISTINGUISHED)
def test_distinguished_names_survive_the_encoding(name: DistinguishedName) -> None:
    assert read_name(der.read(write_name(name))) == name


@given(DISTINGUISHED)
def test_the_text_of_a_name_can_be_read_back(name: DistinguishedName) -> None:
    if name:
        assert DistinguishedName.from_text(str(name)) == name


def test_every_name_has_a_text_even_one_that_nobody_would_sign() -> None:
    name = DistinguishedName(
        (
            (Attribute("2.5.4.6", "Germany"),),
            (Attribute("2.5.4.3", "#a,b\n"), Attribute("2.5.4.5", "")),
            (Attribute("1.2", " x "),),
        )
    )
    assert str(name) == "1.2=\\ x\\ ,CN=\\#a\\,b\\0a+2.5.4.5=,C=Germany"
    with pytest.raises(MalformedName):
        name.to_x509()


def test_a_text_that_is_no_distinguished_name_is_refused() -> None:
    with pytest.raises(MalformedName):
        DistinguishedName.from_text("pump")


def test_names_match_without_case_and_string_type() -> None:
    one, other = DistinguishedName.from_text("CN=Pump  17,O=ACME"), DistinguishedName.from_text("CN=pump 17,O=Acme")
    assert one.matches(other)
    assert not one.matches(DistinguishedName.from_text("O=Acme,CN=pump 17"))
    assert one.common_names == ("Pump  17",)
    for text, same in (("CN=STRASSE", "CN=Straße"), ("CN=\ufb01lter", "CN=FILTER"), ("CN=U\u0308nit", "CN=\u00fcnit")):
        assert DistinguishedName.from_text(text).matches(DistinguishedName.from_text(same))
    assert not DistinguishedName()


def test_the_texts_of_general_names_say_their_kind() -> None:
    general: list[GeneralName] = [
        DnsName("a.test"),
        IpAddress(parse_ip("192.0.2.1")),
        EmailAddress("a@b"),
        Uri("a:b"),
        RegisteredId("1.2"),
        OtherName("1.2", b"\x05\x00"),
        DirectoryName(DistinguishedName.from_text("CN=a")),
    ]
    assert (
        " ".join(map(str, general)) == "dns:a.test ip:192.0.2.1 email:a@b uri:a:b rid:1.2 other:1.2:0500 dirname:CN=a"
    )


def test_a_network_is_not_an_address() -> None:
    with pytest.raises(MalformedName):
        names.from_x509(x509.IPAddress(ip_network("192.0.2.0/24")))


def certificate(*extensions: x509.ExtensionType, subject: x509.Name | None = None) -> x509.Certificate:
    key, name = ec.generate_private_key(ec.SECP256R1()), subject or x509.Name([])
    builder = x509.CertificateBuilder().issuer_name(name).subject_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def test_the_names_of_a_certificate_are_typed() -> None:
    subject = DistinguishedName.from_text("CN=pump,O=Acme")
    leaf = certificate(x509.SubjectAlternativeName([x509.DNSName("PUMP.test")]), subject=subject.to_x509())
    assert names.names_of(leaf) == (DnsName("pump.test"),)
    assert names.subject_of(leaf) == subject
    assert names.names_of(certificate()) == ()


@pytest.mark.parametrize(
    "value", [b"\x30\x04\xa5\x02\x05\x00", b"garbage", b"\x30\x03\x82\x01\xff", b"\x30\x03\x82\x01 "]
)
def test_names_of_a_certificate_that_cannot_be_read_are_refused(value: bytes) -> None:
    leaf = certificate(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), value))
    with pytest.raises(MalformedName):
        names.names_of(leaf)


def test_a_subject_that_is_not_text_is_refused() -> None:
    bits = x509.NameAttribute(x509.NameOID.X500_UNIQUE_IDENTIFIER, b"\x00\x01", x509.name._ASN1Type.BitString)
    text = x509.NameAttribute(x509.NameOID.COMMON_NAME, "pump")
    octets = certificate(subject=x509.Name([text])).public_bytes(serialization.Encoding.DER)
    for leaf in (
        certificate(subject=x509.Name([bits])),
        certificate(subject=x509.Name([x509.RelativeDistinguishedName([bits, text])])),
        x509.load_der_x509_certificate(octets.replace(b"\x0c\x04pump", b"\x03\x04\x00ump")),
        x509.load_der_x509_certificate(octets.replace(b"\x0c\x04pump", b"\x0c\x04\xffump")),
    ):
        with pytest.raises(MalformedName):
            names.subject_of(leaf)


def test_names_that_a_certificate_has_twice_are_refused() -> None:
    one, other = (kind([x509.DNSName("a.test")]) for kind in (x509.SubjectAlternativeName, x509.IssuerAlternativeName))
    octets = certificate(one, other).public_bytes(serialization.Encoding.DER)
    twice = octets.replace(der.oid("2.5.29.18"), der.oid("2.5.29.17"))
    with pytest.raises(MalformedName):
        names.names_of(x509.load_der_x509_certificate(twice))


@given(st.binary(max_size=120))
def test_any_octets_are_names_or_refused(data: bytes) -> None:
    for octets in (data, der.sequence(data)):
        for read in (read_general_names, lambda octets: read_name(der.read(octets))):
            try:
                read(octets)
            except (der.MalformedDer, MalformedName):
                continue


@pytest.mark.parametrize(
    "element",
    [
        der.tlv(0xA3, b""),  # x400Address
        der.tlv(0xA5, b"\x05\x00"),  # ediPartyName
        der.tlv(0xA2, b"a"),  # a constructed dNSName
        der.tlv(0x82, b"\xff"),
        der.tlv(0x82, b"a\x00.test"),
        der.tlv(0x87, b"abc"),
        der.tlv(0x81, b"nobody"),
        der.tlv(0x86, b"nowhere"),
        der.tlv(0xA0, der.oid("1.2")),
        der.tlv(0xA0, der.oid("1.2"), der.tlv(0xA0, b"")),
        der.tlv(0x88, b""),
    ],
)
def test_a_name_that_is_not_understood_is_refused_and_never_dropped(element: bytes) -> None:
    with pytest.raises((MalformedName, der.MalformedDer)):
        read_general_names(der.sequence(der.tlv(0x82, b"good.test"), element))


def test_no_names_at_all_are_refused() -> None:
    with pytest.raises(MalformedName):
        read_general_names(der.sequence())


@pytest.mark.parametrize(
    "data",
    [
        der.sequence(der.set_of()),
        der.sequence(der.set_of(der.sequence(der.oid("2.5.4.3")))),
        der.sequence(der.set_of(der.sequence(der.oid("2.5.4.3"), der.utf8("a\x00b")))),
        der.sequence(der.set_of(der.sequence(der.oid("2.5.4.45"), der.bit_string(b"a")))),
        der.sequence(der.sequence(der.oid("2.5.4.3"), der.utf8("a"))),
    ],
)
def test_a_distinguished_name_that_is_not_understood_is_refused(data: bytes) -> None:
    with pytest.raises((MalformedName, der.MalformedDer)):
        read_name(der.read(data))


def test_a_relative_name_has_no_type_twice() -> None:
    with pytest.raises(MalformedName):
        write_name(DistinguishedName(((Attribute("2.5.4.3", "a"), Attribute("2.5.4.3", "b")),)))


@pytest.mark.parametrize("value", ["", "x" * 65, "a\x00b", "a\x85b"])
def test_a_value_that_no_certificate_may_have_is_not_written(value: str) -> None:
    with pytest.raises(MalformedName):
        write_name(DistinguishedName(((Attribute("2.5.4.3", value),),)))


@pytest.mark.parametrize(
    ("oid", "value", "tag"),
    [
        ("2.5.4.6", "DE", der.PRINTABLE_STRING),
        ("2.5.4.5", "17", der.PRINTABLE_STRING),
        ("1.2.840.113549.1.9.1", "a@b", der.IA5_STRING),
        ("2.5.4.3", "Zürich", der.UTF8_STRING),
    ],
)
def test_values_are_written_in_the_string_type_of_their_attribute(oid: str, value: str, tag: int) -> None:
    name = DistinguishedName(((Attribute(oid, value),),))
    written = write_name(name)
    assert bytes((tag, len(value.encode()))) + value.encode() in written
    assert written == name.to_x509().public_bytes()


@pytest.mark.parametrize(("oid", "value"), [("2.5.4.5", "ü"), ("1.2.840.113549.1.9.1", "ü@b"), ("5.5", "x")])
def test_a_value_outside_of_its_alphabet_is_not_written(oid: str, value: str) -> None:
    with pytest.raises(MalformedName):
        write_name(DistinguishedName(((Attribute(oid, value),),)))


@pytest.mark.parametrize("name", [DnsName("ü"), EmailAddress("ü"), Uri("ü")])
def test_a_name_made_past_its_constructor_is_not_written(name: GeneralName) -> None:
    with pytest.raises(MalformedName):
        write_general_names([name])
