"""Envelopes: which key opens them, and that every way to fail looks the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca.ceremony import make_ra_certificate
from server.cms.passwords import Password
from server.scep.codec import read_pki_message
from server.scep.gate import authenticate
from server.scep.keyring import Keyring
from server.scep.messages import accepted
from server.scep.opening import Envelopes, Operation
from server.scep.problems import EC_REQUESTER, UNREADABLE, Rejected
from server.scep.ra import RaKey
from tests.server.scep.device import NOW, Message, csr, enrollment, envelope, rsa_key, self_signed
from tests.server.scep.lab import ISSUING, _named

if TYPE_CHECKING:
    from server.scep.gate import Authentic, Sealed
    from tests.server.scep.lab import Lab

ACCEPTED = accepted("modern", {})
EC_TOO = replace(ACCEPTED, ec_requesters=True)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def envelopes(lab: Lab) -> Envelopes:
    return Envelopes(Keyring(lab.ra), EC_TOO, bytes)


def authentic(message: Message) -> Authentic:
    return authenticate(read_pki_message(message.encode()), EC_TOO)


def opened(lab: Lab, message: Message) -> tuple[Operation, Sealed]:
    found = authentic(message)
    return Operation(found.message, None, lab.ra), envelopes(lab).sealed(found)


async def test_the_request_comes_with_and_without_its_challenge_and_stays_without(lab: Lab) -> None:
    operation, sealed = opened(lab, enrollment(lab.ra_der))
    sent, bare = await envelopes(lab).request(operation, sealed)
    assert (sent.challenge_password, bare.challenge_password) == ("sesame", None)
    assert b"sesame" not in bare.der
    assert operation.csr is bare
    assert operation.sealed is None  # nothing new is known of whom to reply to


@pytest.mark.parametrize("change", ["padding", "content", "key"])
async def test_every_way_to_fail_gives_the_same_answer_and_only_the_record_knows_which(lab: Lab, change: str) -> None:
    content = envelope(b"no request" if change == "content" else csr(rsa_key()), lab.ra_der)
    if change == "padding":
        content = content[:-1] + bytes((content[-1] ^ 1,))
    operation, sealed = opened(lab, enrollment(lab.ra_der, content=content))
    if change == "key":
        wrapped = sealed.wrapped.encrypted_key
        sealed = sealed._replace(wrapped=sealed.wrapped._replace(encrypted_key=wrapped[:-1] + b"\0"))
    with pytest.raises(Rejected) as raised:
        await envelopes(lab).request(operation, sealed)
    problem = raised.value.problem
    assert (problem.reason, problem.message) == (UNREADABLE.reason, UNREADABLE.message)
    assert problem.detail
    assert change != "content" or problem.detail.startswith("certification request: ")
    assert operation.csr is None


@pytest.mark.parametrize("challenge", ["sesame", "", None])
async def test_where_the_signers_key_can_not_decrypt_the_challenge_is_whom_to_reply_to(
    lab: Lab, challenge: str | None
) -> None:
    content = envelope(csr(EC_KEY, "device-1.test", challenge), lab.ra_der)
    operation, sealed = opened(lab, Message(content, EC_KEY, self_signed(EC_KEY)))
    if not challenge:
        with pytest.raises(Rejected) as raised:
            await envelopes(lab).request(operation, sealed)
        assert raised.value.problem is EC_REQUESTER
        return
    await envelopes(lab).request(operation, sealed)
    assert operation.sealed is not None
    assert isinstance(operation.sealed.reply_to, Password)


async def test_an_envelope_that_names_no_key_here_may_be_for_what_another_process_has_renewed(lab: Lab) -> None:
    made = make_ra_certificate(ISSUING, _named("RA"), now=NOW, key=rsa_key("next ra"))
    renewed = RaKey(made.certificate, rsa_key("next ra"))
    successors, asked = [renewed, None], []

    def follow(key: RaKey) -> RaKey | None:
        asked.append(key)
        return successors[len(asked) - 1]

    keys = Keyring(lab.ra)
    keys.follow = follow
    here = Envelopes(keys, ACCEPTED, bytes)
    assert here.sealed(authentic(enrollment(lab.ra_der))).ours is lab.ra.addressed
    assert asked == []
    assert here.sealed(authentic(enrollment(renewed.addressed.der))).ours is renewed.addressed
    assert asked == [lab.ra, renewed]
