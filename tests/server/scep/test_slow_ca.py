"""PENDING and CertPoll when it is another CA that needs time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from server.store.requests import State
from tests.fakes.slow_ca import SlowCa
from tests.server.scep.device import csr, enrollment, envelope, rsa_key
from tests.server.scep.test_polling import poll

if TYPE_CHECKING:
    from tests.server.scep.device import Message
    from tests.server.scep.lab import Lab


@pytest.fixture
def ca(lab: Lab) -> SlowCa:
    """The issuer, which now says "later" twice."""
    slow = SlowCa(lab.issuer, waits=2)
    lab.enrollment._issuance._issuers = {"issuing": slow}
    return slow


def question(lab: Lab) -> Message:
    return enrollment(lab.ra_der, content=envelope(csr(rsa_key(), "slow"), lab.ra_der))


async def test_each_poll_asks_the_ca_until_it_is_done(lab: Lab, ca: SlowCa) -> None:
    assert (await lab.ask(question(lab))).status == "3"
    assert (await lab.ask(poll(lab))).status == "3"
    reply = await lab.ask(poll(lab))
    assert reply.status == "0"
    assert x509.load_der_x509_certificate(reply.certificates[0]).serial_number == ca.number
    (request,) = await lab.requests()
    assert request.state is State.ISSUED
    assert [permit.reference for permit in ca.permits] == [None, *[f"ticket/{request.id}"] * 2]
    assert (await lab.ask(poll(lab))).certificates == reply.certificates
    assert len(ca.permits) == 3


async def test_a_client_that_sends_its_request_again_gets_on_too(lab: Lab, ca: SlowCa) -> None:
    statuses = [(await lab.ask(question(lab))).status for _ in range(4)]
    assert statuses == ["3", "3", "0", "0"]
    assert len(ca.permits) == 3


async def test_a_poll_with_another_key_does_not_ask_the_ca(lab: Lab, ca: SlowCa) -> None:
    await lab.ask(question(lab))
    assert (await lab.ask(poll(lab, key="stranger"))).status == "2"
    assert len(ca.permits) == 1
