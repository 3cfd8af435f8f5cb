"""Requests without any challenge: a person decides, and nothing is issued before."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from ca import der
from policies.request import PossessionEvidence
from server.config import ScepEndpointConfig
from server.outcome import Issued
from server.scep.authorization import ByHand, Challenges
from tests.server.scep.device import Message, csr, envelope, rsa_key, self_signed, spki
from tests.server.scep.lab import FILES

if TYPE_CHECKING:
    from server.scep.service import ScepEndpoint
    from tests.server.scep.lab import Lab

KEY = rsa_key()


def message(lab: Lab, name: str = "deferred", challenge: str | None = None, key: str = "device") -> Message:
    """Ask without challenge; the common name makes the scripted policy wait for a person."""
    made, transaction = rsa_key(key), der.printable(f"{name} {key}")
    return Message(envelope(csr(made, name, challenge), lab.ra_der), made, self_signed(made), transaction=transaction)


def endpoint(lab: Lab, **settings: Any) -> ScepEndpoint:
    lab.authorizers = (Challenges(lab.credentials), ByHand())
    return lab.endpoint(challenge=None, by_hand=True, **settings)


async def test_who_proves_nothing_waits_for_a_person(lab: Lab) -> None:
    here = endpoint(lab)
    assert (await lab.ask(message(lab), here)).status == "3"
    assert lab.policy.seen[-1].requester.evidence == (PossessionEvidence(sha256(spki(KEY)).hexdigest()),)
    (request,) = await lab.requests()
    assert request.requester == f"possession:{sha256(spki(KEY)).hexdigest()[:16]}"
    assert isinstance(await lab.enrollment.approve(request.id, "an admin"), Issued)
    assert lab.policy.seen[-1].requester.evidence == (PossessionEvidence(sha256(spki(KEY)).hexdigest()),)
    assert (await lab.ask(message(lab), here)).status == "0"


async def test_a_challenge_is_judged_and_a_wrong_one_does_not_wait(lab: Lab) -> None:
    here = endpoint(lab)
    reply = await lab.ask(message(lab, challenge="a guess"), here)
    assert (reply.status, reply.fail_info) == ("2", "2")
    assert (await lab.ask(message(lab, "device-1.test", "sesame"), here)).status == "0"


async def test_elsewhere_no_challenge_is_a_failure(lab: Lab) -> None:
    assert (await lab.ask(message(lab))).status == "2"


async def test_only_so_many_may_wait(lab: Lab) -> None:
    here = endpoint(lab, most_pending=2)
    assert (await lab.ask(message(lab), here)).status == "3"
    assert (await lab.ask(message(lab, key="another"), here)).status == "3"
    turned_away = await lab.send(message(lab, key="ra"), here)
    assert (turned_away.status, turned_away.retry_after) == (429, 60)
    assert (await lab.ask(message(lab), here)).status == "3"
    assert sum(request.state == "pending" for request in await lab.requests()) == 2
    (newest, *_others) = await lab.requests()
    assert newest.problem is not None
    assert newest.problem.reason == "rate-limited"


async def test_only_so_many_of_one_address_may_wait(lab: Lab) -> None:
    here = endpoint(lab, most_pending_of_address=1)
    assert (await lab.ask(message(lab), here)).status == "3"
    assert (await lab.send(message(lab, key="another"), here)).status == 429
    elsewhere = await here.pki_operation(message(lab, key="another").encode(), "192.0.2.8")
    assert elsewhere.status == 200


def test_who_asks_a_service_has_no_requests_by_hand() -> None:
    webhook = {"url": "https://hook.example", "secret": {"file": "f"}}
    with pytest.raises(ValidationError, match="leave by_hand out"):
        ScepEndpointConfig.model_validate({"profiles": ("p",), "ra": FILES, "webhook": webhook, "by_hand": True})


def test_by_hand_is_a_way_to_enroll() -> None:
    ScepEndpointConfig.model_validate({"profiles": ("p",), "ra": FILES, "by_hand": True, "renewal": False})
