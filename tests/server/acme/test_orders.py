"""Orders, authorizations, challenges and finalize: what is refused, what survives (RFC 8555 sections 7.4, 7.5)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ca.issuer import IssuerRefused, IssuerUnavailable
from server.acme.challenges.failure import ValidationFailed
from server.acme.messages import ErrorType, OrderStatus
from server.acme.records import orders
from server.acme.service.endpoint import random_token
from tests.fakes.acme import Signer, b64, json_bytes, new_key
from tests.server.acme.lab import ORIGIN, QUICK, Client, make_csr

if TYPE_CHECKING:
    from server.acme.challenges.question import Question
    from tests.server.acme.lab import Answer, Lab


class Stubborn:
    """A challenge type that fails as often as it is told to, and can be held."""

    type = "http-01"

    def __init__(self, failures: int = 0, *, final: bool = False) -> None:
        self.failures = failures
        self.final = final
        self.tried: list[str] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def validate(self, question: Question) -> None:
        self.tried.append(question.key_authorization)
        self.begun.set()
        await self.open.wait()
        if len(self.tried) <= self.failures:
            raise ValidationFailed(ErrorType.CONNECTION, f"{question.name} does not answer", final=self.final)


class Hole:
    """Says nothing for names that begin with ``hole`` until it is told to, and yes at once for others."""

    type = "http-01"

    def __init__(self) -> None:
        self.held = 0
        self.open = asyncio.Event()

    async def validate(self, question: Question) -> None:
        if question.name.startswith("hole"):
            self.held += 1
            await self.open.wait()


async def answer(client: Client, order: Answer) -> str:
    """Answer the challenge of the first authorization; return the authorization's URL."""
    url = str(order.body["authorizations"][0])
    challenge = (await client.post(url)).body["challenges"][0]
    started = await client.post(challenge["url"], {})
    assert started.status == 200
    assert f'<{url}>;rel="up"' in started.headers.getall("Link")
    return url


# --- newOrder -----------------------------------------------------------------------------------------------------


