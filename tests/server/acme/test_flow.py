"""From newAccount to the certificate, over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cryptography import x509

from tests.fakes.acme import new_key
from tests.server.acme.lab import ORIGIN, make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Lab


async def test_the_directory_names_what_works(lab: Lab) -> None:
    answer = await lab.request("GET", "/acme/directory")
    assert answer.status == 200
    assert answer.body == {
        "newNonce": f"{ORIGIN}/acme/new-nonce",
        "newAccount": f"{ORIGIN}/acme/new-account",
        "newOrder": f"{ORIGIN}/acme/new-order",
        "revokeCert": f"{ORIGIN}/acme/revoke-cert",
        "keyChange": f"{ORIGIN}/acme/key-change",
        "renewalInfo": f"{ORIGIN}/acme/renewal-info",
    }


async def test_an_order_with_two_names_leads_to_a_certificate(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("www.localhost", "API.localhost")
    assert order.status == 201
    assert order.body["status"] == "pending"
    assert order.body["identifiers"] == [
        {"type": "dns", "value": "www.localhost"},
        {"type": "dns", "value": "api.localhost"},
    ]
    await client.authorize(order)
    assert (await client.post(order.location)).body["status"] == "ready"
    done = await client.finalize(order, make_csr("api.localhost", "www.localhost", cn="www.localhost"))
    assert (done.status, done.body["status"], done.location) == (200, "valid", order.location)
    pem = await client.post(done.body["certificate"])
    assert pem.headers["Content-Type"] == "application/pem-certificate-chain"
    leaf, issuing = x509.load_pem_x509_certificates(pem.body)
    leaf.verify_directly_issued_by(issuing)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["www.localhost", "api.localhost"]


async def test_finalizing_again_with_the_same_csr_gives_the_same_order_and_one_certificate(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("again.localhost")
    csr = make_csr("again.localhost")
    first, second = await asyncio.gather(client.finalize(order, csr), client.finalize(order, csr))
    third = await client.finalize(order, csr)
    assert first.body == second.body == third.body
    assert first.body["status"] == "valid"
    assert len(lab.issuer.issued) == 1
    other = await client.finalize(order, make_csr("again.localhost"))
    assert (other.status, other.error) == (403, "orderNotReady")


async def test_a_name_can_be_renewed_with_a_new_order(lab: Lab) -> None:
    client = await lab.client()
    key = new_key()
    first = await client.issue("renew.localhost", key=key)
    second = await client.issue("renew.localhost", key=key)
    assert first.serial_number != second.serial_number
