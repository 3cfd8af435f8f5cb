"""EST's bytes: paths, credentials and certification requests in, certs-only CMS in base64 out (RFC 7030, RFC 8951)."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ca import der
from ca.csr import CHANGE_SUBJECT_NAME, BadProof, Csr, MalformedCsr, UnsupportedKey, parse_csr, parse_keyless
from ca.name_codec import read_general_names, read_name
from server.cms.certificates import degenerate
from server.est.messages import (
    BasicCredentials,
    Encoding,
    EnrollmentBody,
    KeyPart,
    Layout,
    Malformed,
    Operation,
    Reply,
    Target,
)
from server.outcome import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PREFIX = "/.well-known/est/"
_LINE = 76
_LONGEST_USER_NAME = 255
_OPERATIONS = {operation.value: operation for operation in Operation}
_SPACES = b" \t\r\n"  # exactly what RFC 8951 section 3.1 lets receivers tolerate
_PEM = re.compile(rb"-----BEGIN (?P<label>[A-Z0-9 ]{1,40})-----(?P<text>[^-]*)-----END (?P=label)-----")
_PEM_LABELS = frozenset({b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"})  # RFC 7468 section 7

_CHANGE_UNREADABLE = "The ChangeSubjectName of the certification request can't be read (RFC 6402 section 2.8)."

# RFC 7030 says "Content-Transfer-Encoding: base64", RFC 8951 section 3 calls it meaningless. BouncyCastle decodes
# base64 only when it is there, and no client minds it.
_TRANSFER_ENCODING = ("Content-Transfer-Encoding", "base64")
# RFC 7030 section 4.1.3 names no parameter here, and old BouncyCastle compares the whole field with this.
_CACERTS_TYPE = ("Content-Type", "application/pkcs7-mime")
_PEM_TYPE = ("Content-Type", "application/pem-certificate-chain")
_CSRATTRS_TYPE = ("Content-Type", "application/csrattrs")
_KEY_TYPE = ("Content-Type", "application/pkcs8")
_SEALED_KEY_TYPE = ("Content-Type", "application/pkcs7-mime; smime-type=server-generated-key")
_CMC_TYPE = ("Content-Type", "application/pkcs7-mime; smime-type=CMC-response")
_BOUNDARY = b"certwright-key-and-certificate"  # base64 has no hyphens
_ISSUED_TYPE = ("Content-Type", "application/pkcs7-mime; smime-type=certs-only")

# --- requests ----------------------------------------------------------------------------------------------------


def parse_target(path: str) -> Target | None:
    """Return what a path names, None when that is nothing which EST here knows.

    Takes ``/.well-known/est/OPERATION`` and ``/.well-known/est/LABEL/OPERATION`` (RFC 7030 section 3.2.2), percent
    encoding in both (RFC 3986 section 6.2.2.2), and one slash at the end, which devices add to what they were given
    as a base address.

    Args:
        path: the path as received, percent-encoded, without query.
    """
    if not path.startswith(PREFIX):
        return None
    label, slash, operation = path.removeprefix(PREFIX).removesuffix("/").rpartition("/")
    found = _OPERATIONS.get(operation) or _OPERATIONS.get(unquote(operation))
    if (slash and not label) or "/" in label or found is None:
        return None
    return Target(unquote(label) if slash else None, found)


def parse_basic(field: str) -> BasicCredentials | None:
    """Return the credentials of an Authorization field; None when it is not well-formed HTTP Basic (RFC 7617).

    The password is UTF-8, or Latin-1 where it can't be that: clients do either. A user name has 255 characters at most:
    it is remembered after failures, of whoever sends it.
    """
    scheme, _, token = field.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        octets = b64decode(token.strip().encode("ascii"), validate=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are both ValueErrors
        return None
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    username, colon, password = text.partition(":")
    return BasicCredentials(username, password) if colon and len(username) <= _LONGEST_USER_NAME else None


def is_pkcs10(content_type: str) -> bool:
    """Tell whether a Content-Type field names PKCS#10; case and parameters do not matter (RFC 9110 section 8.3.1)."""
    return content_type.partition(";")[0].strip().lower() == "application/pkcs10"


def is_cms(content_type: str) -> bool:
    """Tell whether a Content-Type field names CMS; case and parameters do not matter, smime-type among them."""
    media = content_type.partition(";")[0].strip().lower()
    return media in {"application/pkcs7-mime", "application/x-pkcs7-mime"}


def decode_enrollment(body: bytes) -> EnrollmentBody:
    """Decode a simpleenroll or simplereenroll body: base64 (RFC 8951 section 3), or PEM or DER, as people send it.

    A Content-Transfer-Encoding field plays no part, as RFC 8951 demands: the first octets tell the encodings apart.

    Raises:
        Malformed: and nothing else, with a reason and a sentence for the requester.
    """
    request, encoding = _unwrap(body)
    return EnrollmentBody(_parsed(parse_csr, request), encoding)


