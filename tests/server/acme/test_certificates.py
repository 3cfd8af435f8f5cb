"""Certificates with alternate chains (RFC 8555 section 7.4.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest_asyncio
from cryptography import x509

from ca import ceremony
from ca.names import DistinguishedName
from tests.fakes.issuer import NOW
from tests.server.acme.lab import make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Client, Lab

Chain = tuple[x509.Certificate, ...]


def other_chain(issuing: x509.Certificate, name: str) -> Chain:
    """The issuing CA's key certified by another root."""
    root = ceremony.make_root(DistinguishedName.from_text(f"CN={name}"), now=NOW)
    return ceremony.make_cross_certificate(issuing, root, now=NOW), root.certificate


def alternates(answer: Answer) -> list[str]:
    links = answer.headers.getall("Link")
    return [found[1] for link in links if (found := re.fullmatch(r'<([^>]+)>;rel="alternate"', link))]


def issuers(answer: Answer) -> list[str]:
    return [each.issuer.rfc4514_string() for each in x509.load_pem_x509_certificates(answer.body)]


@pytest_asyncio.fixture
async def crossed(lab: Lab) -> Client:
    """A client of an endpoint whose issuing CA two other roots have certified, and a strange chain beside."""
    own = lab.issuer.chain()[0]
    strange = other_chain(ceremony.make_root(DistinguishedName.from_text("CN=S"), now=NOW).certificate, "S2")
    chains = (other_chain(own, "Old Root"), strange, other_chain(own, "New Root"))
    await lab.serve(lab.endpoint(alternate_chains=chains))
    return await lab.client()


async def download(client: Client) -> Answer:
    order = await client.ready("a.localhost")
    done = await client.finalize(order, make_csr("a.localhost"))
    return await client.post(done.body["certificate"])


async def test_every_chain_names_the_others_and_begins_with_the_same_leaf(crossed: Client) -> None:
    found = await download(crossed)
    assert issuers(found) == ["CN=Test Issuing CA,O=Test", "CN=Test Root"]
    first, second = alternates(found)
    old, new = await crossed.post(first), await crossed.post(second)
    assert issuers(old) == ["CN=Test Issuing CA,O=Test", "CN=Old Root"]
    assert issuers(new) == ["CN=Test Issuing CA,O=Test", "CN=New Root"]
    default = first.removesuffix("/1")
    assert alternates(old) == [default, second]
    assert alternates(new) == [default, first]
    assert len({each.body.partition(b"-----END")[0] for each in (found, old, new)}) == 1
    assert old.headers["Content-Type"] == "application/pem-certificate-chain"


async def test_a_chain_that_is_the_default_one_is_no_other(lab: Lab) -> None:
    own = lab.issuer.chain()
    await lab.serve(lab.endpoint(alternate_chains=(own, other_chain(own[0], "Old Root"))))
    client = await lab.client()
    found = await download(client)
    (only,) = alternates(found)
    assert issuers(await client.post(only))[-1] == "CN=Old Root"


async def test_other_chains_are_not_there(crossed: Client) -> None:
    (default,) = {each.rpartition("/")[0] for each in alternates(await download(crossed))}
    for number in ("0", "3", "01", "x", "-1"):
        assert (await crossed.post(f"{default}/{number}")).status == 404
    assert (await (await crossed.lab.client()).post(f"{default}/1")).status == 404
    refused = await crossed.post(f"{default}/1", {})
    assert (refused.status, refused.error) == (400, "malformed")


async def test_without_other_chains_there_are_no_links(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("a.localhost")
    done = await client.finalize(order, make_csr("a.localhost"))
    assert alternates(await client.post(done.body["certificate"])) == []
    assert (await client.post(f"{done.body['certificate']}/1")).status == 404
