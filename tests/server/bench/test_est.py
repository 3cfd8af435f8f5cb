from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from server.bench.est import EstClient
from server.bench.load import EnrollmentFailed

if TYPE_CHECKING:
    from pathlib import Path

    from ca.ceremony import Credential


@pytest.fixture
def client(root_pem: Path) -> EstClient:
    return EstClient("https://localhost/.well-known/est/", root_pem, "user", "word")


def test_every_request_has_a_key_and_a_name_of_its_own(client: EstClient) -> None:
    requests = [x509.load_der_x509_csr(base64.b64decode(client.prepare().body)) for _ in range(2)]
    assert all(request.is_signature_valid for request in requests)
    assert requests[0].subject != requests[1].subject
    assert requests[0].public_key() != requests[1].public_key()


@pytest.mark.parametrize("reply", [b"", b"no base64!", base64.b64encode(b"no CMS")])
def test_a_reply_that_is_none_is_a_failure(client: EstClient, reply: bytes) -> None:
    with pytest.raises(EnrollmentFailed, match="no certificate"):
        client.certificate(client.prepare(), reply)


def test_a_certificate_for_another_key_is_a_failure(client: EstClient, root: Credential) -> None:
    reply = base64.b64encode(pkcs7.serialize_certificates([root.certificate], Encoding.DER))
    with pytest.raises(EnrollmentFailed, match="another key"):
        client.certificate(client.prepare(), reply)
