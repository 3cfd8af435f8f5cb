"""Every reason has its status, and the text says what the requester may know and no more."""

from __future__ import annotations

import pytest

from policies.decision import Finding, Location
from server.est import problems
from server.outcome import TEMPORARY, Problem, Reason

FINDING = Finding("san.dns", "bank.invalid is not allowed", Location("iot.yaml", 7, 3), "bank.invalid", "**.example")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_a_client_or_server_error(reason: Reason) -> None:
    assert 400 <= problems.status(reason) <= 599


@pytest.mark.parametrize("reason", Reason)
def test_only_what_may_work_later_is_a_status_of_the_5xx_or_429(reason: Reason) -> None:
    assert (problems.status(reason) >= 500 or problems.status(reason) == 429) == (reason in TEMPORARY)


def test_a_refusal_by_policy_names_every_finding_but_no_limit() -> None:
    other = Finding("key.size", "the key is too small", Location("iot.yaml", 9, 3), "rsa:1024", "rsa:2048")
    joined = f"{FINDING.message} {other.message}"  # what records have in one line is not said twice
    reply = problems.reply(Problem(Reason.POLICY, joined, (FINDING, other)), realm="est/default")

    assert reply.status == 403
    assert dict(reply.headers)["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.body.decode() == (
        "The policy refuses this request:\n- bank.invalid is not allowed [san.dns]\n- the key is too small [key.size]\n"
    )


def test_the_cause_of_an_internal_fault_stays_inside() -> None:
    reply = problems.reply(Problem(Reason.INTERNAL, "A fault.", detail="/var/lib/ca.key is gone"), realm=None)

    assert reply.status == 500
    assert reply.body == b"A fault.\n"


@pytest.mark.parametrize("reason", [Reason.UNAUTHENTICATED, Reason.BAD_CREDENTIALS])
def test_a_401_offers_http_basic_and_is_empty(reason: Reason) -> None:
    reply = problems.reply(Problem(reason, "Authenticate."), realm="est/plant")

    assert reply.status == 401
    assert dict(reply.headers)["WWW-Authenticate"] == 'Basic realm="est/plant"'
    assert reply.body == b""


def test_a_certificate_that_does_not_stand_is_a_401_where_a_password_would_do_instead() -> None:
    problem = Problem(Reason.CERTIFICATE_REJECTED, "The certificate is revoked.")

    assert problems.reply(problem, realm="est/plant", password_would_do=True).status == 401
    assert problems.reply(problem, realm="est/plant", password_would_do=False).status == 403
    assert problems.reply(problem, realm=None, password_would_do=True) == problems.reply(problem, realm=None)


def test_where_no_password_is_accepted_the_401_becomes_a_403_with_a_text() -> None:
    reply = problems.reply(Problem(Reason.UNAUTHENTICATED, "Present a certificate."), realm=None)

    assert reply.status == 403
    assert "WWW-Authenticate" not in dict(reply.headers)
    assert reply.body == b"Present a certificate.\n"


def test_no_password_is_asked_for_where_a_certificate_must_come_first() -> None:
    reply = problems.reply(problems.CERTIFICATE_FIRST, realm="est/plant", password_would_do=True)

    assert reply.status == 403
    assert b"TLS client certificate" in reply.body


@pytest.mark.parametrize(("seconds", "field"), [(30, "30"), (None, None)])
def test_retry_after_is_sent_where_it_is_known(seconds: int | None, field: str | None) -> None:
    reply = problems.reply(Problem(Reason.ISSUER_UNAVAILABLE, "Later.", retry_after=seconds), realm=None)

    assert reply.status == 503
    assert dict(reply.headers).get("Retry-After") == field


def test_a_text_that_utf_8_can_not_say_is_still_sent() -> None:
    assert problems.explanation(Problem(Reason.POLICY, "\ud800")) == b"?\n"


def test_a_wrong_media_type_is_answered_with_the_right_one() -> None:
    reply = problems.reply(problems.MEDIA_TYPE, realm="est/default")

    assert reply.status == 415
    assert dict(reply.headers)["Accept"] == "application/pkcs10"
    assert reply.body.startswith(b"The Content-Type must be application/pkcs10")


def test_a_wrong_method_is_answered_with_the_right_ones() -> None:
    reply = problems.method_not_allowed(("GET", "HEAD"))

    assert reply.status == 405
    assert dict(reply.headers)["Allow"] == "GET, HEAD"
    assert b"GET, HEAD" in reply.body


def test_what_is_not_there_is_a_404_with_a_text() -> None:
    reply = problems.not_found()

    assert reply.status == 404
    assert reply.body.startswith(b"There is no such EST operation")
