"""EST's bytes: every encoding that clients use is read, everything else is one exception, and replies are exact."""

from __future__ import annotations

import math
import subprocess
from base64 import b64decode, b64encode, encodebytes
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding as Form
from cryptography.hazmat.primitives.serialization import pkcs7
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.est import codec
from server.est.messages import BasicCredentials, Encoding, KeyPart, Layout, Malformed, Operation, Target
from server.outcome import Reason
from tests.wire.running import require_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from server.est.messages import Reply

same_function = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def pem(der: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), encodebytes(der), label.encode())


# --- paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/.well-known/est/cacerts", Target(None, Operation.CACERTS)),
        ("/.well-known/est/cacerts/", Target(None, Operation.CACERTS)),
        ("/.well-known/est/plant/simpleenroll", Target("plant", Operation.SIMPLEENROLL)),
        ("/.well-known/est/plant/simplereenroll/", Target("plant", Operation.SIMPLEREENROLL)),
        ("/.well-known/est/pl%61nt/cacerts", Target("plant", Operation.CACERTS)),
        ("/.well-known/est/cacerts/cacerts", Target("cacerts", Operation.CACERTS)),
    ],
)
def test_a_path_names_a_label_and_an_operation(path: str, target: Target) -> None:
    assert codec.parse_target(path) == target


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/est/",
        "/.well-known/est/CACERTS",
        "/.well-known/est/firmware",
        "/.well-known/est//cacerts",
        "/.well-known/est/cacerts//",
        "/.well-known/est/plant/line/cacerts",
        "/.well-known/est/plant",
        "/.well-known/brski/cacerts",
        "cacerts",
        "",
    ],
)
def test_any_other_path_names_nothing(path: str) -> None:
    assert codec.parse_target(path) is None


@given(st.text())
def test_no_path_is_more_than_nothing_or_a_target(rest: str) -> None:
    target = codec.parse_target(codec.PREFIX + rest)
    assert target is None or isinstance(target.operation, Operation)


# --- authorization -----------------------------------------------------------------------------------------------


@given(st.text(max_size=255).filter(lambda user: ":" not in user), st.text())
def test_user_and_password_come_out_as_they_went_in(username: str, password: str) -> None:
    token = b64encode(f"{username}:{password}".encode("utf-8", "replace")).decode()
    expected = BasicCredentials(
        username.encode("utf-8", "replace").decode(), password.encode("utf-8", "replace").decode()
    )
    assert codec.parse_basic(f"Basic {token}") == expected


@pytest.mark.parametrize(
    ("field", "credentials"),
    [
        ("basic  dTpwOnE= ", BasicCredentials("u", "p:q")),
        ("BASIC OnA=", BasicCredentials("", "p")),
        ("Basic " + b64encode("u:grün".encode("latin-1")).decode(), BasicCredentials("u", "grün")),
    ],
)
def test_the_variants_of_http_basic_are_understood(field: str, credentials: BasicCredentials) -> None:
    assert codec.parse_basic(field) == credentials


@pytest.mark.parametrize(
    "field",
    [
        "",
        "Basic",
        "Basic !!!!",
        "Basic ü",
        "Basic dXA=",
        "Basic dT!pwOnE=",
        "Basic dTpw OnE=",
        "Digest username=u",
        "Bearer dTpw",
    ],
)
def test_any_other_authorization_is_none(field: str) -> None:
    assert codec.parse_basic(field) is None


def test_a_user_name_has_255_characters_at_most_and_a_password_any_number() -> None:
    for length, taken in ((255, True), (256, False)):
        token = b64encode(b"u" * length + b":" + b"p" * 10_000).decode()
        assert (codec.parse_basic(f"Basic {token}") is not None) is taken


@given(st.text())
def test_no_authorization_field_breaks_the_parser(field: str) -> None:
    codec.parse_basic(field)
    codec.parse_basic(f"Basic {field}")


# --- media types -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["application/pkcs10", "Application/PKCS10", "application/pkcs10 ; charset=utf-8"])
def test_pkcs10_is_recognized_whatever_its_case_and_parameters(field: str) -> None:
    assert codec.is_pkcs10(field)


@pytest.mark.parametrize("field", ["", "application/x-www-form-urlencoded", "application/pkcs10x", "pkcs10"])
def test_other_media_types_are_not_pkcs10(field: str) -> None:
    assert not codec.is_pkcs10(field)


@pytest.mark.parametrize(
    "field",
    [
        "application/pkcs7-mime; smime-type=CMC-request",
        "Application/PKCS7-MIME",
        "application/x-pkcs7-mime ;smime-type=cmc-request",
    ],
)
def test_cms_is_recognized_whatever_its_case_and_parameters_by_its_old_name_too(field: str) -> None:
    assert codec.is_cms(field)


