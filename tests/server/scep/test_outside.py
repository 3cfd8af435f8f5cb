"""Authorisation by others: a webhook, Microsoft Intune; both are fakes on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from ca.issuer import IssuerUnavailable
from server.outcome import Problem, Reason
from server.scep.authorization import ByHand, Intune, IntuneAccount, Outside, Webhook
from server.store.certificates import list_certificates
from tests.fakes.intune import FakeIntune
from tests.fakes.slow_ca import SlowCa
from tests.server.scep.device import Message, csr, enrollment, envelope, rsa_key, self_signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ca.issuer import Permit
    from ca.plan import CertificatePlan
    from tests.server.scep.lab import Lab

SECRET = b"shared secret"


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest_asyncio.fixture
async def outside() -> AsyncIterator[Outside]:
    made = Outside(0.5)
    yield made
    await made.close()


class Hook:
    """A webhook that keeps what it was asked and answers as told."""

    def __init__(self, status: int = 200, body: bytes = b'{"allow": true}') -> None:
        self.status = status
        self.body = body
        self.asked: list[tuple[dict[str, str], bytes]] = []

    def app(self) -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            self.asked.append((dict(request.headers), await request.read()))
            return web.Response(status=self.status, body=self.body, headers={"Location": "/hook"})

        app = web.Application()
        app.router.add_post("/hook", answer)
        return app


def webhook(lab: Lab, url: str, outside: Outside) -> Webhook:
    return Webhook(url=f"{url}/hook", identifier="hook-1", secret=SECRET, outside=outside, clock=lambda: lab.now[0])


async def test_a_webhook_says_yes_to_a_signed_question_with_the_whole_request(lab: Lab, outside: Outside) -> None:
    hook = Hook()
    async with serving(hook.app()) as url:
        lab.authorizers = (webhook(lab, url, outside),)
        assert (await lab.ask(enrollment(lab.ra_der))).status == "0"
    ((headers, body),) = hook.asked
    assert headers["X-Smallstep-Signature"] == hmac.digest(SECRET, body, hashlib.sha256).hex()
    assert headers["X-Smallstep-Webhook-ID"] == "hook-1"
    asked = json.loads(body)
    assert (asked["scepChallenge"], asked["scepTransactionID"]) == ("sesame", "transaction-1")
    assert asked["timestamp"] == "2026-11-21T12:00:00Z"
    sent = x509.load_der_x509_csr(b64decode(asked["x509CertificateRequest"]["raw"]))
    assert sent.is_signature_valid
    assert lab.policy.seen[0].requester.identity == "challenge:webhook"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"allow": false}'),
        (200, b'{"allow": "true"}'),
        (200, b'{"allow": 1}'),
        (200, b"yes"),
        (200, b"[true]"),
        (200, b"[" * 30000),
        (200, b""),
        (201, b'{"allow": true}'),
        (302, b'{"allow": true}'),
        (403, b'{"allow": true}'),
    ],
    ids=str,
)
async def test_anything_but_a_plain_yes_is_a_no(lab: Lab, outside: Outside, status: int, body: bytes) -> None:
    async with serving(Hook(status, body).app()) as url:
        lab.authorizers = (webhook(lab, url, outside),)
        reply = await lab.ask(enrollment(lab.ra_der))
    assert (reply.status, reply.fail_info) == ("2", "2")
    assert await lab.issued() == 0


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (429, b""), (200, bytes(100_000))], ids=["500", "429", "long"]
)
async def test_a_webhook_in_trouble_is_said_by_http_and_issues_nothing(
    lab: Lab, outside: Outside, status: int, body: bytes
) -> None:
    async with serving(Hook(status, body).app()) as url:
        lab.authorizers = (webhook(lab, url, outside),)
        assert (await lab.send(enrollment(lab.ra_der))).status == 503
    assert (await lab.send(enrollment(lab.ra_der))).status == 503, "nobody listens any more"
    assert await lab.issued() == 0


class Tenant:
    """The fake, and an Intune that asks it."""

    def __init__(self, fake: FakeIntune, outside: Outside) -> None:
        self.fake = fake
        self.now = 0.0
        account = IntuneAccount("tenant", "client", "s3cret", login=fake.url, graph=fake.url)
        self.intune = Intune(account, outside, lambda: self.now)

    def actions(self) -> list[str]:
        return [action for action, _ in self.fake.asked]


@pytest_asyncio.fixture
async def tenant(lab: Lab, outside: Outside) -> AsyncIterator[Tenant]:
    fake = FakeIntune()
    async with serving(fake.app()) as fake.url:
        made = Tenant(fake, outside)
        lab.authorizers = (made.intune,)
        yield made


async def good(lab: Lab) -> list[int]:
    """The serial numbers of certificates that were issued and not revoked."""
    return [one.serial for one in await lab.store.read(list_certificates) if one.revoked_at is None]


async def test_intune_validates_the_request_and_hears_of_the_certificate_before_it_is_delivered(
    lab: Lab, tenant: Tenant
) -> None:
    content = csr(rsa_key(), "device-1.test", "x" * 3000)  # as long as Intune's are
    reply = await lab.ask(enrollment(lab.ra_der, content=envelope(content, lab.ra_der)))
    assert reply.status == "0", reply.text
    certificate = x509.load_der_x509_certificate(reply.certificates[0])
    (_, validated), (_, success) = tenant.fake.asked
    assert tenant.actions() == ["validateRequest", "successNotification"]
    assert b64decode(validated["request"]["certificateRequest"]) == content, "byte by byte what is signed"
    notification = success["notification"]
    assert notification["certificateSerialNumber"] == f"{certificate.serial_number:x}"
    assert notification["transactionId"] == "transaction-1"
    assert set(notification) >= {"certificateThumbprint", "certificateExpirationDateUtc", "issuingCertificateAuthority"}
    assert lab.policy.seen[0].requester.identity == "challenge:intune:transaction-1"
    assert tenant.fake.tokens == 2, "one for Graph, one for the service"


@pytest.mark.parametrize("code", ["ChallengeExpired", "SubjectNameMismatch", "ChallengeDecryptionError", "success"])
async def test_what_intune_does_not_accept_gets_nothing(lab: Lab, tenant: Tenant, code: str) -> None:
    tenant.fake.codes["validateRequest"] = code
    reply = await lab.ask(enrollment(lab.ra_der))
    assert (reply.status, reply.fail_info) == ("2", "2")
    assert await lab.issued() == 0
    assert code in (((await lab.requests())[0]).detail or ""), "administrators are told why"


async def test_a_request_without_challenge_is_not_even_asked_about(lab: Lab, tenant: Tenant) -> None:
    content = envelope(csr(rsa_key(), "device-1.test", None), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=content))).status == "2"
    assert tenant.fake.asked == []


@pytest.mark.parametrize("code", [500, 429, 404])
async def test_a_validation_that_can_not_be_had_issues_nothing(lab: Lab, tenant: Tenant, code: int) -> None:
    tenant.fake.codes["validateRequest"] = code
    answer = await lab.send(enrollment(lab.ra_der))
    assert (answer.status, answer.retry_after) == (503, 30)
    assert await lab.issued() == 0


@pytest.mark.parametrize("code", ["Failed", 500, 404])
async def test_a_certificate_that_intune_did_not_hear_of_is_revoked_and_not_delivered(
    lab: Lab, tenant: Tenant, code: str | int
) -> None:
    tenant.fake.codes["successNotification"] = code
    answer = await lab.send(enrollment(lab.ra_der))
    assert answer.status == (200 if code == "Failed" else 503)
    assert answer.notes["outcome"] == "refused"
    assert await good(lab) == []
    tenant.fake.codes.clear()
    assert (await lab.ask(enrollment(lab.ra_der))).status == "0", "the device's next try is a new one"
    assert len(await good(lab)) == 1


async def test_intune_hears_of_a_refusal_and_its_silence_changes_nothing(lab: Lab, tenant: Tenant) -> None:
    message = enrollment(lab.ra_der, content=envelope(csr(rsa_key(), "denied"), lab.ra_der))
    assert (await lab.ask(message)).status == "2"
    assert tenant.actions() == ["validateRequest", "failureNotification"]
    assert tenant.fake.asked[-1][1]["notification"]["hResult"] < 0
    tenant.fake.codes["failureNotification"] = 500
    assert (await lab.ask(message)).status == "2"


async def test_intune_does_not_hear_of_a_failure_while_the_ca_is_away_because_the_device_comes_again(
    lab: Lab, tenant: Tenant
) -> None:
    class Away(SlowCa):
        async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
            raise IssuerUnavailable("away")

    issuers = lab.enrollment._issuance._issuers
    lab.enrollment._issuance._issuers = {"issuing": Away(lab.issuer, waits=0)}
    assert (await lab.send(enrollment(lab.ra_der))).status == 503
    assert tenant.actions() == ["validateRequest"]
    lab.enrollment._issuance._issuers = issuers
    assert (await lab.ask(enrollment(lab.ra_der))).status == "0"
    assert tenant.actions()[1:] == ["validateRequest", "successNotification"]


async def test_a_poll_has_no_challenge_to_confirm_with_so_that_the_request_is_sent_again(
    lab: Lab, tenant: Tenant
) -> None:
    content = envelope(csr(rsa_key(), "deferred"), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=content))).status == "3"
    poll = Message(enrollment(lab.ra_der).content, rsa_key(), self_signed(rsa_key()), kind=der.printable("20"))
    assert (await lab.ask(poll)).status == "3"
    (request,) = await lab.requests()
    await lab.enrollment.approve(request.id, "admin:test")
    reply = await lab.ask(poll)
    assert (reply.status, reply.certificates) == ("2", ())
    assert "again" in (reply.text or "")
    assert tenant.actions() == ["validateRequest"]
    assert (await lab.ask(enrollment(lab.ra_der, content=content))).status == "0"
    assert tenant.actions()[1:] == ["validateRequest", "successNotification"]
    assert len(await good(lab)) == 1


async def test_of_a_rejection_intune_hears_when_the_request_comes_again(lab: Lab, tenant: Tenant) -> None:
    content = envelope(csr(rsa_key(), "deferred"), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=content))).status == "3"
    (request,) = await lab.requests()
    await lab.enrollment.reject(request.id, "admin:test", "no")
    poll = Message(enrollment(lab.ra_der).content, rsa_key(), self_signed(rsa_key()), kind=der.printable("20"))
    assert (await lab.ask(poll)).status == "2"
    assert tenant.actions() == ["validateRequest"]
    assert (await lab.ask(enrollment(lab.ra_der, content=content))).status == "2"
    assert tenant.actions()[-1] == "failureNotification"


async def test_tokens_and_directory_are_kept_and_a_withdrawn_token_is_replaced(lab: Lab, tenant: Tenant) -> None:
    for number in range(3):
        await lab.ask(enrollment(lab.ra_der, transaction=der.printable(f"t{number}")))
    assert tenant.fake.tokens == 2
    tenant.fake.withdrawn = {"token-1", "token-2"}
    assert (await lab.ask(enrollment(lab.ra_der, transaction=der.printable("t9")))).status == "0"
    before = tenant.fake.tokens
    tenant.now = 7200.0
    await lab.ask(enrollment(lab.ra_der, transaction=der.printable("t10")))
    assert tenant.fake.tokens == before + 2


@pytest.mark.parametrize("directory", [[], "nonsense", [{"providerName": "ScepRequestValidationFEService"}]], ids=str)
async def test_a_directory_without_the_service_issues_nothing(lab: Lab, tenant: Tenant, directory: Any) -> None:
    tenant.fake.directory = directory
    assert (await lab.send(enrollment(lab.ra_der))).status == 503


async def test_a_wrong_client_secret_issues_nothing_and_is_not_told_to_anyone(lab: Lab, tenant: Tenant) -> None:
    tenant.fake.secret = "another"
    answer = await lab.send(enrollment(lab.ra_der))
    assert answer.status == 503
    assert b"secret" not in answer.body
    assert "s3cret" not in repr(tenant.intune._account)


async def test_renewals_do_not_ask_intune(lab: Lab, tenant: Tenant) -> None:
    old = await lab.enroll()
    before = len(tenant.fake.asked)
    lab.pass_time(timedelta(hours=1))
    content = envelope(csr(rsa_key("new"), "device-1.test", None), lab.ra_der)
    renewal = Message(content, rsa_key(), old.public_bytes(Encoding.DER), kind=der.printable("17"))
    assert (await lab.ask(renewal)).status == "0"
    assert len(tenant.fake.asked) == before


async def test_an_endpoint_that_is_closed_closes_what_it_has_opened_to_others(lab: Lab, tenant: Tenant) -> None:
    outside = Outside(0.5)
    async with serving(Hook().app()) as url:
        lab.authorizers = (webhook(lab, url, outside), tenant.intune, ByHand())
        endpoint = lab.endpoint()
        assert (await lab.ask(enrollment(lab.ra_der), endpoint)).status == "0"
        await endpoint.close()
    for each in (outside, tenant.intune._outside):
        assert each._session is not None
        assert each._session.closed


async def test_a_revocation_that_can_not_be_recorded_still_delivers_nothing(lab: Lab, tenant: Tenant) -> None:
    class Broken:
        async def admit(self, asked: Any) -> None:
            return None

        async def confirm(self, *_: Any) -> Problem:
            await lab.store.close()
            return Problem(Reason.ISSUER_REFUSED, "no")

        async def report(self, *_: Any) -> None: ...

    lab.authorizers = (Broken(), tenant.intune)
    answer = await lab.send(enrollment(lab.ra_der))
    assert answer.notes["outcome"] == "refused"
