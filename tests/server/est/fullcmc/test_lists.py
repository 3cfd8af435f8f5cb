"""GetCRL: the newest revocation list in a signed response."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from server.clock import system_clock
from tests.server.est import cmc_client as client
from tests.server.est.fullcmc.sending import by, new_key
from tests.server.est.lab import csr, first_crl

if TYPE_CHECKING:
    from tests.server.est.fullcmc.sending import Sender


def ours(sender: Sender) -> x509.Name:
    (chain,) = (one.chain() for one in sender.running.application.services.material.issuers.values())
    name: x509.Name = chain[0].subject
    return name


def unsigned(*controls: object) -> bytes:
    return client.signed(client.pki_data((), controls), None)


async def test_anybody_gets_the_newest_list_as_everywhere_else(sender: Sender) -> None:
    newest = await first_crl(sender.running)
    now = system_clock().strftime("%Y%m%d%H%M%SZ")
    for time in (None, now):
        response = await sender.ask(unsigned(client.get_crl(3, ours(sender), time=time)))
        assert [(each.status, each.parts) for each in response.statuses] == [("success", (3,))]
        assert response.crls == (newest,)


async def test_the_list_comes_beside_what_else_is_asked_for(sender: Sender) -> None:
    newest, old, key = await first_crl(sender.running), new_key(), new_key()
    first = await sender.certificate("pump", old)
    asked = [client.pkcs10(1, csr("pump", key=key))]
    response = await sender.ask(by(first, old, asked, client.get_crl(2, first.issuer)))
    assert [(each.status, each.parts) for each in response.statuses] == [("success", (1,)), ("success", (2,))]
    assert response.crls == (newest,)
    response.issued_for(key)


@pytest.mark.parametrize(
    "issuer", [x509.Name([]), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Somebody else")])]
)
async def test_of_another_issuer_there_is_no_list(sender: Sender, issuer: x509.Name) -> None:
    await first_crl(sender.running)  # of ours there is one
    response = await sender.ask(unsigned(client.get_crl(1, issuer)), 404)
    assert [(each.status, each.fail) for each in response.statuses] == [("failed", "badCertId")]
    assert response.crls == ()


async def test_lists_from_before_the_newest_are_not_there(sender: Sender) -> None:
    await first_crl(sender.running)
    before = (system_clock() - timedelta(days=2)).strftime("%Y%m%d%H%M%SZ")
    response = await sender.ask(unsigned(client.get_crl(1, ours(sender), time=before)), 400)
    assert [(each.status, each.fail) for each in response.statuses] == [("failed", "badTime")]


async def test_a_record_that_can_not_be_read_is_a_503(sender: Sender) -> None:
    await first_crl(sender.running)
    await sender.store.close()
    response = await sender.ask(unsigned(client.get_crl(1, ours(sender))), 503)
    assert [(each.status, each.fail) for each in response.statuses] == [("failed", "tryLater")]
