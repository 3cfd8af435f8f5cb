from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from policies.decision import Finding, Location
from server.cms.certificates import read_bag_certificate
from server.outcome import TEMPORARY, Problem, Reason
from server.scep.messages import FailInfo, Failure, Unavailable
from server.scep.problems import describe_signer, to_reply
from tests.fakes.manufacturer import make
from tests.server.scep.device import rsa_key, self_signed

WHERE = Location("p.yaml", 1, 1)


@pytest.mark.parametrize("reason", sorted(set(Reason) - TEMPORARY))
def test_a_final_refusal_is_a_failure_with_the_message(reason: Reason) -> None:
    reply = to_reply(Problem(reason, "why", detail="secret"))
    assert isinstance(reply, Failure)
    assert reply.text == "why"


@pytest.mark.parametrize("reason", sorted(TEMPORARY))
def test_a_temporary_refusal_is_said_by_http_so_that_clients_try_again(reason: Reason) -> None:
    reply = to_reply(Problem(reason, "why", retry_after=7))
    assert isinstance(reply, Unavailable)
    assert reply.status in {429, 500, 503}
    assert reply.retry_after == 7


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.BAD_ALGORITHM, FailInfo.BAD_ALG),
        (Reason.BAD_PROOF, FailInfo.BAD_MESSAGE_CHECK),
        (Reason.UNKNOWN_REQUEST, FailInfo.BAD_CERT_ID),
        (Reason.POLICY, FailInfo.BAD_REQUEST),
        (Reason.STALE, FailInfo.BAD_TIME),
    ],
)
def test_the_code_says_what_kind_of_failure_it_is(reason: Reason, code: FailInfo) -> None:
    reply = to_reply(Problem(reason, "why"))
    assert isinstance(reply, Failure)
    assert reply.fail_info is code


def test_findings_are_told_by_their_messages_alone_and_the_text_stays_short() -> None:
    findings = tuple(Finding(f"rule.{n}", str(n) * 300, WHERE, "value", "limit") for n in (1, 1, 2, 3))
    reply = to_reply(Problem(Reason.POLICY, "refused", findings))
    assert isinstance(reply, Failure)
    assert reply.text.startswith(f"refused; {'1' * 300}; 222")
    assert len(reply.text) == 512
    assert reply.text.endswith("…")


def test_the_signer_of_a_refused_request_is_named_in_the_record() -> None:
    signer = read_bag_certificate(der.read(self_signed(rsa_key())))
    assert describe_signer(signer, ours=False) == "self-signed:1"
    assert describe_signer(None, ours=False) is None


def test_the_certificate_of_another_ca_has_no_name_of_one_of_ours_in_the_record() -> None:
    issued = make("pump", make("Another CA", ca=True), serial=0xABC).certificate
    signer = read_bag_certificate(der.read(issued.public_bytes(Encoding.DER)))
    assert describe_signer(signer, ours=False) == "certificate:?.abc"
    assert describe_signer(signer, ours=True) == "certificate:abc"
