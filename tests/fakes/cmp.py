"""A CMP server on loopback: certifies what a p10cr, cr or kur asks for, and revokes.

It says "later" as often as it is told, and wants certConf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from ca.backends import cmp_messages as cmp
from ca.backends.cmp_messages import Transaction
from ca.backends.cmp_protection import SharedSecret
from ca.issuer import Permit
from ca.name_codec import read_general_names, read_name
from tests.fakes.issuer import make_plan
from tests.fakes.remote_ca import sign_for

if TYPE_CHECKING:
    from ca.backends.cmp_protection import Protection
    from ca.issuer import Issuer

SECRET = SharedSecret(b"door", b"correct horse", bytes)


class FakeCmp:
    """`confirmed` counts certConf; `polls` is how often it says "later"; `error` are failure bits to answer with.

    With `rejects` it says in the end that it does not grant the certificate. `confirmation_polls` is how often it says
    "later" to certConf, and `confirmation` its answer in the end.
    """

    def __init__(self, inner: Issuer, secret: Protection = SECRET) -> None:
        self.inner, self.secret = inner, secret
        self.polls, self.confirmed, self.transactions = 0, 0, list[bytes]()
        self.error: bytes | None = None
        self.rejects = False
        self.confirmation_polls, self.confirmation = 0, der.tlv(der.context(cmp.PKICONF), der.null())
        self.waiting: dict[bytes, bytes] = {}
        self.bodies: list[int] = []
        self.known, self.revoked = set[int](), set[int]()
        self.application = web.Application()
        self.application.router.add_post("/pkix/", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        header, body, *_ = der.children(der.read(await request.read()))
        fields = {field.tag: der.children(field)[0].content for field in der.children(header)[3:]}
        identifier, nonce = fields[der.context(4)], fields[der.context(5)]
        self.transactions.append(identifier)
        content = await self._body(body, identifier)
        transaction = Transaction(identifier, b"\x01" * 16, nonce)
        reply = cmp.write_message(content, transaction, der.sequence(), self.secret)
        return web.Response(body=reply, content_type="application/pkixcmp")

    async def _body(self, body: der.Tlv, identifier: bytes) -> bytes:
        self.bodies.append(body.tag - der.context(0))
        if body.tag == der.context(cmp.CERT_CONF) or (self.confirmed and self.confirmation_polls):
            return self._confirm(body)
        if body.tag in {der.context(cmp.RR), der.context(cmp.CR)}:
            return self._revoke(body) if body.tag == der.context(cmp.RR) else await self._certify(body)
        if self.error is not None:
            status = der.sequence(der.integer(2), der.sequence(der.utf8("as told")), der.bit_string(self.error))
            return der.tlv(der.context(cmp.ERROR), der.sequence(status))
        if body.tag == der.context(cmp.P10CR):
            self.waiting[identifier] = der.children(body)[0].raw
        if self.polls and body.tag == der.context(cmp.POLL_REQ):
            self.polls -= 1
            later = der.sequence(der.integer(-1), der.integer(7))
            return der.tlv(der.context(cmp.POLL_REP), der.sequence(later))
        if self.polls or self.rejects:
            return self._response(der.integer(3 if self.polls else 2))
        certificate = await sign_for(self.inner, x509.load_der_x509_csr(self.waiting[identifier]))
        self.known.add(certificate.serial_number)
        pair = der.sequence(der.tlv(der.context(0), certificate.public_bytes(Encoding.DER)))
        return self._response(der.integer(0), pair)

    def _confirm(self, body: der.Tlv) -> bytes:
        """Answer a certConf, or the pollReq for its answer, which names no request (RFC 9483 section 4.4)."""
        if body.tag == der.context(cmp.CERT_CONF):
            self.confirmed += 1
            later = der.tlv(der.context(cmp.ERROR), der.sequence(der.sequence(der.integer(cmp.WAITING))))
        else:
            assert body.raw == cmp.write_poll_req(-1)
            self.confirmation_polls -= 1
            later = der.tlv(der.context(cmp.POLL_REP), der.sequence(der.sequence(der.integer(-1), der.integer(7))))
        return later if self.confirmation_polls else self.confirmation

    async def _certify(self, body: der.Tlv) -> bytes:
        """Certify what the template of a CertReqMsg says (RFC 4211 section 5), for whom the sender has verified."""
        request, proof = der.children(der.children(der.children(body)[0])[0])
        assert proof.raw == b"\x80\x00"  # raVerified
        template = {field.tag: field for field in der.children(der.children(request)[1])}
        (extension,) = der.children(template[der.context(9)])
        spki = der.sequence(template[der.context(6)].content)
        names = read_general_names(der.children(extension)[-1].content)
        plan = make_plan(subject=read_name(der.children(template[der.context(5)])[0]), names=names, spki=spki)
        certificate = await self.inner.issue(Permit("remote", plan, 0x51), plan, 0x51)
        pair = der.sequence(der.tlv(der.context(0), certificate))
        return self._response(der.integer(0), pair)

    def _response(self, status: bytes, *pair: bytes) -> bytes:
        response = der.sequence(der.integer(-1), der.sequence(status), *pair)
        return der.tlv(der.context(cmp.CP), der.sequence(der.sequence(response)))

    def _revoke(self, body: der.Tlv) -> bytes:
        """Read the serial number of a RevDetails, and answer as the CA does (RFC 9810 section 5.3.10)."""
        (details,) = der.children(der.children(body)[0])
        serial = int.from_bytes(der.children(der.children(details)[0])[0].content, "big")
        failure = 10 if serial in self.revoked else 4 if serial not in self.known else None
        self.revoked |= self.known & {serial}
        bits = () if failure is None else (der.bit_string((1 << (15 - failure)).to_bytes(2, "big")),)
        status = der.sequence(der.integer(0 if failure is None else 2), *bits)
        return der.tlv(der.context(cmp.RP), der.sequence(der.sequence(status)))