def decode_keyless(body: bytes, spki: bytes) -> Csr:
    """Decode a serverkeygen body, encoded as any enrollment; its own key and signature are not looked at.

    Args:
        body: as it came.
        spki: DER of the SubjectPublicKeyInfo that takes the place of its own.

    Raises:
        Malformed: and nothing else.
    """
    return _parsed(lambda request: parse_keyless(request, spki), _unwrap(body)[0])


def _parsed(parse: Callable[[bytes], Csr], request: bytes) -> Csr:
    try:
        return parse(request)
    except UnsupportedKey as error:
        raise Malformed(Reason.BAD_ALGORITHM, f"The key of the certification request is not supported: {error}.") from (
            error
        )
    except BadProof as error:
        raise Malformed(
            Reason.BAD_PROOF, "The certification request's signature does not verify: no proof of possession."
        ) from error
    except MalformedCsr as error:
        raise Malformed(Reason.MALFORMED, f"The body is not a certification request (PKCS#10): {error}.") from error


def with_changed_names(csr: Csr) -> Csr:
    """Return the request with the names that its ChangeSubjectName asks for; without one, the request itself.

    RFC 6402 section 2.8: the attribute holds a new subject, new alternative names, or both; what it does not hold
    stays. The octets stay as they came.

    Raises:
        Malformed: and nothing else.
    """
    found = [attribute.values for attribute in csr.attributes if attribute.oid == CHANGE_SUBJECT_NAME]
    if not found:
        return csr
    try:
        ((value,),) = found
        first, *second = der.inside(der.read(value), der.SEQUENCE)
        subject, names = csr.subject, csr.names
        if first.tag == der.SEQUENCE:
            subject = read_name(first)
        else:
            second = [first, *second]
        if second:
            (alternative,) = second
            inner = der.inside(alternative, der.context(1))
            names = read_general_names(der.sequence(*(each.raw for each in inner)))
    except ValueError as error:  # MalformedDer, MalformedName, or not as many parts as there must be
        raise Malformed(Reason.MALFORMED, _CHANGE_UNREADABLE) from error
    others = tuple(attribute for attribute in csr.attributes if attribute.oid != CHANGE_SUBJECT_NAME)
    return replace(csr, subject=subject, names=names, attributes=others, renamed=True)


def _unwrap(body: bytes) -> tuple[bytes, Encoding]:
    if not body.strip(_SPACES):
        raise Malformed(Reason.MALFORMED, "The body is empty; a certification request (PKCS#10) belongs there.")
    if body.startswith(b"\x30"):  # a SEQUENCE; as base64 a "0" would begin no SEQUENCE
        return body, Encoding.DER
    if b"-----BEGIN" in body:
        return _decode_base64(_pem_text(body)), Encoding.PEM
    return _decode_base64(body), Encoding.BASE64


def _pem_text(body: bytes) -> bytes:
    if b"PRIVATE KEY-----" in body:
        raise Malformed(
            Reason.MALFORMED,
            "The body holds a private key. Never send it: make a new key, and send the certification request alone.",
        )
    blocks = _PEM.findall(body)
    if len(blocks) != 1 or blocks[0][0] not in _PEM_LABELS:
        raise Malformed(Reason.MALFORMED, "The PEM body must hold exactly one block, CERTIFICATE REQUEST.")
    return bytes(blocks[0][1])


def _decode_base64(text: bytes) -> bytes:
    # b64decode without validate skips what it does not know, and makes garbage of PEM and DER without a word.
    try:
        return b64decode(text.translate(None, _SPACES), validate=True)
    except binascii.Error as error:
        raise Malformed(
            Reason.MALFORMED, "The body is neither base64 (RFC 8951 section 3) nor PEM nor DER of a PKCS#10 request."
        ) from error


# --- replies -----------------------------------------------------------------------------------------------------


def is_wrapped(layout: Layout, *, user_agent: str | None, accept: str | None) -> bool:
    """Tell whether the base64 of a reply is broken into lines.

    libest reads nothing but lines, strongSwan before 5.9.11 nothing but a single one. ``auto`` tells them apart: of
    all known clients only strongSwan sends neither User-Agent nor Accept.

    Args:
        layout: what the endpoint is configured to do.
        user_agent: the request's User-Agent field, None when absent.
        accept: the request's Accept field, None when absent.
    """
    match layout:
        case Layout.WRAPPED:
            return True
        case Layout.SINGLE:
            return False
        case Layout.AUTO:
            return user_agent is not None or accept is not None


def certs_only(certificates: Iterable[bytes]) -> bytes:
    """Return the DER of a certs-only CMS SignedData (RFC 5272 section 4.1) that holds these DER certificates.

    The certificates are a SET, so DER orders them by their octets whatever order they come in.
    """
    return degenerate(sorted(certificates))


def encode_base64(octets: bytes, *, wrapped: bool) -> bytes:
    """Return base64 (RFC 4648 section 4): one line without an end, or lines of 76 characters each ended by LF."""
    text = b64encode(octets)
    if not wrapped:
        return text
    return b"".join([text[start : start + _LINE] + b"\n" for start in range(0, len(text), _LINE)])