def test_no_identifier_looks_like_an_option_of_a_command() -> None:
    made = {random_token() for _ in range(2000)}
    assert len(made) == 2000
    assert not [each for each in made if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{23}", each)]


async def test_an_authorization_offers_a_fresh_token_for_each_name(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("a.localhost", "b.localhost")
    found = [(await client.post(url)).body for url in order.body["authorizations"]]
    assert [each["identifier"]["value"] for each in found] == ["a.localhost", "b.localhost"]
    challenges = [each["challenges"] for each in found]
    assert [[each["type"] for each in some] for some in challenges] == [["http-01"], ["http-01"]]
    tokens = {each["token"] for some in challenges for each in some}
    assert len(tokens) == 2
    assert all(len(token) >= 22 for token in tokens)
    assert "wildcard" not in found[0]


async def test_the_same_order_again_is_a_new_one_with_an_authorization_of_its_own(lab: Lab) -> None:
    client = await lab.client()
    first = await client.ready("again.localhost")
    second = await client.order("again.localhost")
    assert (second.status, second.body["status"]) == (201, "pending")
    assert second.location != first.location
    assert set(second.body["authorizations"]).isdisjoint(first.body["authorizations"])


async def test_repeated_names_are_one(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("a.localhost", "A.LOCALHOST", "a.localhost")
    assert len(order.body["identifiers"]) == len(order.body["authorizations"]) == 1


@pytest.mark.parametrize(
    ("identifiers", "error"),
    [
        (None, "malformed"),
        ([], "malformed"),
        ("a.localhost", "malformed"),
        ([1], "malformed"),
        ([{"type": "dns"}], "malformed"),
        ([{"type": 1, "value": "a.localhost"}], "malformed"),
        ([{"type": "ip", "value": "8.8.8.8"}], "rejectedIdentifier"),
        ([{"type": "email", "value": "a@b.test"}], "unsupportedIdentifier"),
        ([{"type": "dns", "value": ""}], "malformed"),
        ([{"type": "dns", "value": "127.0.0.1"}], "malformed"),
        ([{"type": "dns", "value": "2130706433"}], "malformed"),
        ([{"type": "dns", "value": "0x7f000001"}], "malformed"),
        ([{"type": "dns", "value": "127.1"}], "malformed"),
        ([{"type": "dns", "value": "::1"}], "malformed"),
        ([{"type": "dns", "value": "a.localhost."}], "malformed"),
        ([{"type": "dns", "value": ".localhost"}], "malformed"),
        ([{"type": "dns", "value": "a..localhost"}], "malformed"),
        ([{"type": "dns", "value": "a_b.localhost"}], "malformed"),
        ([{"type": "dns", "value": "-a.localhost"}], "malformed"),
        ([{"type": "dns", "value": "a b.localhost"}], "malformed"),
        ([{"type": "dns", "value": "a\u0000.localhost"}], "malformed"),
        ([{"type": "dns", "value": "m\u00fcller.localhost"}], "malformed"),
        ([{"type": "dns", "value": "\ud800.localhost"}], "malformed"),
        ([{"type": "dns", "value": "xn--a.localhost"}], "malformed"),
        ([{"type": "dns", "value": "xn--abc-.localhost"}], "malformed"),
        ([{"type": "dns", "value": "a" * 64 + ".localhost"}], "malformed"),
        ([{"type": "dns", "value": "a." * 125 + "localhost"}], "malformed"),
        ([{"type": "dns", "value": "user@a.localhost"}], "malformed"),
        ([{"type": "dns", "value": "a.localhost:80"}], "malformed"),
        ([{"type": "dns", "value": "a.localhost/x"}], "malformed"),
        ([{"type": "dns", "value": "*"}], "malformed"),
        ([{"type": "dns", "value": "a.*.localhost"}], "malformed"),
        ([{"type": "dns", "value": "*.*.localhost"}], "malformed"),
        ([{"type": "dns", "value": "*.a.localhost"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "www.google.com"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": f"n{n}.localhost"} for n in range(101)], "malformed"),
    ],
)
async def test_an_order_that_can_not_be_honoured_is_refused(lab: Lab, identifiers: Any, error: str) -> None:
    client = await lab.client()
    refused = await client.post(client.url("/new-order"), {"identifiers": identifiers})
    assert (refused.status, refused.error) == (400, error)
    assert (await client.post(f"{client.kid}/orders")).body == {"orders": []}
    (row,) = await lab.refusals()
    assert row.requester == f"account:{(client.kid or '').rpartition('/')[2]}"


async def test_every_identifier_at_fault_gets_its_subproblem(lab: Lab) -> None:
    client = await lab.client()
    forbidden = await client.order("www.google.com", "good.localhost", "bank.invalid")
    assert forbidden.error == "rejectedIdentifier"
    assert [each["identifier"]["value"] for each in forbidden.body["subproblems"]] == ["www.google.com", "bank.invalid"]
    assert "identifier" not in forbidden.body
    (row,) = await lab.refusals()
    assert row.problem
    assert [finding.location.file for finding in row.problem.findings] == ["policies/profiles/tls-server.yaml"] * 2
    mixed = [{"type": "dns", "value": "a_b"}, {"type": "email", "value": "a@b.test"}]
    compound = await client.post(client.url("/new-order"), {"identifiers": mixed})
    assert compound.error == "compound"
    assert len(compound.body["subproblems"]) == 2


@pytest.mark.parametrize("member", ["notBefore", "notAfter"])
async def test_times_that_can_not_be_honoured_exactly_are_refused(lab: Lab, member: str) -> None:
    client = await lab.client()
    payload = {"identifiers": [{"type": "dns", "value": "a.localhost"}], member: "2026-12-01T00:00:00Z"}
    refused = await client.post(client.url("/new-order"), payload)
    assert (refused.status, refused.error) == (400, "malformed")
    assert (await client.post(client.url("/new-order"), {**payload, member: None})).status == 201


@pytest.mark.parametrize(
    "label",
    [
        "xn--mller-kva",
        "xn--mgba3gch31f060k",  # a zero-width non-joiner: RFC 5892 appendix A.1
        "xn--ll-0ea",  # a middle dot between two l: appendix A.3
        "xn--vekv29fo7f",  # a katakana middle dot: appendix A.7
        "xn--strae-oqa",
    ],
)
async def test_an_a_label_is_a_host_name(lab: Lab, label: str) -> None:
    client = await lab.client()
    assert (await client.order(f"{label}.localhost")).status == 201


@pytest.mark.parametrize(
    "label",
    [
        "xn--0ba",  # a fraction
        "xn--bc-bz3n",  # a letter of full width
        "xn--sh-1b1n",  # a ligature
        "xn--a-xbb",  # not composed
        "xn--a-wbb",  # begins with a mark
        "xn--a1-uld",  # letters of both directions
        "xn--b-0ea",  # a middle dot elsewhere
    ],
)
async def test_what_idna2008_does_not_allow_is_no_a_label(lab: Lab, label: str) -> None:
    refused = await (await lab.client()).order(f"{label}.localhost")
    assert (refused.status, refused.error) == (400, "malformed")
    assert "A-label" in refused.body["detail"]


# --- authorizations and challenges -------------------------------------------------------------------------------


async def test_reading_a_challenge_starts_nothing(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("read.localhost")
    challenge = (await client.post(order.body["authorizations"][0])).body["challenges"][0]
    assert (await client.post(challenge["url"])).body == challenge
    assert (await client.post(order.location)).body["status"] == "pending"


async def test_a_validation_is_tried_again_and_the_failure_shown_meanwhile(lab: Lab) -> None:
    stubborn = Stubborn(failures=2)
    await lab.serve(lab.endpoint(challenges=(stubborn,)))
    client = await lab.client()
    order = await client.order("again.localhost")
    url = await answer(client, order)
    shown = await client.post(url)
    if shown.body["status"] == "pending":
        assert shown.body["challenges"][0]["error"]["type"].endswith(":connection")
        assert int(shown.headers["Retry-After"]) > 0
    done = await client.until(url, "valid", "invalid")
    assert done.body["status"] == "valid"
    assert done.body["challenges"][0]["validated"] == "2026-11-21T12:00:00Z"
    assert "error" not in done.body["challenges"][0]
    assert len(stubborn.tried) == 3
    assert (await client.post(order.location)).body["status"] == "ready"


async def test_a_validation_that_keeps_failing_makes_the_order_invalid_and_is_found_later(lab: Lab) -> None:
    await lab.serve(lab.endpoint(challenges=(Stubborn(failures=99),)))
    client = await lab.client()
    order = await client.order("never.localhost", "other.localhost")
    url = await answer(client, order)
    done = await client.until(url, "invalid")
    assert done.body["challenges"][0]["status"] == "invalid"
    assert done.body["challenges"][0]["error"]["detail"] == "never.localhost does not answer"
    lost = (await client.post(order.location)).body
    assert lost["status"] == "invalid"
    assert lost["error"]["subproblems"][0]["identifier"] == {"type": "dns", "value": "never.localhost"}
    refused = await client.finalize(order, make_csr("never.localhost", "other.localhost"))
    assert (refused.status, refused.error) == (403, "orderNotReady")
    messages = [row.problem.message for row in await lab.refusals() if row.problem]
    assert "never.localhost was not validated: never.localhost does not answer" in messages


async def test_a_failure_that_nothing_can_change_ends_at_once(lab: Lab) -> None:
    stubborn = Stubborn(failures=99, final=True)
    await lab.serve(lab.endpoint(challenges=(stubborn,)))
    client = await lab.client()
    url = await answer(client, await client.order("final.localhost"))
    await client.until(url, "invalid")
    assert len(stubborn.tried) == 1


async def test_answers_at_once_start_one_validation(lab: Lab) -> None:
    stubborn = Stubborn()
    await lab.serve(lab.endpoint(challenges=(stubborn,)))
    client = await lab.client()
    order = await client.order("once.localhost")
    url = order.body["authorizations"][0]
    challenge = (await client.post(url)).body["challenges"][0]
    await asyncio.gather(*(client.post(challenge["url"], {"keyAuthorization": "ignored"}) for _ in range(8)))
    await client.until(url, "valid")
    assert len(stubborn.tried) == 1
    again = await client.post(challenge["url"], {})
    assert (again.status, again.body["status"]) == (200, "valid")
    assert len(stubborn.tried) == 1


async def test_the_answer_to_a_challenge_tells_what_came_of_it(lab: Lab) -> None:
    await lab.serve(lab.endpoint(challenges=(Stubborn(),)))
    client = await lab.client()
    order = await client.order("told.localhost")
    challenge = (await client.post(order.body["authorizations"][0])).body["challenges"][0]
    answered = await client.post(challenge["url"], {})
    assert (answered.status, answered.body["status"]) == (200, "valid")
    assert "validated" in answered.body
    assert "Retry-After" not in answered.headers
    assert (await client.post(order.location)).body["status"] == "ready"


async def test_the_answer_to_a_challenge_tells_that_nothing_can_come_of_it(lab: Lab) -> None:
    await lab.serve(lab.endpoint(challenges=(Stubborn(failures=99, final=True),)))
    client = await lab.client()
    order = await client.order("hopeless.localhost")
    challenge = (await client.post(order.body["authorizations"][0])).body["challenges"][0]
    answered = await client.post(challenge["url"], {})
    assert (answered.status, answered.body["status"]) == (200, "invalid")
    assert answered.body["error"]["type"] == "urn:ietf:params:acme:error:connection"
    assert (await client.post(order.location)).body["status"] == "invalid"


async def test_the_answer_to_a_challenge_tells_when_the_next_attempt_will_have_been(lab: Lab) -> None:
    await lab.serve(lab.endpoint(challenges=(Stubborn(failures=1),), timing=replace(QUICK, retries=(30.0,))))
    client = await lab.client()
    order = await client.order("again.localhost")
    challenge = (await client.post(order.body["authorizations"][0])).body["challenges"][0]
    answered = await client.post(challenge["url"], {})
    assert (answered.status, answered.body["status"]) == (200, "processing")
    assert answered.body["error"]["detail"] == "again.localhost does not answer"
    assert answered.headers["Retry-After"] == "31"


async def test_the_answer_to_a_challenge_does_not_wait_for_an_attempt_that_takes_long(lab: Lab) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,), timing=replace(QUICK, settle=0.05)))
    client = await lab.client()
    order = await client.order("long.localhost")
    challenge = (await client.post(order.body["authorizations"][0])).body["challenges"][0]
    answered = await client.post(challenge["url"], {})
    assert (answered.status, answered.body["status"], len(held.tried)) == (200, "processing", 1)
    assert int(answered.headers["Retry-After"]) > 0


async def test_the_answer_to_a_challenge_whose_authorization_is_given_back_meanwhile_says_so(lab: Lab) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,), timing=replace(QUICK, settle=30.0)))
    client = await lab.client()
    url = (await client.order("regret.localhost")).body["authorizations"][0]
    challenge = (await client.post(url)).body["challenges"][0]
    answering = asyncio.create_task(client.post(challenge["url"], {}))
    await held.begun.wait()
    await client.post(url, {"status": "deactivated"})
    answered = await answering
    assert (answered.status, "Retry-After" in answered.headers) == (200, False)


async def test_reading_a_challenge_waits_for_the_attempt_that_is_going_on(lab: Lab) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,)))
    client = await lab.client()
    order = await client.order("soon.localhost")
    challenge = (await client.post(order.body["authorizations"][0])).body["challenges"][0]
    answering = asyncio.create_task(client.post(challenge["url"], {}))
    await held.begun.wait()
    reading = asyncio.create_task(client.post(challenge["url"]))
    held.open.set()
    assert (await reading).body["status"] == "valid"
    assert (await answering).body["status"] == "valid"


