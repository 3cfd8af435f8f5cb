"""Switches for clients that need something else than the RFC says, and what is there for people."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from http.client import HTTPSConnection
from ssl import CERT_NONE, create_default_context
from typing import TYPE_CHECKING

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from server.est import codec
from server.outcome import Issued
from server.store.requests import list_requests
from tests.fakes.credential import credential, keep
from tests.server.est.lab import BASE, Holder, csr, lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.est.lab import Lab

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  authenticate: {{one_time_passwords: true, certificates: true}}
  serverkeygen: {{}}
  {more}
"""


async def enrolled(running: Lab, *dns: str) -> Holder:
    await keep(running.application.services.store, credential("otp", username="pump"))
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await running.post("simpleenroll", csr("pump", dns=dns, key=key), basic=("pump", "otp"))
    (certificate,) = pkcs7.load_der_pkcs7_certificates(b64decode(answer.body))
    return Holder(key, (certificate,))


@pytest.mark.parametrize(("path", "part"), [("simpleenroll", 0), ("serverkeygen", -1)])
async def test_the_cas_below_the_root_come_along_where_the_endpoint_says_so(folder: Path, path: str, part: int) -> None:
    """In the order of a TLS chain, as tools write it into a file: DER's order would have the shorter CA first."""
    async with lab(folder, ENDPOINTS.format(more="include_chain: true")) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        answer = await running.post(path, csr("pump"), basic=("pump", "otp"))
        issuing, _ = running.application.services.chain(None)()
    body = answer.body if path == "simpleenroll" else answer.body.split(b"\r\n\r\n")[part].partition(b"\r\n--")[0]
    bag = cms.ContentInfo.load(b64decode(body))["content"]["certificates"]
    leaf, above = (x509.load_der_x509_certificate(each.dump()) for each in bag)
    assert leaf.subject.rfc4514_string() == "CN=pump"
    assert len(issuing.public_bytes(Encoding.DER)) < len(leaf.public_bytes(Encoding.DER))
    assert above == issuing


@pytest.mark.parametrize(("more", "status"), [("keep_absent_names: true", 200), ("", 403)])
async def test_a_renewal_without_alternative_names_keeps_them_where_the_endpoint_says_so(
    folder: Path, more: str, status: int
) -> None:
    """As hs20's client renews, which copies the subject alone."""
    async with lab(folder, ENDPOINTS.format(more=more)) as running:
        holder = await enrolled(running, "pump.example", "pump.test")
        answer = await running.post("simplereenroll", csr("pump"), holder=holder)
        other = await running.post("simplereenroll", csr("pump", dns=("pump.example",)), holder=holder)
    assert (answer.status, other.status) == (status, 403)  # fewer names are not none at all
    if status == 200:
        had, has = (
            each.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            for each in (holder.chain[0], answer.certificate)
        )
        assert had.value == has.value


async def test_who_approves_a_renewal_that_keeps_its_alternative_names_approves_them_too(folder: Path) -> None:
    async with lab(folder, ENDPOINTS.format(more="")) as running:
        holder = await enrolled(running, "pump.example")
    file = folder / "policies" / "iot-device.yaml"
    head, _, _ = file.read_text().partition("\ntests:")
    file.write_text(head + "\n    approval: manual\n")
    async with lab(folder, ENDPOINTS.format(more="keep_absent_names: true")) as running:
        assert (await running.post("simplereenroll", csr("pump"), holder=holder)).status == 202
        services = running.application.services
        waiting = (await services.store.read(list_requests))[0]
        outcome = await services.enrollment.approve(waiting.id, "admin:eve")
    assert isinstance(outcome, Issued), outcome
    renewed = x509.load_der_x509_certificate(outcome.certificate)
    names = renewed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pump.example"]


@pytest.mark.parametrize("accept", ["application/pem-certificate-chain", "text/html, Application/X-PEM-File;q=0.9"])
async def test_people_get_the_chain_in_pem_that_their_tools_take(folder: Path, accept: str) -> None:
    async with lab(folder, ENDPOINTS.format(more="")) as running:

        def work() -> tuple[str | None, bytes]:
            context = create_default_context()
            context.check_hostname, context.verify_mode = False, CERT_NONE
            connection = HTTPSConnection("127.0.0.1", running.ports["https"], context=context)
            connection.request("GET", BASE + "cacerts", headers={"Accept": accept})
            reply = connection.getresponse()
            found = reply.getheader("Content-Type"), reply.read()
            connection.close()
            return found

        kind, body = await asyncio.to_thread(work)
        chain = running.application.services.chain(None)()
    assert kind == "application/pem-certificate-chain"
    assert x509.load_pem_x509_certificates(body) == list(chain)
    assert body == b"".join(each.public_bytes(Encoding.PEM) for each in chain)


@pytest.mark.parametrize("accept", [None, "", "*/*", "application/pkcs7-mime", "multipart/mixed"])
def test_everybody_else_gets_what_the_rfc_says(accept: str | None) -> None:
    assert not codec.wants_pem(accept)
