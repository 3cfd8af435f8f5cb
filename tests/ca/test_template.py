"""Requests that are no PKCS#10: brought into its form, their proofs judged."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from ca import der
from ca.csr import (
    BadProof,
    MalformedCsr,
    Proof,
    Template,
    UnsupportedSignature,
    parse_template,
    read_recorded_csr,
)


def template(**changes: Any) -> Template:
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fields: dict[str, Any] = {
        "subject": x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pump")]).public_bytes(),
        "spki": spki,
        "extensions": None,
        "attributes": (),
        "algorithm": der.sequence(der.oid("1.2.840.10045.4.3.2")),
        "signature": der.bit_string(key.sign(b"request", ec.ECDSA(hashes.SHA256()))),
        "signed": b"request",
    }
    return Template(**{**fields, **changes})


def test_a_template_with_a_proof_that_holds_is_a_request_and_is_read_back_from_the_record() -> None:
    value = x509.SubjectAlternativeName([x509.DNSName("pump.example")]).public_bytes()
    extensions = der.sequence(der.sequence(der.oid("2.5.29.17"), der.octet_string(value)))
    attribute = der.sequence(der.oid("1.2.3"), der.set_of(der.null()))
    found = parse_template(template(extensions=extensions, attributes=(attribute,)))
    assert (str(found.subject), list(map(str, found.names))) == ("CN=pump", ["dns:pump.example"])
    assert [each.oid for each in found.attributes] == ["1.2.3"]
    assert found.proof is Proof.SIGNATURE
    assert read_recorded_csr(found.der) == found


@pytest.mark.parametrize(
    ("changes", "raised"),
    [
        ({"signed": b"another"}, BadProof),
        ({"algorithm": der.sequence(der.oid("1.2.840.10045.4.1"))}, UnsupportedSignature),
        ({"algorithm": der.sequence(der.oid("1.2.840.113549.1.1.11"))}, BadProof),
        ({"algorithm": der.sequence()}, MalformedCsr),
        ({"subject": der.null()}, MalformedCsr),
        ({"extensions": der.null()}, MalformedCsr),
    ],
    ids=["another request", "SHA-1", "another kind", "no algorithm", "no name", "no extensions"],
)
def test_a_template_without_a_proof_that_holds_is_none(changes: dict[str, Any], raised: type[Exception]) -> None:
    with pytest.raises(raised):
        parse_template(template(**changes))
