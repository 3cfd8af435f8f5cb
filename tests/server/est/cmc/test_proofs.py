"""Witnesses of a shared secret, made by hand as RFC 5272 says."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from server.cms.algorithms import Digest
from server.est.cmc import codec, proofs
from server.est.cmc.messages import CertificationRequest, CmcFault, FailInfo, Witness
from tests.server.est import cmc_client as client

KEY = ec.generate_private_key(ec.SECP256R1())
RANDOM = b"r" * 64


def request(link: object | None) -> CertificationRequest:
    controls = [] if link is None else [(f"{client.CMC}33", link)]
    (found,) = codec.decode_pki_data(client.pki_data([client.crmf(1, KEY, "x", controls=controls)])).requests
    return found


@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
@pytest.mark.parametrize("mac", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
def test_the_key_is_the_hash_of_secret_and_identification(digest: Digest, mac: Digest) -> None:
    names = {Digest.SHA256: "sha256", Digest.SHA384: "sha384", Digest.SHA512: "sha512"}
    value = hmac.digest(hashlib.new(names[digest], b"secretpump").digest(), b"data", names[mac])
    witness = Witness(digest, mac, value)
    assert proofs.identifies(b"secret", "pump", witness, b"data")
    assert not proofs.identifies(b"Secret", "pump", witness, b"data")
    assert not proofs.identifies(b"secret", "valve", witness, b"data")
    assert not proofs.identifies(b"secret", "pump", witness, b"Data")


def test_a_request_with_a_witness_over_the_random_number_is_linked() -> None:
    assert proofs.is_linked(request(client.witness("secret", RANDOM)), b"secret", RANDOM)
    assert not proofs.is_linked(request(None), b"secret", RANDOM)


@pytest.mark.parametrize(
    ("secret", "random"),
    [(None, RANDOM), (b"secret", None), (b"secret", b"r" * 63), (b"another", RANDOM), (b"secret", b"s" * 64)],
    ids=["nobody", "nothing", "too short", "another secret", "another number"],
)
def test_a_witness_that_does_not_hold_is_a_failed_proof(secret: bytes | None, random: bytes | None) -> None:
    with pytest.raises(CmcFault) as caught:
        proofs.is_linked(request(client.witness("secret", RANDOM)), secret, random)
    assert caught.value.fail is FailInfo.POP_FAILED