async def test_asking_again_makes_the_next_attempt_come_sooner(lab: Lab) -> None:
    stubborn = Stubborn(failures=1)
    await lab.serve(lab.endpoint(challenges=(stubborn,), timing=replace(QUICK, retries=(30.0,), settle=0.0)))
    client = await lab.client()
    order = await client.order("hurry.localhost")
    url = await answer(client, order)
    for _ in range(100):
        if (await client.post(url)).body["challenges"][0].get("error"):
            break
    challenge = (await client.post(url)).body["challenges"][0]
    await client.post(challenge["url"], {})
    async with asyncio.timeout(10):
        await client.until(url, "valid")


async def test_a_validation_survives_a_restart(lab: Lab) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,)))
    client = await lab.client()
    url = await answer(client, await client.order("survive.localhost"))
    other = Stubborn()
    await lab.serve(lab.endpoint(challenges=(other,)))
    lab.now[0] += timedelta(seconds=3)
    done = await client.until(url, "valid")
    assert done.body["status"] == "valid"
    assert other.tried == held.tried


async def test_a_changed_account_key_does_not_change_what_is_expected(lab: Lab) -> None:
    stubborn = Stubborn(failures=1)
    await lab.serve(lab.endpoint(challenges=(stubborn,)))
    client = await lab.client()
    url = await answer(client, await client.order("rollover.localhost"))
    before, new = client.signer.thumbprint, Signer()
    change = f"{ORIGIN}/acme/key-change"
    inner = {"account": client.kid, "oldKey": client.signer.jwk}
    signed = new.sign(json_bytes(inner), jwk=new.jwk, url=change)
    assert (await client.post(change, signed)).status == 200
    client.signer = new
    await client.until(url, "valid")
    assert {text.rpartition(".")[2] for text in stubborn.tried} == {before}


