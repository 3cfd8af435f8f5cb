from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from ca.ceremony import Credential, make_issuing_ca, make_ra_certificate, make_root
from ca.names import DistinguishedName

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def root() -> Credential:
    return make_root(DistinguishedName.from_text("CN=root"), now=NOW)


@pytest.fixture(scope="session")
def issuing(root: Credential) -> Credential:
    return make_issuing_ca(root, DistinguishedName.from_text("CN=issuing"), now=NOW)


@pytest.fixture(scope="session")
def ra(issuing: Credential) -> Credential:
    return make_ra_certificate(issuing, DistinguishedName.from_text("CN=ra"), now=NOW)


@pytest.fixture
def root_pem(root: Credential, tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(root.certificate_pem())
    return path
