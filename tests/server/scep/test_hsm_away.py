"""An RA whose key is in an HSM that does not answer for a while."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ca.backends.hsm import HsmMisconfigured
from ca.issuer import IssuerError, IssuerUnavailable
from server.scep.keyring import Keyring, Rollover
from server.scep.ra import RaKey
from tests.server.scep.device import csr, enrollment, envelope, read_reply, rsa_key
from tests.server.scep.lab import RA

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.scep.messages import Answer
    from tests.server.scep.lab import Lab


class Hsm(Executor):
    """Does some work, and then fails."""

    def __init__(self, left: int, failure: IssuerError) -> None:
        self.left = left
        self.failure = failure

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **_: Any) -> Future[Any]:
        done: Future[Any] = Future()
        if self.left:
            self.left -= 1
            done.set_result(work(*arguments))
        else:
            done.set_exception(self.failure)
        return done


def is_put_off(answer: Answer) -> bool:
    return answer.status == 503 and answer.retry_after is not None and b"HSM" not in answer.body


@pytest.mark.parametrize("failure", [IssuerUnavailable("the HSM is away"), HsmMisconfigured("the HSM is away")])
@pytest.mark.parametrize("left", [0, 1], ids=["before the request is opened", "before the reply is signed"])
async def test_a_client_is_asked_to_come_again_and_gets_its_certificate_then(
    lab: Lab, left: int, failure: IssuerError
) -> None:
    hsm = Hsm(left, failure)
    lab.keys = Keyring(RaKey(RA.certificate, rsa_key("ra"), hsm))
    endpoint = lab.endpoint()
    assert is_put_off(await lab.send(enrollment(lab.ra_der), endpoint))
    assert await lab.issued() == left
    hsm.left = 2
    assert (await lab.ask(enrollment(lab.ra_der), endpoint)).status == "0"
    assert await lab.issued() == 1


WRONG = envelope(csr(rsa_key(), challenge="wrong"), RA.certificate.public_bytes(Encoding.DER))


async def test_a_refusal_that_can_not_be_signed_is_put_off_too(lab: Lab) -> None:
    lab.keys = Keyring(RaKey(RA.certificate, rsa_key("ra"), hsm := Hsm(1, IssuerUnavailable("the HSM is away"))))
    endpoint = lab.endpoint()
    assert is_put_off(await lab.send(enrollment(lab.ra_der, content=WRONG), endpoint))
    hsm.left = 2
    answer = await lab.send(enrollment(lab.ra_der, content=WRONG), endpoint)
    assert read_reply(answer.body, rsa_key()).status == "2"


async def test_the_next_ca_is_announced_later(lab: Lab) -> None:
    coming = Rollover(lab.ra, "next-profile", lab.issuer.chain)
    lab.keys = Keyring(RaKey(RA.certificate, rsa_key("ra"), Hsm(0, IssuerUnavailable("the HSM is away"))), (), coming)
    assert is_put_off(await lab.endpoint().advertising.next_ca_certificates())
