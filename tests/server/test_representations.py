"""What holds a secret does not show it where it is written down: in errors, in their tracebacks, by mistake."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509

from policies.request import EndpointName
from server.cms.algorithms import Cipher
from server.cms.passwords import Password
from server.cms.recipients import SharedKey
from server.credentials.stored import Presented
from server.est.cmc.messages import Revocation
from server.est.fullcmc.identity import Identity
from server.est.gate import Caller, Submission
from server.est.linking import Claims
from server.est.messages import BasicCredentials, KeyPart, Operation
from server.peer import NO_PEER
from server.store.credentials import CredentialKind
from tests.fakes.door import csr_for

SECRET = "never-to-be-shown"
OCTETS = SECRET.encode()


async def _no_body() -> bytes:
    return b""


SUBMISSION = Submission(Operation.SIMPLEENROLL, (SECRET,), NO_PEER, None, _no_body, print)


@pytest.mark.parametrize(
    "holder",
    [
        BasicCredentials("pump", SECRET),
        KeyPart(OCTETS, encrypted=False),
        Claims(is_linked=False, one_time_password=SECRET, revocation_challenge=SECRET),
        Revocation(1, b"", 1, x509.ReasonFlags.superseded, None, SECRET),
        Identity(SUBMISSION, Caller(), OCTETS, None),
        SharedKey(b"", OCTETS),
        Password(OCTETS, Cipher.AES256),
        Presented(CredentialKind.EST_PASSWORD, EndpointName.parse("est/default"), SECRET, "pump"),
        SUBMISSION,
        replace(csr_for("pump"), challenge_password=SECRET),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_what_holds_a_secret_does_not_show_it(holder: object) -> None:
    assert type(holder).__name__ in repr(holder)
    assert SECRET not in repr(holder)
