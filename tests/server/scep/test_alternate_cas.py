"""Requests signed with a certificate of another CA (RFC 8894 section 2.3), where the endpoint lists that CA."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from ca import der
from ca.ceremony import make_issuing_ca, make_ra_certificate, make_root
from policies.request import EndpointName, Kind
from server.config import ScepEndpointConfig
from server.credentials import Authenticators
from server.credentials.anchors import TrustAnchors
from tests.server.scep.device import NOW, Message, csr, envelope, rsa_key, self_signed
from tests.server.scep.lab import FILES, _named

if TYPE_CHECKING:
    from server.scep.service import ScepEndpoint
    from tests.server.scep.lab import Lab

HERE = EndpointName.parse("scep/default")
OTHER_ROOT = make_root(_named("Other Root"), now=NOW)
OTHER_CA = make_issuing_ca(OTHER_ROOT, _named("Other CA"), now=NOW)
KEY = rsa_key("device of another CA")
DAYS = timedelta(days=90)
CERTIFICATE = make_ra_certificate(OTHER_CA, _named("pump-7"), now=NOW, lifetime=DAYS, key=KEY).certificate
LISTED = {"alternate_cas": {"former-ca": {"anchors": "former.pem", "revocation": "none"}}}


def octets(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def endpoint(lab: Lab, **settings: object) -> ScepEndpoint:
    """Return an endpoint that lists the other root and knows no CA below it."""
    crls = {"crls": None, "intermediates": (), "grace": timedelta(0)}
    anchors = TrustAnchors("former-ca", [OTHER_ROOT.certificate], **crls)  # type: ignore[arg-type] # by their names
    lab.credentials._endpoints = {HERE: Authenticators({}, None, frozenset({HERE}), anchors=(anchors,))}
    return lab.endpoint(**{"challenge": None, **LISTED, **settings})  # type: ignore[arg-type] # of the test's choice


def message(lab: Lab, kind: str = "19", new_key: str = "device") -> Message:
    content = envelope(csr(rsa_key(new_key), "pump-7", None), lab.ra_der)
    between = (octets(OTHER_CA.certificate),)
    return Message(content, KEY, octets(CERTIFICATE), der.printable(kind), extra_certificates=between)


@pytest.mark.parametrize("kind", ["17", "19"])
async def test_a_certificate_of_a_listed_ca_is_the_authentication(lab: Lab, kind: str) -> None:
    reply = await lab.ask(message(lab, kind), endpoint(lab))
    assert reply.status == "0", reply.text
    issued = x509.load_der_x509_certificate(reply.certificates[0])
    assert issued.public_key() == rsa_key().public_key()
    (seen,) = lab.policy.seen
    (evidence,) = seen.requester.evidence
    assert (seen.kind, seen.renewed) == (Kind.ENROLL, None)
    assert (evidence.anchor, evidence.subject) == ("former-ca", _named("pump-7"))  # type: ignore[union-attr] # a certificate
    assert seen.requester.identity == expected_identity(OTHER_CA.certificate)


def expected_identity(issuer: x509.Certificate) -> str:
    """Return what the device is called: the serial number is unique within its issuer alone."""
    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    tag = sha256(issuer.subject.public_bytes() + key).hexdigest()[:16]
    return f"certificate:former-ca.{tag}.{CERTIFICATE.serial_number:x}"


@pytest.mark.parametrize(("kind", "reason"), [("17", "certificate-rejected"), ("19", "bad-proof")])
async def test_where_none_is_listed_it_is_nothing(lab: Lab, kind: str, reason: str) -> None:
    reply = await lab.ask(message(lab, kind), endpoint(lab, alternate_cas={}))
    assert reply.status == "2"
    (request,) = await lab.requests()
    assert request.problem is not None
    assert request.problem.reason == reason
    assert request.requester == f"certificate:?.{CERTIFICATE.serial_number:x}"


async def test_a_certificate_of_an_unlisted_ca_is_nothing(lab: Lab) -> None:
    stranger = make_issuing_ca(make_root(_named("Stranger"), now=NOW), _named("Other CA"), now=NOW)
    forged = make_ra_certificate(stranger, _named("pump-7"), now=NOW, lifetime=DAYS, key=KEY).certificate
    asked = replace(message(lab), certificate=octets(forged), extra_certificates=(octets(stranger.certificate),))
    assert (await lab.ask(asked, endpoint(lab))).status == "2"
    assert await lab.issued() == 0


async def test_an_expired_one_is_refused_with_the_reason(lab: Lab) -> None:
    lab.pass_time(timedelta(days=91))
    reply = await lab.ask(message(lab), endpoint(lab))
    assert (reply.status, reply.fail_info) == ("2", "2")
    assert "expired" in (reply.text or "")


async def test_another_key_can_not_sign_with_it(lab: Lab) -> None:
    reply = await lab.ask(replace(message(lab), key=rsa_key()), endpoint(lab))
    assert (reply.status, reply.fail_info) == ("2", "1")


async def test_a_certificate_beside_it_that_can_not_be_read_is_refused(lab: Lab) -> None:
    broken = octets(OTHER_CA.certificate).replace(b"\x17\x0d", b"\x16\x0d")
    reply = await lab.ask(replace(message(lab), extra_certificates=(broken,)), endpoint(lab))
    assert (reply.status, reply.fail_info) == ("2", "2")


ODD = {
    "version 11": (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0a"),
    "no UTF-8": (b"pump-7", b"pump-\xff"),
    "no string": (b"\x0c\x06pump-7", b"\x04\x06pump-7"),
}


@pytest.mark.parametrize("kind", ["17", "19"])
@pytest.mark.parametrize("odd", ODD)
async def test_one_that_parsers_stumble_over_is_refused(lab: Lab, kind: str, odd: str) -> None:
    broken = octets(CERTIFICATE).replace(*ODD[odd], 1)
    assert broken != octets(CERTIFICATE)
    reply = await lab.ask(replace(message(lab, kind), certificate=broken), endpoint(lab))
    assert (reply.status, reply.fail_info) == ("2", "2")
    assert await lab.issued() == 0


async def test_the_poll_is_signed_with_it_too_and_no_challenge_is_confirmed(lab: Lab) -> None:
    here = endpoint(lab)
    asked = replace(message(lab), content=envelope(csr(rsa_key(), "deferred", None), lab.ra_der))
    poll = replace(asked, kind=der.printable("20"))
    assert (await lab.ask(asked, here)).status == "3"
    assert (await lab.ask(poll, here)).status == "3"
    of_the_new_key = replace(poll, key=rsa_key(), certificate=self_signed(rsa_key()))
    assert (await lab.ask(of_the_new_key, here)).fail_info == "4"
    (*_, request) = await lab.requests()
    await lab.enrollment.approve(request.id, "an admin")
    assert (await lab.ask(poll, here)).status == "0"


def test_our_own_name_is_not_given_to_others() -> None:
    others = {"own": LISTED["alternate_cas"]["former-ca"]}
    with pytest.raises(ValidationError, match="another name"):
        ScepEndpointConfig.model_validate({"profiles": ("p",), "ra": FILES, "alternate_cas": others})


def test_listing_a_ca_is_a_way_to_enroll() -> None:
    ScepEndpointConfig.model_validate({"profiles": ("p",), "ra": FILES, "renewal": False, **LISTED})