async def test_an_authorization_can_be_given_back(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("back.localhost")
    url = order.body["authorizations"][0]
    assert (await client.post(url, {"status": "valid"})).status == 400
    assert (await client.post(url, {})).status == 400
    given = await client.post(url, {"status": "deactivated"})
    assert (given.status, given.body["status"]) == (200, "deactivated")
    assert (await client.post(url, {"status": "deactivated"})).body == given.body
    lost = (await client.post(order.location)).body
    assert (lost["status"], lost["error"]["detail"]) == ("invalid", "an authorization of the order was given back")
    (which,) = lost["error"]["subproblems"]
    assert which["identifier"] == {"type": "dns", "value": "back.localhost"}
    assert (await client.finalize(order, make_csr("back.localhost"))).error == "orderNotReady"


async def test_an_authorization_given_back_during_a_validation_stays_given_back(lab: Lab) -> None:
    held = Stubborn()
    held.open.clear()
    await lab.serve(lab.endpoint(challenges=(held,), timing=replace(QUICK, settle=0.05)))
    client = await lab.client()
    url = await answer(client, await client.order("race.localhost"))
    await client.post(url, {"status": "deactivated"})
    held.open.set()
    await asyncio.sleep(0.1)
    assert (await client.post(url)).body["status"] == "deactivated"


async def test_a_given_back_authorization_does_not_touch_an_issued_order(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("issued.localhost")
    await client.finalize(order, make_csr("issued.localhost"))
    await client.post(order.body["authorizations"][0], {"status": "deactivated"})
    assert (await client.post(order.location)).body["status"] == "valid"


async def test_what_is_not_finished_in_a_day_expires(lab: Lab) -> None:
    client = await lab.client()
    pending, ready = await client.order("pending.localhost"), await client.ready("ready.localhost")
    lab.now[0] += timedelta(hours=24)
    for order in (pending, ready):
        late = (await client.post(order.location)).body
        assert (late["status"], late["error"]["detail"]) == ("invalid", "the order has expired: place a new one")
        assert (await client.post(order.body["authorizations"][0])).body["status"] == "expired"
        refused = await client.finalize(order, make_csr("ready.localhost"))
        assert (refused.status, refused.error) == (403, "orderNotReady")
    challenge = (await client.post(pending.body["authorizations"][0])).body["challenges"][0]
    assert (await client.post(challenge["url"], {})).body["status"] == "pending"


# --- finalize ----------------------------------------------------------------------------------------------------


async def test_finalize_before_every_name_is_validated_is_refused(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("early.localhost")
    refused = await client.finalize(order, make_csr("early.localhost"))
    assert (refused.status, refused.error) == (403, "orderNotReady")
    assert lab.issuer.issued == []


CSRS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "PKCS"),
    "garbage": (b"\x30\x03\x02\x01\x00", ""),
    "trailing octets": (make_csr("csr.localhost") + b"\0", ""),
    "another name": (make_csr("other.localhost"), "names"),
    "one name more": (make_csr("csr.localhost", "more.localhost"), "names"),
    "no name": (make_csr(), "names"),
    "a wildcard": (make_csr("*.localhost"), "names"),
    "another common name": (make_csr("csr.localhost", cn="other.localhost"), "names"),
    "a common name that is no name": (make_csr("csr.localhost", cn="My Server"), "common name"),
    "an address": (
        make_csr("csr.localhost", extra=(x509.IPAddress(ip_address("10.0.0.1")),)),
        "names",
    ),
    "a mail address": (make_csr("csr.localhost", extra=(x509.RFC822Name("root@csr.localhost"),)), "types"),
    "a URI": (make_csr("csr.localhost", extra=(x509.UniformResourceIdentifier("https://csr.localhost"),)), "types"),
    "a small key": (make_csr("csr.localhost", key=rsa.generate_private_key(65537, 1024)), ""),  # noqa: S505 - to be refused
}


@pytest.mark.parametrize(("csr", "why"), CSRS.values(), ids=CSRS.keys())
async def test_a_bad_csr_is_refused_and_the_order_stays_ready_for_a_good_one(lab: Lab, csr: bytes, why: str) -> None:
    client = await lab.client()
    order = await client.ready("csr.localhost")
    refused = await client.finalize(order, csr)
    assert (refused.status, refused.error) == (400, "badCSR")
    assert why in refused.body["detail"] or not csr
    assert (await client.post(order.location)).body["status"] == "ready"
    rows = await lab.refusals()
    assert [row.transaction for row in rows] == [order.location.rpartition("/")[2]]
    assert (await client.finalize(order, make_csr("csr.localhost"))).body["status"] == "valid"


async def test_who_was_answered_processing_reads_in_the_ready_order_what_was_wrong_with_the_csr(lab: Lab) -> None:
    await lab.serve(lab.endpoint(timing=replace(QUICK, finalize=0.0)))
    client = await lab.client()
    order = await client.ready("csr.localhost")
    assert (await client.finalize(order, CSRS["a small key"][0])).body["status"] == "processing"
    back = await client.until(order.location, "ready")
    assert back.body["error"]["type"].endswith(":badCSR")
    assert "key" in back.body["error"]["detail"]
    await client.finalize(order, make_csr("csr.localhost"))
    done = await client.until(order.location, "valid", "invalid")
    assert (done.body["status"], "error" in done.body) == ("valid", False)


async def test_an_order_that_expired_says_so_whatever_was_wrong_with_a_csr_before(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("csr.localhost")
    assert (await client.finalize(order, CSRS["a small key"][0])).error == "badCSR"
    lab.now[0] += timedelta(hours=24)
    late = (await client.post(order.location)).body
    assert (late["status"], late["error"]["detail"]) == ("invalid", "the order has expired: place a new one")


async def test_a_csr_has_one_common_name_at_most_though_both_are_in_the_order(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("a.localhost", "b.localhost")
    both = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name) for name in ("a.localhost", "b.localhost")]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(both))
    csr = builder.sign(new_key(), SHA256()).public_bytes(Encoding.DER)
    refused = await client.finalize(order, csr)
    assert (refused.status, refused.error) == (400, "badCSR")
    assert refused.body["detail"] == "the CSR has more than one common name"


