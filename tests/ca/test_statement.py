from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from ca.ceremony import Credential, generate_key, make_root
from ca.csr import BadProof, MalformedCsr, Proof, UnsupportedKey, parse_csr, read_recorded_csr
from ca.keys import BadSignature, KeyShape, UnusableSignature, key_shape
from ca.names import DistinguishedName
from ca.statement import STATEMENT_OF_POSSESSION, read_statement
from tests.ca.requests import attribute, request, stated
from tests.fakes.issuer import NOW

KEM = mlkem.MLKEM768PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def credential(kind: str = "P-256") -> Credential:
    return make_root(DistinguishedName.from_text("CN=Pump 17"), now=NOW, key=generate_key(kind))


PUMP = credential()
GOOD = stated(KEM, PUMP.key, PUMP.certificate)


@pytest.mark.parametrize("along", [False, True])
@pytest.mark.parametrize("kind", ["P-256", "rsa:2048", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
def test_a_key_that_can_not_sign_comes_with_a_statement_that_is_still_to_be_proven(kind: str, *, along: bool) -> None:
    pump = credential(kind)
    csr = parse_csr(stated(KEM, pump.key, pump.certificate, certificate=along))
    assert (csr.proof, csr.key_shape, csr.attributes) == (Proof.STATEMENT, KeyShape("ml-kem-768", 8 * 1184), ())
    assert csr.statement is not None
    assert csr.statement.serial == pump.certificate.serial_number
    assert csr.statement.issuer == pump.certificate.issuer.public_bytes()
    assert csr.statement.certificate == (pump.certificate.public_bytes(Encoding.DER) if along else None)
    csr.statement.prove(pump.key.public_key())
    with pytest.raises((BadSignature, UnusableSignature)):
        csr.statement.prove(PUMP.key.public_key())


def test_ml_kem_1024_is_known_and_ml_kem_512_is_not() -> None:
    key = mlkem.MLKEM1024PrivateKey.generate().public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert parse_csr(stated(spki, PUMP.key, PUMP.certificate)).key_shape == key_shape(key)
    small = der.sequence(der.sequence(der.oid("2.16.840.1.101.3.4.4.1")), der.bit_string(bytes(800)))
    with pytest.raises(UnsupportedKey, match=r"2\.16\.840\.1\.101\.3\.4\.4\.1"):
        parse_csr(stated(small, PUMP.key, PUMP.certificate))


@pytest.mark.parametrize("oid", ["2.16.840.1.101.3.4.4.2", "2.16.840.1.101.3.4.3.18"])
def test_a_post_quantum_key_of_another_length_is_none(oid: str) -> None:
    spki = der.sequence(der.sequence(der.oid(oid)), der.bit_string(bytes(1000)))
    with pytest.raises(UnsupportedKey, match="no valid one"):
        parse_csr(stated(spki, PUMP.key, PUMP.certificate))


@pytest.mark.parametrize(
    "attributes",
    [(), (attribute(STATEMENT_OF_POSSESSION),), (attribute(STATEMENT_OF_POSSESSION, der.null(), der.null()),)],
)
def test_without_one_statement_there_is_no_proof(attributes: tuple[bytes, ...]) -> None:
    with pytest.raises(BadProof, match="can't sign"):
        parse_csr(request(*attributes, spki=KEM))


def test_other_attributes_are_no_statements_and_stay() -> None:
    whose = der.sequence(PUMP.certificate.issuer.public_bytes(), der.integer(PUMP.certificate.serial_number))
    statement = attribute(STATEMENT_OF_POSSESSION, der.sequence(whose))
    csr = parse_csr(request(attribute("1.2.3", der.null()), statement, spki=KEM))
    assert [each.oid for each in csr.attributes] == ["1.2.3"]
    assert csr.statement is not None


@pytest.mark.parametrize(
    "value",
    [
        der.null(),
        der.sequence(),
        der.sequence(der.sequence(der.sequence())),
        der.sequence(der.sequence(der.sequence(), der.integer(1)), der.null()),
        der.sequence(der.sequence(der.sequence(), der.integer(1)), der.sequence(), der.sequence()),
    ],
)
def test_a_statement_that_is_none_is_malformed(value: bytes) -> None:
    with pytest.raises(MalformedCsr):
        parse_csr(request(attribute(STATEMENT_OF_POSSESSION, value), spki=KEM))


def test_what_is_on_record_was_proven_before() -> None:
    csr = read_recorded_csr(GOOD)
    assert (csr.proof, csr.statement) == (Proof.STATEMENT, None)


def test_a_key_that_signs_signs_for_itself() -> None:
    key = mldsa.MLDSA44PrivateKey.generate()
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(BadProof):
        parse_csr(stated(spki, PUMP.key, PUMP.certificate))


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_damaged_request_is_never_proven(place: int, change: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= change
    try:
        csr = parse_csr(bytes(data))
    except MalformedCsr:
        return
    assert csr.statement is not None
    with pytest.raises((BadSignature, UnusableSignature, der.MalformedDer)):
        csr.statement.prove(PUMP.key.public_key())


@given(st.binary(max_size=60))
def test_any_octets_are_a_statement_or_malformed(value: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        read_statement(value, b"", b"", b"")
