"""The RA of the tests, and its certificate."""

from __future__ import annotations

import pytest
from cryptography import x509

from server.scep.ra import RaKey
from tests.server.scep.device import rsa_key, self_signed


@pytest.fixture(scope="session")
def ra() -> RaKey:
    key = rsa_key("ra")
    return RaKey(x509.load_der_x509_certificate(self_signed(key, "RA")), key)
