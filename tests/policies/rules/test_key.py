from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.keys import POST_QUANTUM
from policies.decision import Approved
from policies.document import DocumentErrors
from policies.engine import decide
from policies.profile import Ceilings
from policies.request import NO_FACTS
from tests.fakes.policy import approved, judge, plan, question, rules

if TYPE_CHECKING:
    from policies.ruling import Question


@pytest.mark.parametrize("key", ["ec:P-256", "rsa:2048", "rsa:3072", "rsa:4096"])
def test_a_key_on_the_list_is_taken(key: str) -> None:
    assert plan(judge(key=key)).spki


@pytest.mark.parametrize("key", ["ec:P-384", "rsa:1024", "rsa:8192", "ed25519"])
def test_a_key_that_is_not_on_the_list_is_denied(key: str) -> None:
    assert rules(judge(key=key)) == {"key.allowed"}


@pytest.mark.parametrize("kind", POST_QUANTUM)
def test_a_post_quantum_key_is_taken_where_it_is_listed_for_what_it_can_do(kind: str) -> None:
    assert rules(judge(key=kind)) == {"key.allowed"}
    usage = "keyEncipherment" if "kem" in kind else "digitalSignature"
    other = "digitalSignature" if "kem" in kind else "keyEncipherment"
    assert approved(judge({"key": {"allowed": [kind]}, "key_usage": {"forced_for": {kind: [usage]}}}, key=kind))
    with pytest.raises(DocumentErrors, match=f"{other} is not for {kind} keys"):
        judge({"key": {"allowed": [kind]}, "key_usage": {"forced_for": {kind: [other]}}}, key=kind)


def test_ed25519_is_taken_where_it_is_listed() -> None:
    assert approved(judge({"key": {"allowed": ["ed25519"]}}, key="ed25519"))


def test_the_ceiling_denies_what_a_profile_would_take() -> None:
    asked = question({}, key="rsa:2048")._replace(ceilings=Ceilings(timedelta(days=825), min_rsa_bits=3072))
    assert rules(decide(asked)) == {"key.ceiling"}


def weak_question(**key: object) -> Question:
    asked = question({"key": {"allowed": ["rsa:2048"], **key}}, key="rsa:2048")
    weak = rsa.RSAPublicNumbers(65537, (1 << 2047) + 1).public_key()
    spki = weak.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return asked._replace(request=replace(asked.request, csr=replace(asked.request.csr, key=weak, spki=spki)))


def test_a_weak_key_is_denied() -> None:
    assert rules(decide(weak_question())) == {"key.weak"}


def test_a_weak_key_may_be_reported_only() -> None:
    decision = decide(weak_question(weak="report"))
    assert isinstance(decision, Approved)
    assert {shadow.rule for shadow in decision.trace.shadows} == {"key.weak"}


def test_a_key_that_the_profile_blocks_is_denied() -> None:
    asked = question({})
    digest = sha256(asked.request.csr.spki).hexdigest()
    assert rules(judge({"key": {"allowed": ["ec:P-256"], "blocked": [digest.upper()]}})) == {"key.blocked"}
    assert approved(judge({"key": {"allowed": ["ec:P-256"], "blocked": ["0" * 64]}}))
    with pytest.raises(DocumentErrors, match="no SHA-256 of a public key"):
        judge({"key": {"allowed": ["ec:P-256"], "blocked": ["cafe"]}})


def test_a_key_that_the_server_blocks_is_denied() -> None:
    asked = question({})
    blocked = frozenset({sha256(asked.request.csr.spki).hexdigest()})
    ceilings = Ceilings(timedelta(days=825), blocked_keys=blocked)
    assert rules(decide(asked._replace(ceilings=ceilings))) == {"key.weak"}


def test_a_key_of_another_client_is_denied_where_the_profile_says_so() -> None:
    own = {"key": {"allowed": ["ec:P-256"], "reuse": "same-client"}}
    assert approved(judge(own))
    assert rules(judge(own, key_holders=["password:other"])) == {"key.reuse"}
    assert approved(judge({}, key_holders=["password:other"]))


def test_a_key_that_nobody_looked_up_is_denied() -> None:
    asked = question({"key": {"allowed": ["ec:P-256"], "reuse": "same-client"}})
    assert rules(decide(asked._replace(request=replace(asked.request, facts=NO_FACTS)))) == {"key.reuse"}
