"""What a reply without certificate looks like, and what GetCACert hands out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from server.outcome import Issued
from server.scep.codec import read_pki_message
from server.scep.messages import PRESETS
from server.scep.replies import Replies
from tests.server.scep.device import NOW, csr, degenerate_certificates, enrollment, envelope, rsa_key, self_signed
from tests.server.scep.lab import ISSUING, RA, ROOT

if TYPE_CHECKING:
    from tests.server.scep.lab import Lab

ENCODED = {
    name: credential.certificate.public_bytes(Encoding.DER)
    for name, credential in {"ra": RA, "ca": ISSUING, "root": ROOT}.items()
}


def version_1() -> bytes:
    """Return a self-signed certificate as certmonger makes it (its own signature is of no interest)."""
    fields, algorithm, signature = der.children(der.read(self_signed(rsa_key())))
    first = der.sequence(*(field.raw for field in der.children(fields)[1:7]))
    return der.sequence(first, algorithm.raw, signature.raw)


@pytest.mark.parametrize(
    ("switch", "certificate", "content"),
    [
        ("auto", self_signed(rsa_key()), None),
        ("auto", version_1(), b""),
        ("omit", version_1(), None),
        ("empty", self_signed(rsa_key()), b""),
    ],
    ids=["auto, version 3", "auto, version 1", "omit", "empty"],
)
@pytest.mark.parametrize("name", ["denied", "deferred"])
async def test_a_reply_without_certificate_has_no_content_or_an_empty_one(
    lab: Lab, switch: str, certificate: bytes, content: bytes | None, name: str
) -> None:
    request = envelope(csr(rsa_key(), name), lab.ra_der)
    message = enrollment(lab.ra_der, content=request, certificate=certificate)
    reply = await lab.ask(message, lab.endpoint(status_content=switch))
    assert reply.status in {"2", "3"}
    assert reply.signed.content == content


async def test_a_reply_is_as_strict_parsers_want_it(lab: Lab) -> None:
    answer = await lab.send(enrollment(lab.ra_der))
    signed = cms.ContentInfo.load(answer.body, strict=True)["content"]
    info = signed["signer_infos"][0]
    assert signed["version"].native == info["version"].native == "v1"
    attributes = [attribute["type"].native for attribute in info["signed_attrs"]]
    assert {"content_type", "message_digest", "signing_time"} < set(attributes)
    encoded = [attribute.dump() for attribute in info["signed_attrs"]]
    assert encoded == sorted(encoded)
    envelope_info = cms.ContentInfo.load(signed["encap_content_info"]["content"].native, strict=True)
    assert envelope_info["content_type"].native == "enveloped_data"


async def test_a_certificate_without_a_recipient_is_a_fault_of_the_server(lab: Lab) -> None:
    replies = Replies(
        accepted=PRESETS["modern"],
        status_content="auto",
        with_ca=False,
        hresult=False,
        clock=lambda: NOW,
        nonce=lambda: b"",
        random=bytes,
    )
    message = read_pki_message(enrollment(lab.ra_der).encode())
    with pytest.raises(RuntimeError):
        await replies.answer(message, None, Issued(b"", (), "r"), lab.ra)


@pytest.mark.parametrize(
    ("switch", "names"),
    [("ra+chain", ["ra", "ca", "root"]), ("ra+ca", ["ra", "ca"]), ("chain", ["ca", "root"])],
)
async def test_several_ca_certificates_go_out_in_order(lab: Lab, switch: str, names: list[str]) -> None:
    answer = lab.endpoint(ca_certificates=switch).advertising.ca_certificates()
    assert answer.content_type == "application/x-x509-ca-ra-cert"
    assert degenerate_certificates(answer.body) == tuple(ENCODED[name] for name in names)


@pytest.mark.parametrize(("switch", "name"), [("ra-only", "ra"), ("ca-only", "ca")])
async def test_a_single_ca_certificate_goes_out_by_itself(lab: Lab, switch: str, name: str) -> None:
    answer = lab.endpoint(ca_certificates=switch).advertising.ca_certificates()
    assert (answer.content_type, answer.body) == ("application/x-x509-ca-cert", ENCODED[name])


async def test_capabilities_follow_the_switches_of_the_endpoint(lab: Lab) -> None:
    assert lab.endpoint().advertising.capabilities().content_type == "text/plain"
    assert b"DES3" not in lab.endpoint().advertising.capabilities().body
    assert b"Renewal" not in lab.endpoint(renewal=False).advertising.capabilities().body
    assert b"DES3" in lab.endpoint(compatibility="compatible").advertising.capabilities().body
