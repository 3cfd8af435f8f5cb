"""Outcomes as problem documents, and refusals as reasons of the record."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decision import Finding, Location
from server.acme.codec import requests
from server.acme.codec.replies import encode_problem
from server.acme.messages import ErrorType, Identifier, ProblemDocument, Rejected, Subproblem
from server.acme.problems import from_outcome, reason_of
from server.outcome import Problem, Reason

HERE = Location("tls-server.yaml", 3, 5)
NAME = Finding("names.dns", "this DNS name is not allowed: x.test", HERE, "dns:x.test")
KEY = Finding("key.allowed", "this key is too short", HERE, "rsa:1024")

EXPECTED = {
    Reason.MALFORMED: ("badCSR", 400),
    Reason.TOO_LARGE: ("badCSR", 400),
    Reason.BAD_ALGORITHM: ("badCSR", 400),
    Reason.BAD_PROOF: ("badCSR", 400),
    Reason.STALE: ("badCSR", 400),
    Reason.UNAUTHENTICATED: ("unauthorized", 403),
    Reason.BAD_CREDENTIALS: ("unauthorized", 403),
    Reason.CERTIFICATE_REJECTED: ("unauthorized", 403),
    Reason.POLICY: ("unauthorized", 403),
    Reason.NOT_RENEWABLE: ("unauthorized", 403),
    Reason.UNKNOWN_REQUEST: ("malformed", 404),
    Reason.CONFLICT: ("orderNotReady", 403),
    Reason.RATE_LIMITED: ("rateLimited", 429),
    Reason.ISSUER_REFUSED: ("serverInternal", 500),
    Reason.ISSUER_UNAVAILABLE: ("serverInternal", 503),
    Reason.STORE_UNAVAILABLE: ("serverInternal", 503),
    Reason.INTERNAL: ("serverInternal", 500),
}


REGISTERED = {
    *("accountDoesNotExist", "alreadyRevoked", "badCSR", "badNonce", "badPublicKey", "badRevocationReason"),
    *("badSignatureAlgorithm", "caa", "compound", "connection", "dns", "externalAccountRequired"),
    *("incorrectResponse", "invalidContact", "malformed", "orderNotReady", "rateLimited", "rejectedIdentifier"),
    *("serverInternal", "tls", "unauthorized", "unsupportedContact", "unsupportedIdentifier", "userActionRequired"),
}
"""RFC 8555 section 6.7."""


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_problem_and_causes_stay_inside(reason: Reason) -> None:
    document = from_outcome(Problem(reason, "One sentence.", detail="the secret cause", retry_after=7))
    assert (document.type, document.http_status) == EXPECTED[reason]
    text = encode_problem(document).decode()
    assert "One sentence." in text
    assert "secret" not in text


def test_forbidden_names_are_told_one_by_one() -> None:
    document = from_outcome(Problem(Reason.POLICY, "denied", (NAME, NAME)))
    assert document.type == "rejectedIdentifier"
    assert [each.identifier for each in document.subproblems] == [Identifier("dns", "x.test")] * 2
    assert document.detail == NAME.message


def test_what_is_wrong_with_the_csr_is_told_together() -> None:
    document = from_outcome(Problem(Reason.POLICY, "denied", (NAME, KEY)))
    assert (document.type, document.subproblems) == ("badCSR", ())
    assert document.detail == f"{NAME.message}; {KEY.message}"
    assert "rsa:1024" not in encode_problem(document).decode()


def test_nothing_is_invented_in_the_namespace_of_acme() -> None:
    by_others = {"alreadyReplaced", "invalidProfile", "badAttestationStatement"}  # RFC 9773 and two drafts
    assert {each.value for each in ErrorType} <= REGISTERED | by_others


@pytest.mark.parametrize("error", ErrorType)
def test_every_refusal_has_a_reason_for_the_record(error: ErrorType) -> None:
    assert reason_of(ProblemDocument(error, "x")) in Reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [(0, Reason.MALFORMED), (404, Reason.UNKNOWN_REQUEST), (409, Reason.CONFLICT), (413, Reason.TOO_LARGE)],
)
def test_the_status_tells_kinds_of_malformed_apart(status: int, reason: Reason) -> None:
    assert reason_of(ProblemDocument(ErrorType.MALFORMED, "x", status)) is reason


def test_absent_members_are_absent() -> None:
    assert json.loads(encode_problem(ProblemDocument(ErrorType.MALFORMED, "x"))) == {
        "type": "urn:ietf:params:acme:error:malformed",
        "detail": "x",
        "status": 400,
    }
    subproblem = Subproblem(ErrorType.DNS, "y", Identifier("dns", "z.test"))
    full = json.loads(encode_problem(ProblemDocument(ErrorType.COMPOUND, "x", subproblems=(subproblem,))))
    assert full["subproblems"] == [
        {"type": "urn:ietf:params:acme:error:dns", "detail": "y", "identifier": {"type": "dns", "value": "z.test"}}
    ]


_DECODERS = (
    requests.decode_new_account,
    requests.decode_account_update,
    requests.decode_new_order,
    requests.decode_finalize,
    requests.decode_challenge_response,
    requests.decode_deactivation,
    requests.decode_revocation,
    requests.decode_key_change,
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["type", "value", "kty", "dns"]), inner, max_size=4)
    ),
    max_leaves=10,
)
_PAYLOADS = st.dictionaries(
    st.sampled_from(
        ["contact", "identifiers", "csr", "certificate", "reason", "status", "account", "oldKey", "onlyReturnExisting"]
    ),
    _JSON,
).map(lambda members: json.dumps(members).encode())


@pytest.mark.parametrize("decode", _DECODERS, ids=lambda function: function.__name__)
@given(payload=st.binary(max_size=200) | _PAYLOADS)
def test_any_payload_is_a_request_or_rejected(decode: object, payload: bytes) -> None:
    assert callable(decode)
    try:
        decode(payload)
    except Rejected as rejected:
        json.loads(encode_problem(rejected.document))
