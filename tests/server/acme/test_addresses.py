"""IP addresses as identifiers (RFC 8738)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from server.acme.challenges.dns01 import Dns01
from server.acme.challenges.lookup import Lookup
from server.config import Nameserver
from tests.fakes.acme import b64
from tests.server.acme.lab import make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Client, Lab

LOOPBACK = x509.IPAddress(ip_address("127.0.0.1"))


async def ordering(client: Client, *addresses: str) -> Answer:
    identifiers = [{"type": "ip", "value": each} for each in addresses]
    return await client.post(client.url("/new-order"), {"identifiers": identifiers})


@pytest.mark.parametrize("cn", [None, "127.0.0.1"])
async def test_an_address_is_validated_certified_and_revoked(lab: Lab, cn: str | None) -> None:
    await lab.serve(lab.endpoint(challenges=(*lab.endpoint().challenges, Dns01(Lookup((Nameserver("127.0.0.1", 1),))))))
    client = await lab.client()
    order = await ordering(client, "127.0.0.1")
    authorization = (await client.post(order.body["authorizations"][0])).body
    assert authorization["identifier"] == {"type": "ip", "value": "127.0.0.1"}
    assert [each["type"] for each in authorization["challenges"]] == ["http-01"]
    await client.authorize(order)
    refused = await client.finalize(order, make_csr("127.0.0.1"))
    assert refused.error == "badCSR"
    done = await client.finalize(order, make_csr(cn=cn, extra=(LOOPBACK,)))
    assert done.body["status"] == "valid", done.body
    pem = (await client.post(done.body["certificate"])).body
    leaf = x509.load_pem_x509_certificates(pem)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [LOOPBACK]
    other = await lab.client()
    await other.authorize(await ordering(other, "127.0.0.1"))
    body = {"certificate": b64(leaf.public_bytes(Encoding.DER))}
    assert (await other.post(other.url("/revoke-cert"), body)).status == 200


@pytest.mark.parametrize(
    "value",
    ["", "a", "127.1", "0x7f000001", "127.0.0.01", "2001:DB8::1", "2001:db8:0::1", "[::1]", "::1%lo", "10.0.0.0/8"],
)
async def test_only_the_canonical_text_of_an_address_is_taken(lab: Lab, value: str) -> None:
    client = await lab.client()
    refused = await ordering(client, value)
    assert (refused.status, refused.error) == (400, "malformed")


async def test_an_address_that_the_policy_forbids_gets_its_subproblem(lab: Lab) -> None:
    client = await lab.client()
    refused = await ordering(client, "10.0.0.1", "8.8.8.8")
    assert refused.error == "rejectedIdentifier"
    assert [each["identifier"] for each in refused.body["subproblems"]] == [{"type": "ip", "value": "8.8.8.8"}]
