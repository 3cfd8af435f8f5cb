"""When the database, the nonce ledger or a person keeps ACME waiting."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from ca.issuer import IssuerUnavailable
from server.acme.messages import OrderStatus
from server.acme.nonces import LedgerUnavailable, Nonces
from server.acme.records import orders
from server.acme.records.overview import find_any_order
from server.outcome import Refused
from server.store import Store, StoreUnavailable
from server.store.requests import list_requests
from tests.fakes.acme import b64, new_key
from tests.server.acme.lab import PROFILE_TEXT, QUICK, Client, make_csr, make_lab, tear
from tests.server.acme.test_orders import Stubborn, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from policies.request import EnrollmentRequest
    from server.acme.messages import Order
    from tests.server.acme.lab import Lab


class FlakyStore(Store):
    """The store inside of it; while `broken` names an operation, that one can't be done."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.broken: set[str] = set()

    async def write(self, work: Any) -> Any:
        return await self._do("write", work)

    async def read(self, work: Any) -> Any:
        return await self._do("read", work)

    async def write_together(self, work: Any, item: Any) -> Any:
        return await self._do("write_together", work, item)

    async def _do(self, operation: str, *arguments: Any) -> Any:
        if operation in self.broken:
            raise StoreUnavailable("disk full")
        return await getattr(self.inner, operation)(*arguments)


class BrokenLedger:
    def redeem(self, mark: bytes, issued: int, now: int) -> bool:
        raise LedgerUnavailable("locked")

    def close(self) -> None: ...


@pytest.fixture
def flaky(lab: Lab) -> FlakyStore:
    return FlakyStore(lab.store)


