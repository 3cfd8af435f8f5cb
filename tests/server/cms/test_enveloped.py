from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from server.cms.algorithms import PKCS1, Cipher, Digest, KeyTransport, MalformedCms, UnsupportedAlgorithm
from server.cms.certificates import DATA, ENVELOPED_DATA, content_info
from server.cms.enveloped import Envelope, KeyTransRecipient, Undecipherable, decipher, read_envelope, seal
from tests.server.scep.device import bag, envelope, rsa_key, self_signed
from tests.wire.running import require_program

if TYPE_CHECKING:
    from pathlib import Path

KEY = rsa_key()
CERTIFICATE = self_signed(KEY)
OAEPS = [
    KeyTransport((hashed, masked))
    for hashed in Digest
    if hashed is not Digest.MD5
    for masked in (Digest.SHA1, Digest.SHA256)
]
CONTENT = b"a certification request, say"


def opened(encoded: bytes) -> bytes:
    inside = read_envelope(encoded)
    recipient = inside.recipient(bag(CERTIFICATE))
    assert recipient is not None
    key = KEY.decrypt(recipient.encrypted_key, recipient.transport().padding())
    return decipher(inside, key, bytes)


@pytest.mark.parametrize("cipher", Cipher)
@pytest.mark.parametrize("transport", [PKCS1, *OAEPS])
def test_what_is_sealed_can_be_opened(cipher: Cipher, transport: KeyTransport) -> None:
    sealed = envelope(CONTENT, CERTIFICATE, cipher, transport)
    assert opened(sealed) == CONTENT
    inside = read_envelope(sealed)
    assert (inside.cipher, inside.recipients[0].transport()) == (cipher, transport)


