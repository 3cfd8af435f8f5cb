"""Attestation statements: right ones in each format, and those that are wrong in one thing."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from server.acme.challenges.attestation import android_key, apple, step
from server.acme.challenges.attestation.android_key import Boot
from server.acme.challenges.attestation.statement import decode_statement
from server.acme.challenges.attestation.vocabulary import BadStatement, Expected
from server.acme.challenges.device_attest01 import DeviceAttest01
from server.acme.challenges.failure import ValidationFailed
from server.acme.messages import Identifier
from tests.fakes.acme import new_key
from tests.fakes.attestation import CA, END, Device, Maker, encoded, raw, root_of_trust, spki
from tests.fakes.issuer import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

MAKER, STRANGER, OLD = Maker(NOW), Maker(NOW), Maker(NOW - timedelta(days=60))
DEVICE = Device(MAKER)
SERIAL = Identifier("permanent-identifier", "serial-1")
EXPECTED = Expected("token", "token.thumbprint")
FORMATS = ("apple", "tpm", "android-key", "step")
ROOTS = dict.fromkeys(FORMATS, (MAKER.root, OLD.root))


def statement(word: str, device: Device = DEVICE, **changes: Any) -> dict[str, Any]:
    made: dict[str, Callable[..., dict[str, Any]]] = {
        "apple": device.apple,
        "tpm": device.tpm,
        "android-key": device.android,
        "step": device.step,
    }
    return made[word](**changes)


def judge(octets: bytes, identifier: Identifier = SERIAL) -> bytes:
    """The attested key, or the reason as an assertion error."""
    return DeviceAttest01(ROOTS, ["*:*"]).attest(octets, identifier, EXPECTED, NOW)


def refusal(octets: bytes, identifier: Identifier = SERIAL) -> str:
    with pytest.raises(ValidationFailed) as failed:
        judge(octets, identifier)
    assert failed.value.error == "badAttestationStatement"
    assert failed.value.final
    return failed.value.detail


@pytest.mark.parametrize("word", FORMATS)
def test_a_right_statement_attests_the_key_of_the_device(word: str) -> None:
    assert judge(encoded(word, statement(word))) == spki(DEVICE.key)
    assert judge(encoded(word, statement(word), authData=b"of a browser")) == spki(DEVICE.key)


@pytest.mark.parametrize("word", FORMATS)
def test_a_statement_for_another_challenge_is_refused(word: str) -> None:
    other = DEVICE.changed(token="other", key_authorization="other.thumbprint")
    assert refusal(encoded(word, statement(word, other)))
    if word != "apple":  # whose servers do not know the account's key
        assert refusal(encoded(word, statement(word, DEVICE.changed(key_authorization="token.other"))))


@pytest.mark.parametrize("word", FORMATS)
def test_a_statement_of_another_device_is_refused(word: str) -> None:
    said = encoded(word, statement(word))
    for identifier in (
        Identifier("permanent-identifier", "serial-2"),
        Identifier("permanent-identifier", "SERIAL-1"),
        Identifier("permanent-identifier", "serial-1/1.2.3"),
        Identifier("hardware-module", "serial-1/1.2.3"),
    ):
        assert "another device" in refusal(said, identifier)


@pytest.mark.parametrize("word", FORMATS)
def test_a_statement_under_a_root_that_is_not_pinned_is_refused(word: str) -> None:
    assert "no root" in refusal(encoded(word, statement(word, Device(STRANGER))))
    other = {**ROOTS, word: (STRANGER.root,)}
    with pytest.raises(ValidationFailed, match="no root"):
        DeviceAttest01(other, []).attest(encoded(word, statement(word)), SERIAL, EXPECTED, NOW)
    unpinned = {each: ROOTS[each] for each in FORMATS if each != word}
    with pytest.raises(ValidationFailed, match="not taken here"):
        DeviceAttest01(unpinned, []).attest(encoded(word, statement(word)), SERIAL, EXPECTED, NOW)


@pytest.mark.parametrize("word", FORMATS)
def test_a_statement_with_expired_certificates_is_refused(word: str) -> None:
    assert "not valid now" in refusal(encoded(word, statement(word, Device(OLD))))


@pytest.mark.parametrize("word", FORMATS)
def test_a_statement_with_more_or_less_than_it_should_have_is_refused(word: str) -> None:
    right = statement(word)
    assert "exactly" in refusal(encoded(word, {**right, "more": 1}))
    for name in right:
        assert refusal(encoded(word, {each: value for each, value in right.items() if each != name}))
        assert refusal(encoded(word, {**right, name: None}))
        assert refusal(encoded(word, {**right, name: b""}))


@pytest.mark.parametrize("word", FORMATS)
def test_a_broken_chain_is_refused(word: str) -> None:
    right = statement(word)
    leaf, issuer = right["x5c"]
    root = MAKER.root.public_bytes(Encoding.DER)
    assert judge(encoded(word, {**right, "x5c": [leaf, issuer, root]})) == spki(DEVICE.key)
    for chain in ([], [leaf], [issuer, leaf], [leaf, issuer, issuer], [leaf, leaf, issuer], [leaf, b"x"], [leaf, 1]):
        assert refusal(encoded(word, {**right, "x5c": chain}))
    assert refusal(encoded(word, {**right, "x5c": [leaf, issuer] * 5}))
    forged = bytearray(leaf)
    forged[-1] ^= 1
    assert refusal(encoded(word, {**right, "x5c": [bytes(forged), issuer]}))


def test_only_a_ca_issues_and_no_ca_attests() -> None:
    right = DEVICE.step()
    own = raw(step.MANAGED_DEVICE, der.sequence(der.utf8("serial-1")))

    def with_chain(*chain: x509.Certificate) -> str:
        x5c = [each.public_bytes(Encoding.DER) for each in chain]
        return refusal(encoded("step", {**right, "x5c": x5c}))

    assert "that of a CA" in with_chain(MAKER.leaf(DEVICE.key, CA, own), MAKER.issuer())
    assert "not that of a CA" in with_chain(MAKER.leaf(DEVICE.key, END, own), MAKER.issuer(END))
    no_signer = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    assert "may not sign" in with_chain(MAKER.leaf(DEVICE.key, END, own), MAKER.issuer(CA, no_signer))
    short = x509.BasicConstraints(ca=True, path_length=0)
    below = MAKER.certificate("below", MAKER.ca_key, "ca", MAKER.ca_key, CA)
    leaf = MAKER.certificate("device", DEVICE.key, "below", MAKER.ca_key, END, own)
    assert "more CAs below" in with_chain(leaf, below, MAKER.issuer(short))


def test_an_attested_key_can_not_attest_another_one() -> None:
    device = new_key()
    leaf = MAKER.leaf(device, CA)  # even if a maker were so careless
    forged = MAKER.certificate("forged", DEVICE.key, "device", device, END)
    x5c = [each.public_bytes(Encoding.DER) for each in (forged, leaf, MAKER.issuer())]
    said = {"x5c": x5c, "alg": -7, "sig": DEVICE.android()["sig"]}
    assert "no key description" in refusal(encoded("android-key", said))
    description = raw(android_key.KEY_DESCRIPTION.dotted_string, DEVICE.description())
    twice = MAKER.certificate("forged", DEVICE.key, "device", device, END, description)
    attested = MAKER.leaf(device, CA, description)
    x5c = [each.public_bytes(Encoding.DER) for each in (twice, attested, MAKER.issuer())]
    assert "itself an attestation" in refusal(encoded("android-key", {**said, "x5c": x5c}))


@pytest.mark.parametrize(
    "extensions",
    [
        (raw(apple.SERIAL_NUMBER, b"serial-1"),),
        (raw(apple.SERIAL_NUMBER, b"serial-1"), raw(apple.FRESHNESS, b"")),
        (raw(apple.SERIAL_NUMBER, b"serial-1"), raw(apple.FRESHNESS, hashlib.sha256(b"token.thumbprint").digest())),
        (raw(apple.SERIAL_NUMBER, b"\xff"), raw(apple.FRESHNESS, hashlib.sha256(b"token").digest())),
        (raw(apple.FRESHNESS, hashlib.sha256(b"token").digest()),),
    ],
)
def test_an_apple_certificate_has_nonce_and_serial_number(extensions: tuple[x509.ExtensionType, ...]) -> None:
    assert refusal(encoded("apple", DEVICE.apple(*extensions)))


def test_an_apple_device_may_be_called_by_its_udid() -> None:
    said = encoded("apple", DEVICE.apple())
    assert judge(said, Identifier("permanent-identifier", "udid-1")) == spki(DEVICE.key)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"attributes": 1 << 18}, "was not made in the TPM"),
        ({"attributes": (1 << 1) | (1 << 4) | (1 << 5)}, "not for signatures"),
        ({"name": b"\x00\x0b" + bytes(32)}, "another key"),
        ({"extra": b""}, "key authorization"),
        ({"extra": hashlib.sha256(b"token").digest()}, "key authorization"),
        ({"magic": 0}, "not what a TPM says"),
        ({"hardware": []}, "which TPM"),
        ({"hardware": ["2.23.133.2.1", "2.23.133.2.2"]}, "which TPM"),
        ({"purpose": "1.3.6.1.5.5.7.3.2"}, "not for that purpose"),
        ({"subject": "somebody"}, "has a subject"),
    ],
)
def test_a_tpm_must_have_made_the_key_and_say_so(changes: dict[str, Any], why: str) -> None:
    assert why in refusal(encoded("tpm", DEVICE.tpm(**changes)))


def test_an_empty_extended_key_usage_is_refused_and_breaks_nothing() -> None:
    # A list without purposes made another server panic (CVE-2026-40097).
    names = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name([]))])
    leaf = MAKER.leaf(new_key(), END, names, raw("2.5.29.37", b"\x30\x00"), name="")
    said = {**DEVICE.tpm(), "x5c": MAKER.chain(leaf)}
    assert refusal(encoded("tpm", said))


@pytest.mark.parametrize("member", ["sig", "certInfo", "pubArea"])
def test_structures_of_a_tpm_that_are_cut_or_longer_are_refused(member: str) -> None:
    right = DEVICE.tpm()
    for octets in (right[member] + b"\0", right[member][:-1], right[member][:3], bytes(200)):
        assert refusal(encoded("tpm", {**right, member: octets}))
    assert refusal(encoded("tpm", {**right, "ver": "1.2"}))
    assert refusal(encoded("tpm", {**right, "alg": -65535}))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"levels": (0, 1)}, "secure hardware"),
        ({"levels": (1, 0)}, "secure hardware"),
        ({"challenge": b"token"}, "key authorization"),
        ({"t702": None}, "not made in the secure hardware"),
        ({"t702": der.integer(2)}, "not made in the secure hardware"),
        ({"t1": der.set_of(der.integer(0))}, "not for signatures"),
        ({"t1": None}, "not for signatures"),
        ({"t600": der.null()}, "all applications"),
        ({"software": {600: der.null()}}, "all applications"),
        ({"t713": None}, "another device"),
        ({"software": {713: der.octet_string(b"serial-1")}, "t713": None}, "another device"),
        ({"t713": der.octet_string(b"\xff")}, "can't be read"),
        ({"t713": b"\x04\x09x"}, "can't be read"),
    ],
)
def test_an_android_key_must_be_kept_by_the_hardware(changes: dict[str, Any], why: str) -> None:
    assert why in refusal(encoded("android-key", DEVICE.android(**changes)))


@pytest.mark.parametrize(
    ("root", "takes"),
    [
        (root_of_trust(locked=True, state=0), {"verified", "self-signed", "any"}),
        (root_of_trust(locked=True, state=1), {"self-signed", "any"}),
        (root_of_trust(locked=True, state=2), {"any"}),
        (root_of_trust(locked=True, state=3), {"any"}),
        (root_of_trust(locked=False, state=0), {"any"}),
        (root_of_trust(locked=False, state=2), {"any"}),
        (None, {"any"}),
        (der.sequence(der.octet_string(b"key"), der.boolean(True)), {"any"}),  # noqa: FBT003 - a BOOLEAN
        (der.null(), {"any"}),
    ],
    ids=["verified", "own key", "unverified", "failed", "unlocked", "open", "not said", "half", "nonsense"],
)
@pytest.mark.parametrize("boot", get_args(Boot))
def test_how_a_phone_was_started_counts_as_the_endpoint_says(root: bytes | None, takes: set[str], boot: Boot) -> None:
    octets = encoded("android-key", DEVICE.android(t704=root))
    judging = DeviceAttest01(ROOTS, ["*:*"], android_boot=boot)
    if boot in takes:
        assert judging.attest(octets, SERIAL, EXPECTED, NOW) == spki(DEVICE.key)
        return
    with pytest.raises(ValidationFailed) as failed:
        judging.attest(octets, SERIAL, EXPECTED, NOW)
    assert "started" in failed.value.detail or "can't be read" in failed.value.detail


def test_where_nothing_is_said_a_phone_must_have_been_started_with_its_makers_software() -> None:
    assert "started" in refusal(encoded("android-key", DEVICE.android(t704=root_of_trust(locked=False, state=2))))
    by_software = {"software": {704: root_of_trust(locked=True, state=0)}, "t704": None}
    assert "started" in refusal(encoded("android-key", DEVICE.android(**by_software)))


def test_the_challenge_in_an_android_certificate_may_be_hashed() -> None:
    digest = hashlib.sha256(b"token.thumbprint").digest()
    assert judge(encoded("android-key", DEVICE.android(challenge=digest))) == spki(DEVICE.key)


@pytest.mark.parametrize(
    "octets", [b"", b"\x30\x00", der.sequence(der.integer(1)), der.sequence(*[der.integer(1)] * 8)]
)
def test_a_key_description_that_is_none_is_refused(octets: bytes) -> None:
    leaf = MAKER.leaf(DEVICE.key, raw(android_key.KEY_DESCRIPTION.dotted_string, octets))
    assert refusal(encoded("android-key", {**DEVICE.android(), "x5c": MAKER.chain(leaf)}))


def test_a_yubikey_says_its_serial_number_as_a_number() -> None:
    said = encoded("step", DEVICE.step(raw(step.YUBIKEY_SERIAL, der.integer(123456))))
    assert judge(said, Identifier("permanent-identifier", "123456")) == spki(DEVICE.key)
    assert refusal(encoded("step", DEVICE.step(raw(step.YUBIKEY_SERIAL, b"123456"))))
    assert refusal(encoded("step", DEVICE.step(raw("1.2.3", b"\x05\x00"))))


def test_a_signature_must_be_by_an_algorithm_for_the_key() -> None:
    right = DEVICE.step()
    for alg in (-257, -8, -35, -65535, 5, 0):
        assert "alg" in refusal(encoded("step", {**right, "alg": alg}))
    assert "verify" in refusal(encoded("step", {**right, "sig": cbor2.dumps(bytes(70))}))
    assert refusal(encoded("step", {**right, "sig": bytes(70)}))
    assert refusal(encoded("step", {**right, "sig": cbor2.dumps("text")}))


@pytest.mark.parametrize(
    ("key", "alg", "sign"),
    [
        (ed25519.Ed25519PrivateKey.generate(), -8, lambda key, data: key.sign(data)),
        (ec.generate_private_key(ec.SECP384R1()), -35, lambda key, data: key.sign(data, ec.ECDSA(SHA256()))),
    ],
    ids=["Ed25519", "P-384 with the wrong hash"],
)
def test_other_keys_sign_by_their_own_algorithm(key: Any, alg: int, sign: Callable[[Any, bytes], bytes]) -> None:
    own = raw(step.MANAGED_DEVICE, der.sequence(der.utf8("serial-1")))
    x5c = MAKER.chain(MAKER.leaf(key, END, own))
    said = encoded("step", {"alg": alg, "sig": cbor2.dumps(sign(key, b"token.thumbprint")), "x5c": x5c})
    if alg == -8:
        assert judge(said) == spki(key)
    else:
        assert "verify" in refusal(said)


def test_a_small_rsa_key_attests_nothing() -> None:
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    x5c = MAKER.chain(MAKER.leaf(small, END))
    assert "alg" in refusal(encoded("step", {"alg": -257, "sig": cbor2.dumps(bytes(128)), "x5c": x5c}))


OBJECTS = {
    "nothing": b"",
    "text": b"\x61a",
    "trailing octets": encoded("step", {}) + b"\0",
    "cut off": encoded("step", {})[:-1],
    "no format": cbor2.dumps({"attStmt": {}}),
    "no statement": cbor2.dumps({"fmt": "step"}),
    "another member": cbor2.dumps({"fmt": "step", "attStmt": {}, "more": 1}),
    "a format that is a number": cbor2.dumps({"fmt": 1, "attStmt": {}}),
    "a format without end": cbor2.dumps({"fmt": "s" * 100, "attStmt": {}}),
    "an unknown format": encoded("packed", {}),
    "none": encoded("none", {}),
    "a statement that is a list": cbor2.dumps({"fmt": "step", "attStmt": []}),
    "numbers for names": cbor2.dumps({"fmt": "step", "attStmt": {1: 2}}),
    "a repeated member": b"\xa3\x63fmt\x64step\x63fmt\x64step\x67attStmt\xa0",
    "an indefinite map": b"\xbf\x63fmt\x64step\x67attStmt\xa0\xff",
    "a length that is not the shortest": b"\xa2\x63fmt\x78\x04step\x67attStmt\xa0",
    "a tag": b"\xa2\x63fmt\xc0\x64step\x67attStmt\xa0",
    "a regular expression": b"\xa2\x63fmt\xd8\x23\x64(a+)\x67attStmt\xa0",
    "a huge number": b"\xa2\x63fmt\xc2\x41\x01\x67attStmt\xa0",
    "a float": cbor2.dumps({"fmt": "step", "attStmt": {"alg": 1.5}}),
    "depth without measure": b"\xa2\x63fmt\x64step\x67attStmt\xa1\x61x" + b"\x81" * 500 + b"\x00",
    "a length without measure": b"\xa2\x63fmt\x64step\x67attStmt\xa1\x61x\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
    "size without measure": encoded("step", {"sig": bytes(40_000)}),
}


@pytest.mark.parametrize("octets", OBJECTS.values(), ids=OBJECTS.keys())
def test_an_object_that_is_no_statement_is_refused(octets: bytes) -> None:
    assert refusal(octets)


@given(st.binary(max_size=200))
def test_any_octets_are_a_statement_or_refused(octets: bytes) -> None:
    try:
        decode_statement(octets)
    except BadStatement:
        return


RIGHT = {word: encoded(word, statement(word)) for word in FORMATS}


@given(st.sampled_from(FORMATS), st.integers(0, 5000), st.integers(1, 255))
def test_no_changed_octet_attests(word: str, position: int, mask: int) -> None:
    octets = bytearray(RIGHT[word])
    octets[position % len(octets)] ^= mask
    try:
        key = judge(bytes(octets))
    except ValidationFailed:
        return
    assert key == spki(DEVICE.key)  # what is not signed may differ: names in a chain's order of no meaning


def test_devices_are_known_by_patterns() -> None:
    judge_ = DeviceAttest01(ROOTS, ["permanent-identifier:C02*", "hardware-module:*/1.2.3"])
    assert judge_.knows(Identifier("permanent-identifier", "C02XYZ"))
    assert judge_.knows(Identifier("hardware-module", "abc/1.2.3"))
    assert not judge_.knows(Identifier("permanent-identifier", "c02XYZ"))
    assert not judge_.knows(Identifier("hardware-module", "C02XYZ/1.2"))