@pytest_asyncio.fixture
async def manual(tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab whose profile wants a person to approve."""
    text = PROFILE_TEXT.replace("    issuer: issuing\n", "    issuer: issuing\n    approval: manual\n")
    made = await make_lab(tmp_path, text)
    yield made
    await tear(made)


async def test_a_store_that_can_not_write_is_a_503_and_nothing_is_promised(lab: Lab, flaky: FlakyStore) -> None:
    await lab.serve(lab.endpoint(store=flaky))
    client = await lab.client()
    order = await client.order("first.localhost")
    flaky.broken = {"write", "write_together"}
    authorization = order.body["authorizations"][0]
    challenge = (await client.post(authorization)).body["challenges"][0]["url"]
    stranger = Client(lab)
    for told in (
        await client.order("second.localhost"),
        await client.post(challenge, {}),
        await client.post(authorization, {"status": "deactivated"}),
        await client.post(client.kid or "", {"contact": []}),
        await stranger.post(stranger.url("/new-account"), {}),
    ):
        assert (told.status, told.error) == (503, "serverInternal")
        assert int(told.headers["Retry-After"]) > 0
        assert "Replay-Nonce" in told.headers
        assert "disk" not in told.body["detail"]
    flaky.broken = set()
    assert (await client.post(authorization)).body["status"] == "pending"


async def test_validations_that_can_not_be_given_back_keep_nobody_from_stopping(lab: Lab, flaky: FlakyStore) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(store=flaky, challenges=(held,)))
    client = await lab.client()
    url = await answer(client, await client.order("away.localhost"))
    flaky.broken = {"write"}
    with capture_logs() as events:
        await lab.serve(lab.endpoint(challenges=(other := Stubborn(),)))
    assert [event["event"] for event in events if event["log_level"] == "warning"] == [
        "acme_validations_not_given_back"
    ]
    assert other.tried == []
    lab.now[0] += QUICK.attempt_lease * 1.1
    await client.until(url, "valid")


async def test_a_store_that_can_not_read_is_a_503(lab: Lab, flaky: FlakyStore) -> None:
    await lab.serve(lab.endpoint(store=flaky))
    client = await lab.client()
    order = await client.order("read.localhost")
    flaky.broken = {"read"}
    assert (await client.post(order.location)).status == 503


async def test_a_revocation_that_can_not_be_recorded_is_a_503_and_can_be_asked_for_again(
    lab: Lab, flaky: FlakyStore
) -> None:
    client = await lab.client()
    asked = {"certificate": b64((await client.issue("a.localhost")).public_bytes(Encoding.DER))}
    lab.enrollment._store, flaky.broken = flaky, {"write"}
    answer = await client.post(client.url("/revoke-cert"), asked)
    assert (answer.status, answer.error, answer.headers["Retry-After"]) == (503, "serverInternal", "10")
    flaky.broken = set()
    assert (await client.post(client.url("/revoke-cert"), asked)).status == 200


async def test_an_order_is_valid_with_its_certificate_in_one_transaction(lab: Lab, flaky: FlakyStore) -> None:
    await lab.serve(lab.endpoint(store=flaky))
    client = await lab.client()
    order = await client.ready("again.localhost")
    csr = make_csr("again.localhost")
    lab.issuer.open.clear()
    finalizing = asyncio.create_task(client.finalize(order, csr))
    await lab.issuer.asked.wait()
    flaky.broken = {"write"}  # nothing is left to be written once the certificate is on record
    lab.issuer.open.set()
    assert (await finalizing).body["status"] == "valid"
    assert (await client.post(order.location)).body["status"] == "valid"


async def test_a_validation_that_could_not_be_recorded_is_taken_up_again(lab: Lab, flaky: FlakyStore) -> None:
    await lab.serve(lab.endpoint(store=flaky))
    client = await lab.client()
    order = await client.order("later.localhost")
    url = order.body["authorizations"][0]
    challenge = (await client.post(url)).body["challenges"][0]
    # No answer is served yet, so the first attempt fails, and its failure can't be recorded.
    await client.post(challenge["url"], {})
    flaky.broken = {"write", "read"}
    await asyncio.sleep(0.2)
    flaky.broken = set()
    lab.served[challenge["token"]] = f"{challenge['token']}.{client.signer.thumbprint}"
    lab.now[0] += QUICK.attempt_lease * 2
    assert (await client.until(url, "valid", "invalid")).body["status"] == "valid"


async def test_a_ledger_that_can_not_record_is_a_503_and_no_badnonce(lab: Lab) -> None:
    nonces = Nonces(bytes(32), BrokenLedger(), lambda: int(lab.now[0].timestamp()))
    await lab.serve(lab.endpoint(nonces=nonces))
    client = Client(lab)
    answer = await client.post(client.url("/new-account"), {})
    assert (answer.status, answer.error) == (503, "serverInternal")


class BrokenNonces(Nonces):
    """Breaks where nobody expects it."""

    def redeem(self, nonce: bytes, scope: str) -> bool:
        raise ZeroDivisionError(nonce, scope)


async def test_what_nobody_foresaw_is_a_problem_document_with_a_nonce_like_any_other(lab: Lab) -> None:
    nonces = BrokenNonces(bytes(32), BrokenLedger(), lambda: int(lab.now[0].timestamp()))
    await lab.serve(lab.endpoint(nonces=nonces))
    client = Client(lab)
    answer = await client.post(client.url("/new-account"), {})
    assert (answer.status, answer.error) == (500, "serverInternal")
    assert answer.headers["Replay-Nonce"]
    assert "division" not in str(answer.body)


async def test_what_a_person_must_approve_stays_processing_until_then(manual: Lab) -> None:
    client = await manual.client()
    order = await client.ready("approve.localhost")
    csr = make_csr("approve.localhost")
    for _ in range(2):
        waiting = await client.finalize(order, csr)
        assert (waiting.status, waiting.body["status"]) == (200, "processing")
    (pending,) = [row for row in await manual.store.read(list_requests) if row.state == "pending"]
    await manual.enrollment.approve(pending.id, "admin:test")
    assert (await client.until(order.location, "valid")).body["certificate"]
    assert len(manual.issuer.issued) == 1


async def test_what_waits_for_a_person_waits_on_when_the_record_could_not_be_read_for_a_while(
    manual: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await manual.client()
    order = await client.ready("later.localhost")
    assert (await client.finalize(order, make_csr("later.localhost"))).body["status"] == "processing"
    flaky = FlakyStore(manual.store)
    flaky.broken = {"read"}
    with monkeypatch.context() as patch:
        patch.setattr(manual.enrollment, "_store", flaky)
        await client.post(order.location)  # asks what became of it
        await asyncio.sleep(0.1)
    assert (await client.post(order.location)).body["status"] == "processing"
    (pending,) = [row for row in await manual.store.read(list_requests) if row.state == "pending"]
    await manual.enrollment.approve(pending.id, "admin:test")
    assert (await client.until(order.location, "valid")).body["certificate"]


async def test_what_a_person_rejects_ends_the_order_and_the_client_is_told(manual: Lab) -> None:
    client = await manual.client()
    order, csr = await client.ready("reject.localhost"), make_csr("reject.localhost")
    await client.finalize(order, csr)
    (pending,) = [row for row in await manual.store.read(list_requests) if row.state == "pending"]
    await manual.enrollment.reject(pending.id, "admin:test", "no such host")
    error = (await client.until(order.location, "invalid")).body["error"]
    assert error == {
        "type": "urn:ietf:params:acme:error:unauthorized",
        "detail": "An administrator has rejected the request.",
        "status": 403,
    }
    assert (await client.finalize(order, csr)).error == "orderNotReady"
    assert manual.issuer.issued == []


async def test_a_process_that_is_late_with_its_no_or_its_wait_changes_nothing_about_another_csr(lab: Lab) -> None:
    client = await lab.client()
    made = await client.ready("late.localhost")
    key = made.location.rpartition("/")[2]

    async def judged(csr: bytes) -> Order:
        await lab.store.write(lambda c: orders.begin_processing(c, key, OrderStatus.PROCESSING, csr))
        found = await lab.store.read(lambda c: find_any_order(c, key, lab.now[0]))
        assert found is not None
        return found.order

    first = await judged(b"one")
    for _ in range(2):  # by two processes
        await lab.store.write(lambda c: orders.end_refused(c, first, OrderStatus.READY, {}))
    await lab.store.write(lambda c: orders.note_request(c, first, "of the first"))
    second = await judged(b"two")
    assert second.request_id is None
    await lab.store.write(lambda c: orders.end_refused(c, first, OrderStatus.READY, {}))
    await lab.store.write(lambda c: orders.note_request(c, first, "of the first"))
    found = await lab.store.read(lambda c: find_any_order(c, key, lab.now[0]))
    assert found is not None
    assert found.order == second


@pytest.mark.parametrize("finished", [False, True], ids=["left half-done", "finished by the server"])
async def test_who_sends_another_csr_after_the_ca_was_away_gets_a_certificate_for_its_key(
    lab: Lab, *, finished: bool
) -> None:
    client = await lab.client()
    order = await client.ready("away.localhost")
    lab.issuer.failures.append(IssuerUnavailable("away"))
    assert (await client.finalize(order, make_csr("away.localhost"))).status == 503
    assert (await client.post(order.location)).body["status"] == "ready"
    if finished:
        assert await lab.enrollment.recover() == 1
    key = new_key()
    done = await client.finalize(order, make_csr("away.localhost", key=key))
    (certificate, *_) = x509.load_pem_x509_certificates((await client.post(done.body["certificate"])).body)
    assert certificate.public_key() == key.public_key()
    assert len(lab.issuer.issued) == (2 if finished else 1)


async def test_what_waits_for_a_person_is_not_issued_to_an_account_that_ended(manual: Lab) -> None:
    client = await manual.client()
    order = await client.ready("ended.localhost")
    assert (await client.finalize(order, make_csr("ended.localhost"))).body["status"] == "processing"
    assert (await client.post(str(client.kid), {"status": "deactivated"})).status == 200
    (row,) = await manual.store.read(list_requests)
    assert (row.state, row.transaction) == ("refused", order.location.rpartition("/")[2])
    assert isinstance(await manual.enrollment.approve(row.id, "admin:late"), Refused)
    assert manual.issuer.issued == []
    found = await manual.store.read(lambda c: find_any_order(c, str(row.transaction), manual.now[0]))
    assert found is not None
    assert found.order.status == "invalid"


@pytest.mark.parametrize("whole", [False, True], ids=["authorization", "account"])
async def test_what_is_given_back_while_something_is_looked_up_does_not_wait_for_a_person_then(
    manual: Lab, *, whole: bool
) -> None:
    looking, found = asyncio.Event(), asyncio.Event()

    async def look_up(request: EnrollmentRequest) -> EnrollmentRequest:
        looking.set()
        await found.wait()
        return request

    manual.enrollment._judge.gather = look_up
    client = await manual.client()
    order = await client.ready("slow.localhost")
    finalizing = asyncio.create_task(client.finalize(order, make_csr("slow.localhost")))
    await looking.wait()
    url = str(client.kid) if whole else order.body["authorizations"][0]
    assert (await client.post(url, {"status": "deactivated"})).status == 200
    found.set()
    await finalizing
    key = order.location.rpartition("/")[2]
    async with asyncio.timeout(5):
        while True:
            rows = await manual.store.read(list_requests)
            if rows and rows[0].state != "pending":
                break
            await asyncio.sleep(0.02)
    assert [(row.state, row.transaction) for row in rows] == [("refused", key)]
    assert isinstance(await manual.enrollment.approve(rows[0].id, "admin:late"), Refused)
    assert manual.issuer.issued == []
    ended = await manual.store.read(lambda c: find_any_order(c, key, manual.now[0]))
    assert ended is not None
    assert (ended.order.status, str((ended.order.error or {})["type"]).rpartition(":")[2]) == (
        "invalid",
        "unauthorized",
    )


async def test_what_waits_for_a_person_is_not_issued_by_an_authorization_that_was_given_back(manual: Lab) -> None:
    client = await manual.client()
    order, other = await client.ready("back.localhost"), await client.ready("stays.localhost")
    for each, name in ((order, "back.localhost"), (other, "stays.localhost")):
        assert (await client.finalize(each, make_csr(name))).body["status"] == "processing"
    await client.post(order.body["authorizations"][0], {"status": "deactivated"})
    found = (await client.post(order.location)).body
    assert (found["status"], found["error"]["detail"]) == ("invalid", "an authorization of the order was given back")
    (row,) = [each for each in await manual.store.read(list_requests) if each.state == "pending"]
    assert row.transaction == other.location.rpartition("/")[2]
    await manual.enrollment.approve(row.id, "admin:test")
    assert (await client.until(other.location, "valid")).body["certificate"]
    assert len(manual.issuer.issued) == 1


async def test_names_that_policy_no_longer_allows_are_refused_at_finalize(lab: Lab, tmp_path: Path) -> None:
    strict = await make_lab(_folder(tmp_path), PROFILE_TEXT.replace('          - "**.localhost"\n', ""))
    # The policy of newOrder still allowed the name; the one behind the door does not.
    await strict.serve(
        strict.endpoint(objections_to_names=lab.policies.objections_to_names, timing=replace(QUICK, finalize=5.0))
    )
    client = await strict.client()
    order = await client.ready("gone.localhost")
    refused = await client.finalize(order, make_csr("gone.localhost"))
    assert (refused.status, refused.error) == (400, "rejectedIdentifier")
    assert refused.body["subproblems"][0]["identifier"]["value"] == "gone.localhost"
    assert (await client.post(order.location)).body["status"] == "invalid"
    await tear(strict)


def _folder(parent: Path) -> Path:
    made = parent / "strict"
    made.mkdir()
    return made