@pytest.mark.parametrize("csr", ["AAA=", "A+A/", 1, None])
async def test_a_csr_that_is_not_base64url_is_malformed(lab: Lab, csr: Any) -> None:
    client = await lab.client()
    order = await client.ready("base.localhost")
    assert (await client.post(order.body["finalize"], {"csr": csr})).error == "malformed"


async def test_an_order_is_finalized_for_one_csr_alone(lab: Lab) -> None:
    """Section 7.4: finalize is for once; the same again is what got lost."""
    client = await lab.client()
    order = await client.ready("once.localhost")
    first, second = make_csr("once.localhost"), make_csr("once.localhost")
    done = await client.finalize(order, first)
    assert done.body["status"] == "valid"
    refused = await client.finalize(order, second)
    assert (refused.status, refused.error) == (403, "orderNotReady")
    assert (await client.finalize(order, first)).body == done.body
    assert len(lab.issuer.issued) == 1


async def test_the_common_name_alone_names_the_order(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("cn.localhost")
    assert (await client.finalize(order, make_csr(cn="cn.localhost"))).body["status"] == "valid"


async def test_a_ca_that_does_not_answer_is_a_503_and_the_order_can_be_finalized_again(lab: Lab) -> None:
    lab.issuer.failures.append(IssuerUnavailable("down"))
    client = await lab.client()
    order = await client.ready("down.localhost")
    csr = make_csr("down.localhost")
    refused = await client.finalize(order, csr)
    assert (refused.status, refused.error) == (503, "serverInternal")
    assert int(refused.headers["Retry-After"]) > 0
    assert "down" not in refused.body["detail"].replace("down.localhost", "")
    assert (await client.post(order.location)).body["status"] == "ready"
    assert (await client.finalize(order, csr)).body["status"] == "valid"


async def test_a_ca_that_refuses_makes_the_order_invalid(lab: Lab) -> None:
    lab.issuer.failures.append(IssuerRefused("never"))
    client = await lab.client()
    order = await client.ready("no.localhost")
    refused = await client.finalize(order, make_csr("no.localhost"))
    assert (refused.status, refused.error) == (500, "serverInternal")
    lost = (await client.post(order.location)).body
    assert (lost["status"], lost["error"]["status"]) == ("invalid", 500)


async def test_a_slow_ca_makes_the_order_processing_until_it_is_done(lab: Lab) -> None:
    await lab.serve(lab.endpoint(timing=replace(QUICK, finalize=0.05)))
    lab.issuer.open.clear()
    client = await lab.client()
    order = await client.ready("slow.localhost")
    csr = make_csr("slow.localhost")
    waiting = await client.finalize(order, csr)
    assert (waiting.status, waiting.body["status"], waiting.headers["Retry-After"]) == (200, "processing", "5")
    assert "certificate" not in waiting.body
    assert (await client.post(order.location)).headers["Retry-After"] == "5"
    assert (await client.finalize(order, csr)).body["status"] == "processing"
    assert (await client.post(order.location.replace("/order/", "/certificate/"))).status == 404
    lab.issuer.open.set()
    assert (await client.until(order.location, "valid")).body["certificate"]
    assert len(lab.issuer.issued) == 1


async def test_an_order_left_processing_by_a_dead_process_is_finished(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("crash.localhost")
    identifier, csr = order.location.rpartition("/")[2], make_csr("crash.localhost")
    await lab.store.write(lambda c: orders.begin_processing(c, identifier, OrderStatus.PROCESSING, csr))
    await lab.serve()
    assert (await client.until(order.location, "valid")).body["certificate"]
    again = await client.finalize(order, csr)
    assert again.body["status"] == "valid"
    assert len(lab.issuer.issued) == 1


# --- whose it is ---------------------------------------------------------------------------------------------------


async def test_foreign_and_unknown_objects_can_not_be_told_apart(lab: Lab) -> None:
    owner, thief = await lab.client(), await lab.client()
    order = await owner.ready("mine.localhost")
    authorization = order.body["authorizations"][0]
    challenge = (await owner.post(authorization)).body["challenges"][0]["url"]
    certificate = order.location.replace("/order/", "/certificate/")
    csr = {"csr": b64(make_csr("mine.localhost"))}
    calls: list[tuple[str, object]] = [
        (order.location, b""),
        (order.body["finalize"], csr),
        (authorization, b""),
        (authorization, {"status": "deactivated"}),
        (challenge, b""),
        (challenge, {}),
        (certificate, b""),
    ]
    for url, payload in calls:
        foreign = await thief.post(url, payload)
        known = next(each for each in (order.location, authorization) if each.rpartition("/")[2] in url)
        unknown = await thief.post(url.replace(known.rpartition("/")[2], "A" * 22), payload)
        assert (foreign.status, unknown.status, foreign.body) == (404, 404, unknown.body), url
    assert (await owner.post(order.location)).body["status"] == "ready"
    assert (await owner.finalize(order, make_csr("mine.localhost"))).body["status"] == "valid"
    assert (await thief.post(certificate)).status == 404
    assert (await owner.post(challenge.replace("http-01", "dns-01"), {})).status == 404
    assert (await owner.post(challenge.replace("http-01", "dns-01"))).status == 404


async def test_names_that_swallow_everything_do_not_keep_other_accounts_from_being_validated(lab: Lab) -> None:
    hole = Hole()
    await lab.serve(lab.endpoint(challenges=(hole,), timing=replace(QUICK, settle=0.0)))
    greedy, modest = await lab.client(), await lab.client()
    swallowed = await greedy.order(*(f"hole{number}.localhost" for number in range(40)))
    for url in swallowed.body["authorizations"]:
        await greedy.post((await greedy.post(url)).body["challenges"][0]["url"], {})
    order = await modest.order(*(f"fine{number}.localhost" for number in range(3)))
    for url in order.body["authorizations"]:
        await modest.post((await modest.post(url)).body["challenges"][0]["url"], {})
        await modest.until(url, "valid")
    assert 0 < hole.held <= 32
    hole.open.set()
    for url in swallowed.body["authorizations"]:
        await greedy.until(url, "valid")
    assert hole.held == 40
