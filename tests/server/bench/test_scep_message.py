from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import cms as asn1_cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from hypothesis import given
from hypothesis import strategies as st

from server.bench import scep_message
from server.bench.load import EnrollmentFailed

KEY = rsa.generate_private_key(65537, 2048)
NAME = x509.Name.from_rfc4514_string("CN=somebody")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CERTIFICATE = (
    x509.CertificateBuilder()
    .subject_name(NAME)
    .issuer_name(NAME)
    .public_key(KEY.public_key())
    .serial_number(5)
    .not_valid_before(NOW)
    .not_valid_after(NOW + timedelta(days=1))
    .sign(KEY, hashes.SHA256())
)
MESSAGE = scep_message.pkcs_req(b"content", KEY, CERTIFICATE, transaction="abc")


def test_the_envelope_opens_with_the_recipients_key() -> None:
    sealed = scep_message.envelope(b"a request", CERTIFICATE)
    assert pkcs7.pkcs7_decrypt_der(sealed, CERTIFICATE, KEY, []) == b"a request"


def test_another_implementation_reads_the_message_and_its_signature_holds() -> None:
    signed = asn1_cms.ContentInfo.load(MESSAGE)["content"]
    (signer,) = signed["signer_infos"]
    attributes = signer["signed_attrs"].untag().dump(force=True)
    KEY.public_key().verify(signer["signature"].native, attributes, padding.PKCS1v15(), hashes.SHA256())
    assert signed["encap_content_info"]["content"].native == b"content"
    assert signer["sid"].chosen["serial_number"].native == 5
    found = {attribute["type"].dotted: attribute["values"][0] for attribute in signer["signed_attrs"]}
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"content")
    assert found["1.2.840.113549.1.9.4"].native == digest.finalize()


def test_reading_back_gives_the_content_and_the_texts() -> None:
    read = scep_message.cert_rep(MESSAGE)
    assert read.content == b"content"
    assert read.attributes == {scep_message.MESSAGE_TYPE: "19", scep_message.TRANSACTION_ID: "abc"}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_reply_or_a_failure(data: bytes) -> None:
    with pytest.raises(EnrollmentFailed):
        scep_message.cert_rep(data)


@given(st.integers(0, len(MESSAGE) - 1), st.integers(1, 255))
def test_a_changed_octet_never_crashes(position: int, change: int) -> None:
    damaged = bytearray(MESSAGE)
    damaged[position] ^= change
    with suppress(EnrollmentFailed):
        scep_message.cert_rep(bytes(damaged))