@pytest.mark.parametrize("field", ["", "application/pkcs7-mimes", "application/pkcs7-signature", "application/pkcs10"])
def test_other_media_types_are_not_cms(field: str) -> None:
    assert not codec.is_cms(field)


# --- certification requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encode", "encoding"),
    [
        pytest.param(b64encode, Encoding.BASE64, id="one line"),
        pytest.param(encodebytes, Encoding.BASE64, id="lines"),
        pytest.param(lambda der: encodebytes(der).replace(b"\n", b"\r\n"), Encoding.BASE64, id="lines with CR"),
        pytest.param(lambda der: b"\t " + encodebytes(der).replace(b"\n", b" \t\n"), Encoding.BASE64, id="white space"),
        pytest.param(lambda der: der, Encoding.DER, id="DER"),
        pytest.param(pem, Encoding.PEM, id="PEM"),
        pytest.param(lambda der: pem(der, "NEW CERTIFICATE REQUEST"), Encoding.PEM, id="PEM of old"),
        pytest.param(lambda der: b"Request:\n  Data:\n" + pem(der), Encoding.PEM, id="PEM behind text"),
        pytest.param(lambda der: pem(der).replace(b"\n", b""), Encoding.PEM, id="PEM through curl --data @file"),
    ],
)
def test_a_request_is_read_in_every_encoding_that_clients_send(
    csr_der: bytes, encode: Callable[[bytes], bytes], encoding: Encoding
) -> None:
    body = codec.decode_enrollment(encode(csr_der))

    assert body.csr.der == csr_der
    assert body.encoding is encoding


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"garbage!", "neither base64"),
        (b"\xff\xfe\x00", "neither base64"),
        (b"Z2FyYmFnZQ==", "not a certification request"),
        (b"\x30\x03\x02\x01\x01", "not a certification request"),
        (b"-----BEGIN NOTHING", "exactly one block"),
        (pem(b"x", "CERTIFICATE"), "exactly one block"),
        (pem(b"x") + pem(b"x"), "exactly one block"),
        (pem(b"x", "EC PRIVATE KEY") + pem(b"x"), "private key"),
    ],
)
def test_a_body_without_a_request_is_malformed_with_a_telling_text(body: bytes, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        codec.decode_enrollment(body)

    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("junk", [b"\x00", b"\n\x00\n", b"-", b"!"])
def test_junk_behind_the_base64_is_malformed(csr_der: bytes, junk: bytes) -> None:
    with pytest.raises(Malformed):
        codec.decode_enrollment(encodebytes(csr_der) + junk)


def test_a_request_that_was_tampered_with_proves_nothing(csr_der: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        codec.decode_enrollment(csr_der.replace(b"pump-17.example", b"pump-18.example"))

    assert caught.value.reason is Reason.BAD_PROOF


def test_a_key_of_a_kind_that_nothing_here_works_with_has_a_reason_of_its_own() -> None:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    request = builder.sign(ed448.Ed448PrivateKey.generate(), None)

    with pytest.raises(Malformed) as caught:
        codec.decode_enrollment(request.public_bytes(Form.DER))

    assert caught.value.reason is Reason.BAD_ALGORITHM


@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_malformed(body: bytes) -> None:
    for candidate in (body, b"\x30" + body, b64encode(body), pem(body)):
        with pytest.raises(Malformed):
            codec.decode_enrollment(candidate)


@same_function
@given(st.data())
def test_one_changed_octet_never_does_more_than_make_it_malformed(csr_der: bytes, data: st.DataObject) -> None:
    encoded = data.draw(st.sampled_from([csr_der, b64encode(csr_der), pem(csr_der)]))
    place = data.draw(st.integers(0, len(encoded) - 1))
    changed = encoded[:place] + bytes([data.draw(st.integers(0, 255))]) + encoded[place + 1 :]
    with suppress(Malformed):
        codec.decode_enrollment(changed)


# --- replies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "user_agent", "accept", "wrapped"),
    [
        (Layout.AUTO, None, None, False),
        (Layout.AUTO, "libest 3.2.0p", None, True),
        (Layout.AUTO, None, "*/*", True),
        (Layout.AUTO, "", None, True),
        (Layout.WRAPPED, None, None, True),
        (Layout.SINGLE, "libest 3.2.0p", "*/*", False),
    ],
)
def test_base64_is_on_one_line_for_strongswan_alone_unless_told_otherwise(
    layout: Layout, user_agent: str | None, accept: str | None, *, wrapped: bool
) -> None:
    assert codec.is_wrapped(layout, user_agent=user_agent, accept=accept) is wrapped


@pytest.fixture(scope="module")
def certificates(device_key: ec.EllipticCurvePrivateKey) -> list[x509.Certificate]:
    name = x509.Name([])
    builder = (
        x509.CertificateBuilder(name, name, device_key.public_key())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
    )
    return [builder.serial_number(number).sign(device_key, hashes.SHA256()) for number in (3, 1, 2)]


def ders(certificates: list[x509.Certificate]) -> list[bytes]:
    return [certificate.public_bytes(Form.DER) for certificate in certificates]


def test_certs_only_is_what_cryptography_writes(certificates: list[x509.Certificate]) -> None:
    expected = pkcs7.serialize_certificates(certificates, Form.DER)

    assert codec.certs_only(ders(certificates)) == expected
    assert set(pkcs7.load_der_pkcs7_certificates(expected)) == set(certificates)


def test_openssl_reads_the_reply_with_the_issued_certificate(
    certificates: list[x509.Certificate], tmp_path: Path
) -> None:
    reply = codec.issued_reply(ders(certificates)[0], wrapped=True)
    (tmp_path / "reply.p7").write_bytes(b64decode(reply.body))
    command = [require_program("openssl"), "pkcs7", "-inform", "DER", "-in", str(tmp_path / "reply.p7"), "-print_certs"]
    output = subprocess.run(command, check=True, capture_output=True).stdout

    assert x509.load_pem_x509_certificates(output) == certificates[:1]


def test_the_fields_of_the_replies_are_exactly_what_old_clients_compare_with(
    certificates: list[x509.Certificate],
) -> None:
    issued = codec.issued_reply(ders(certificates)[0], wrapped=True)
    cacerts = codec.cacerts_reply(ders(certificates), wrapped=True)

    assert issued.status == cacerts.status == 200
    assert dict(issued.headers) == {
        "Content-Type": "application/pkcs7-mime; smime-type=certs-only",
        "Content-Transfer-Encoding": "base64",
    }
    assert dict(cacerts.headers) == {
        "Content-Type": "application/pkcs7-mime",
        "Content-Transfer-Encoding": "base64",
    }


def test_wrapped_base64_has_lines_of_at_most_76_and_single_has_none(certificates: list[x509.Certificate]) -> None:
    wrapped = codec.cacerts_reply(ders(certificates), wrapped=True).body
    single = codec.cacerts_reply(ders(certificates), wrapped=False).body

    assert max(map(len, wrapped.split(b"\n"))) == 76
    assert wrapped.endswith(b"\n")
    assert not single.split(b"\n")[1:]
    assert b64decode(wrapped) == b64decode(single)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize(
    "reply",
    [
        partial(codec.cacerts_reply, [b"x" * 99]),
        partial(codec.crls_reply, b"x" * 99),
        partial(codec.eecerts_reply, [b"x" * 99]),
        partial(codec.csrattrs_reply, b"x" * 99),
        partial(codec.issued_reply, b"x" * 99),
        partial(codec.cmc_reply, b"x" * 99, 200, ()),
    ],
    ids=lambda made: made.func.__name__,
)
def test_every_reply_in_base64_says_so_and_keeps_to_the_layout(reply: Callable[..., Reply], *, wrapped: bool) -> None:
    """BouncyCastle decodes base64 only where the field says so; libest and strongSwan read one layout each."""
    made = reply(wrapped=wrapped)
    assert made.status == 200
    assert dict(made.headers)["Content-Transfer-Encoding"] == "base64"
    assert b"x" * 99 in b64decode(made.body, validate=not wrapped)
    assert made.body.count(b"\n") == (math.ceil(len(made.body) / 77) if wrapped else 0)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize(
    ("encrypted", "kind"),
    [(False, "application/pkcs8"), (True, "application/pkcs7-mime; smime-type=server-generated-key")],
)
def test_the_two_parts_of_a_generated_key_are_lines_of_mime(kind: str, *, encrypted: bool, wrapped: bool) -> None:
    """RFC 7030 section 4.4.2, RFC 2046 section 4.1.1: each part says what it is, and lines end with CR and LF."""
    reply = codec.generated_reply(b"c" * 99, part=KeyPart(b"k" * 99, encrypted=encrypted), wrapped=wrapped)
    mixed = dict(reply.headers)["Content-Type"]
    boundary = mixed.removeprefix("multipart/mixed; boundary=").encode()
    assert reply.body.replace(b"\r\n", b"").count(b"\n") == 0
    nothing, key, certificate, end = reply.body.split(b"--" + boundary)
    assert (nothing, end) == (b"", b"--\r\n")
    for part, media, octets in (
        (key, kind, b"k" * 99),
        (certificate, "application/pkcs7-mime; smime-type=certs-only", b"c" * 99),
    ):
        fields, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        assert set(fields.split(b"\r\n")) == {f"Content-Type: {media}".encode(), b"Content-Transfer-Encoding: base64"}
        assert octets in b64decode(body)
        assert body.endswith(b"\r\n")
        assert (body.count(b"\r\n") > 1) is wrapped


def test_pending_is_a_202_that_says_when_to_come_again_and_nothing_else() -> None:
    reply = codec.pending_reply(300)

    assert reply.status == 202
    assert dict(reply.headers)["Retry-After"] == "300"
    assert reply.body == b""