@pytest.mark.parametrize("cipher", ["aes128", "aes192", "aes256", "des3"])
@pytest.mark.parametrize(
    "transport", [(), ("rsa_padding_mode:oaep",), ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256")], ids=str
)
@pytest.mark.parametrize("stream", [(), ("-stream",)], ids=["definite", "indefinite"])
def test_what_openssl_encrypts_is_opened(
    tmp_path: Path, cipher: str, transport: tuple[str, ...], stream: tuple[str, ...]
) -> None:
    (tmp_path / "certificate").write_bytes(CERTIFICATE)
    (tmp_path / "content").write_bytes(CONTENT)
    command = [require_program("openssl"), "cms", "-encrypt", "-binary", "-in", "content", f"-{cipher}"]
    command += ["-outform", "DER", *stream]
    command += ["-recip", "certificate", *(word for option in transport for word in ("-keyopt", option))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert opened(done.stdout) == CONTENT


def parts(
    recipient: bytes | None = None, algorithm: bytes | None = None, ciphertext: bytes | None = None, **changes: bytes
) -> bytes:
    """Return an envelope of given parts, the rest good."""
    inside = read_envelope(envelope(CONTENT, CERTIFICATE))
    key = inside.recipients[0].encrypted_key
    rid = changes.get("rid", der.sequence(bag(CERTIFICATE).issuer, bag(CERTIFICATE).serial))
    transport = changes.get("transport", PKCS1.identifier())
    info = recipient or der.sequence(der.integer(0), rid, transport, der.octet_string(key))
    default_algorithm = der.sequence(der.oid(Cipher.AES128.oid), der.octet_string(inside.vector))
    content = ciphertext if ciphertext is not None else der.tlv(0x80, inside.ciphertext)
    encrypted = der.sequence(changes.get("type", der.oid(DATA)), algorithm or default_algorithm, content)
    before, after = changes.get("before", b""), changes.get("after", b"")
    recipients = changes.get("recipients", der.set_of(info))
    return content_info(ENVELOPED_DATA, der.sequence(der.integer(0), before, recipients, encrypted, after))


@pytest.mark.parametrize(
    "transport", [PKCS1, *(KeyTransport((digest, digest)) for digest in Digest if digest is not Digest.MD5)]
)
def test_what_a_key_holds_is_what_can_be_encrypted_with_it(transport: KeyTransport) -> None:
    key = rsa_key("small", 1024).public_key()
    for octets in range(129):
        try:
            key.encrypt(bytes(octets), transport.padding())
        except ValueError:
            assert not transport.holds(key, octets)
        else:
            assert transport.holds(key, octets)


def test_the_parts_of_these_tests_are_good() -> None:
    assert opened(parts()) == CONTENT


def test_a_constructed_encrypted_content_is_joined() -> None:
    whole = read_envelope(envelope(CONTENT, CERTIFICATE)).ciphertext
    pieces = der.octet_string(whole[:7]), der.octet_string(whole[7:])
    assert opened(parts(ciphertext=der.tlv(0xA0, *pieces))) == CONTENT
    indefinite = b"\xa0\x80" + b"".join(pieces) + b"\x00\x00"
    assert opened(parts(ciphertext=indefinite)) == CONTENT


def test_originator_info_and_unprotected_attributes_are_passed_over() -> None:
    assert opened(parts(before=der.tlv(0xA0), after=der.tlv(0xA1))) == CONTENT


def test_other_kinds_of_recipients_are_passed_over() -> None:
    good = der.children(der.children(der.read(parts()))[1])[0]
    info = der.children(der.children(good)[1])[0].raw
    assert opened(parts(recipients=der.tlv(der.SET, der.tlv(0xA3, der.null()), info))) == CONTENT


def recipient(**changes: bytes | None) -> KeyTransRecipient:
    fields = {"issuer": None, "serial": None, "key_identifier": None, **changes}
    return KeyTransRecipient(**fields, algorithm=None, encrypted_key=b"")  # type: ignore[arg-type] # of no interest


def test_a_recipient_is_found_by_name_or_key_identifier_even_one_wrapped_twice() -> None:
    identifier = bytes(range(20))
    extension = der.sequence(der.oid("2.5.29.14"), der.octet_string(der.octet_string(identifier)))
    ours = bag(CERTIFICATE)._replace(extensions=der.tlv(0xA3, der.sequence(extension)))
    assert recipient(issuer=ours.issuer, serial=ours.serial).names(ours)
    assert recipient(key_identifier=identifier).names(ours)
    assert recipient(key_identifier=b"\x04\x14" + identifier).names(ours)
    assert not recipient(issuer=ours.issuer, serial=b"\x02\x01\x07").names(ours)
    assert not recipient(key_identifier=bytes(20)).names(ours)


def test_a_key_identifier_addresses_a_recipient() -> None:
    for rid in (der.tlv(0x80, b"somebody"), der.tlv(0xA0, der.octet_string(b"some"), der.octet_string(b"body"))):
        inside = read_envelope(parts(rid=rid))
        assert inside.recipients[0].key_identifier == b"somebody"
        assert inside.recipient(bag(CERTIFICATE)) == inside.recipients[0]


def test_of_several_recipients_with_other_names_none_is_taken() -> None:
    someone = der.sequence(der.integer(2), der.tlv(0x80, b"someone"), PKCS1.identifier(), der.octet_string(b"wrapped"))
    inside = read_envelope(parts(recipients=der.tlv(der.SET, someone, someone)))
    assert inside.recipient(bag(CERTIFICATE)) is None


def test_of_several_recipients_ours_is_taken_and_seventeen_are_too_many() -> None:
    ours = bag(CERTIFICATE)
    rid = der.sequence(ours.issuer, ours.serial)
    someone, we = (
        der.sequence(der.integer(0), who, PKCS1.identifier(), der.octet_string(b"wrapped"))
        for who in (der.tlv(0x80, b"someone"), rid)
    )
    inside = read_envelope(parts(recipients=der.tlv(der.SET, *[someone] * 15, we)))
    found = inside.recipient(ours)
    assert found is not None
    assert (found.issuer, found.serial) == (ours.issuer, ours.serial)
    with pytest.raises(MalformedCms):
        read_envelope(parts(recipients=der.tlv(der.SET, *[someone] * 16, we)))


@pytest.mark.parametrize(
    "encoded",
    [
        content_info(DATA, der.octet_string(b"")),
        content_info(ENVELOPED_DATA, der.sequence(der.integer(0))),
        der.sequence(der.oid(ENVELOPED_DATA), der.tlv(0xA0, der.null(), der.null())),
        parts(recipient=der.sequence(der.integer(0))),
        parts(rid=der.sequence(der.null())),
        parts(type=der.oid("1.2.3")),
        parts(ciphertext=der.null()),
        parts(ciphertext=b""),
        parts(algorithm=der.sequence(der.oid(Cipher.AES128.oid), der.octet_string(bytes(16)), der.null())),
        parts(algorithm=der.sequence(der.oid(Cipher.AES128.oid), der.octet_string(b"short"))),
        parts(algorithm=der.sequence(der.oid(Cipher.AES128.oid))),
        parts(algorithm=der.sequence()),
    ],
)
def test_structures_that_are_no_envelope_are_malformed(encoded: bytes) -> None:
    with pytest.raises(MalformedCms):
        read_envelope(encoded)


@pytest.mark.parametrize(("oid", "name"), [("1.2.840.113549.3.2", "RC2"), ("1.2.3", "1.2.3")])
def test_other_ciphers_are_refused_by_name(oid: str, name: str) -> None:
    with pytest.raises(UnsupportedAlgorithm, match=name):
        read_envelope(parts(algorithm=der.sequence(der.oid(oid), der.octet_string(bytes(8)))))


OAEP = "1.2.840.113549.1.1.7"
MGF1 = "1.2.840.113549.1.1.8"


@pytest.mark.parametrize(
    "identifier",
    [
        der.sequence(der.oid("1.2.3")),
        der.sequence(der.oid(OAEP), der.sequence(der.tlv(0xA0, der.sequence(der.oid("1.2.3"))))),
        der.sequence(der.oid(OAEP), der.sequence(der.tlv(0xA1, der.sequence(der.oid("1.2.3"))))),
        der.sequence(der.oid(OAEP), der.sequence(der.tlv(0xA0, Digest.MD5.identifier()))),
        der.sequence(
            der.oid(OAEP),
            der.sequence(der.tlv(0xA2, der.sequence(der.oid("1.2.840.113549.1.1.9"), der.octet_string(b"label")))),
        ),
    ],
)
def test_other_key_transports_are_unsupported(identifier: bytes) -> None:
    with pytest.raises(UnsupportedAlgorithm):
        read_envelope(parts(transport=identifier)).recipients[0].transport()


def test_oaep_with_every_field_at_its_default_is_sha_1() -> None:
    label = der.tlv(0xA2, der.sequence(der.oid("1.2.840.113549.1.1.9"), der.octet_string(b"")))
    for fields in ((), (label,), (der.tlv(0xA1, der.sequence(der.oid(MGF1))), label)):
        identifier = der.sequence(der.oid(OAEP), der.sequence(*fields))
        transport = read_envelope(parts(transport=identifier)).recipients[0].transport()
        assert transport == KeyTransport((Digest.SHA1, Digest.SHA1))
    absent = read_envelope(parts(transport=der.sequence(der.oid(OAEP)))).recipients[0].transport()
    assert absent == KeyTransport((Digest.SHA1, Digest.SHA1))


def test_odd_oaep_parameters_are_malformed() -> None:
    for odd in (der.sequence(der.tlv(0xA7, der.null())), der.sequence(der.tlv(0xA0)), der.null()):
        with pytest.raises(MalformedCms):
            read_envelope(parts(transport=der.sequence(der.oid(OAEP), odd))).recipients[0].transport()


@pytest.mark.parametrize("key", [None, b"", bytes(15), bytes(32), bytes(16)])
def test_a_content_key_that_is_missing_wrong_or_of_wrong_length_looks_like_any_other_failure(
    key: bytes | None,
) -> None:
    inside = read_envelope(envelope(CONTENT, CERTIFICATE))
    with pytest.raises(Undecipherable) as raised:
        decipher(inside, key, lambda octets: b"\x07" * octets)
    assert str(raised.value) == ""
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("ciphertext", [b"", b"x", bytes(15), bytes(16), bytes(17)])
def test_a_ciphertext_of_any_length_is_undecipherable(ciphertext: bytes) -> None:
    with pytest.raises(Undecipherable):
        decipher(Envelope((), Cipher.AES128, bytes(16), ciphertext), bytes(16), bytes)


GOOD = envelope(CONTENT, CERTIFICATE)


@given(st.binary(max_size=300))
def test_any_octets_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedCms):
        read_envelope(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_any_change_of_an_octet_has_one_of_three_ends(position: int, octet: int) -> None:
    try:
        inside = read_envelope(GOOD[:position] + bytes((octet,)) + GOOD[position + 1 :])
        for each in inside.recipients:
            each.transport()
            each.names(bag(CERTIFICATE))
        decipher(inside, bytes(inside.cipher.key_octets), bytes)
    except (MalformedCms, UnsupportedAlgorithm, Undecipherable):
        return


@given(st.binary(max_size=200), st.sampled_from(Cipher))
def test_every_content_survives(content: bytes, cipher: Cipher) -> None:
    sealed = seal(content, bag(CERTIFICATE), KEY.public_key(), cipher=cipher, transport=PKCS1, random=bytes)
    assert opened(sealed) == content