def cacerts_reply(chain: Iterable[bytes], *, wrapped: bool) -> Reply:
    """Return the reply to cacerts (RFC 7030 section 4.1.3) with the DER certificates of the CA, root included."""
    body = encode_base64(certs_only(chain), wrapped=wrapped)
    return Reply(200, (_CACERTS_TYPE, _TRANSFER_ENCODING), body)


def crls_reply(crl: bytes | None, *, wrapped: bool) -> Reply:
    """Return the reply to crls (RFC 8295 section 4.2) with a DER revocation list; 204 where there is none."""
    if crl is None:
        return Reply(204, ())
    body = encode_base64(degenerate((), (crl,)), wrapped=wrapped)
    return Reply(200, (_CACERTS_TYPE, _TRANSFER_ENCODING), body)


def eecerts_reply(certificates: Iterable[bytes], *, wrapped: bool) -> Reply:
    """Return the reply to eecerts (RFC 8295 section 3.2) with DER certificates of peers; 204 where there are none."""
    held = tuple(certificates)
    if not held:
        return Reply(204, ())
    return Reply(200, (_ISSUED_TYPE, _TRANSFER_ENCODING), encode_base64(certs_only(held), wrapped=wrapped))


def csrattrs_reply(attributes: bytes | None, *, wrapped: bool) -> Reply:
    """Return the reply to csrattrs (RFC 7030 section 4.5.2) with the DER of CsrAttrs; 204 without any."""
    if attributes is None:
        return Reply(204, ())
    return Reply(200, (_CSRATTRS_TYPE, _TRANSFER_ENCODING), encode_base64(attributes, wrapped=wrapped))


def cacerts_in_pem(chain: Iterable[bytes]) -> Reply:
    """Return the certificates of the CA, each in PEM, in their order, for people and their tools."""
    return Reply(200, (_PEM_TYPE,), b"".join(chain))


def wants_pem(accept: str | None) -> bool:
    """Tell whether an Accept field names one of PEM's media types (RFC 8555 section 9.1, and a common one)."""
    named = {each.partition(";")[0].strip().lower() for each in (accept or "").split(",")}
    return not named.isdisjoint({_PEM_TYPE[1], "application/x-pem-file"})


def issued_reply(certificate: bytes, *above: bytes, wrapped: bool) -> Reply:
    """Return the reply with the DER certificate that was issued, and no other (RFC 7030 section 4.2.3).

    Args:
        certificate: what was issued.
        above: the CAs above it, for an endpoint that is told to send them too. They come after it, and not in the order
            that DER wants: who takes a chain from here shows it in TLS as it comes (RFC 8446 section 4.4.2).
        wrapped: how base64 is laid out.
    """
    body = encode_base64(degenerate((certificate, *above)), wrapped=wrapped)
    return Reply(200, (_ISSUED_TYPE, _TRANSFER_ENCODING), body)


def generated_reply(certificate: bytes, *above: bytes, part: KeyPart, wrapped: bool) -> Reply:
    """Return the reply to serverkeygen (RFC 7030 section 4.4.2): the key, then what simpleenroll would have returned.

    Nothing stands before the first part or after the last: libest fails over it.
    """
    parts = (
        (_SEALED_KEY_TYPE if part.encrypted else _KEY_TYPE, part.octets),
        (_ISSUED_TYPE, degenerate((certificate, *above))),
    )
    text = b""
    for (_, kind), octets in parts:
        body = encode_base64(octets, wrapped=wrapped).rstrip(b"\n").replace(b"\n", b"\r\n")
        name, value = _TRANSFER_ENCODING
        fields = f"Content-Type: {kind}\r\n{name}: {value}\r\n\r\n".encode()
        text += b"--" + _BOUNDARY + b"\r\n" + fields + body + b"\r\n"
    mixed = ("Content-Type", f"multipart/mixed; boundary={_BOUNDARY.decode()}")
    return Reply(200, (mixed, ("Cache-Control", "no-store")), text + b"--" + _BOUNDARY + b"--\r\n")


def cmc_reply(response: bytes, status: int, fields: Iterable[tuple[str, str]], *, wrapped: bool) -> Reply:
    """Return the reply to fullcmc (RFC 7030 section 4.3.2) with a full PKI response, in ContentInfo.

    Args:
        response: its DER.
        status: of HTTP.
        fields: those of the header that go with the status.
        wrapped: whether base64 is broken into lines.
    """
    body = encode_base64(response, wrapped=wrapped)
    return Reply(status, (*fields, _CMC_TYPE, _TRANSFER_ENCODING), body)


def pending_reply(retry_after: int) -> Reply:
    """Return the 202 that asks for the same request again after so many seconds (RFC 7030 section 4.2.3).

    The body stays empty: BouncyCastle fails over text in it.
    """
    return Reply(202, (("Retry-After", str(retry_after)), ("Content-Type", "text/plain; charset=utf-8")))
