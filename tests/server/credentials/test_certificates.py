"""Certificates of ours that are on record but could not be issued any more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from server.credentials.certificates import CertificateJudge
from server.outcome import Problem, Reason
from server.store import Store
from tests.fakes.database import empty_database
from tests.fakes.door import HERE, ISSUER, ask
from tests.fakes.earlier import issued_earlier
from tests.fakes.issuer import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(empty_database(tmp_path / "certwright.db"))
    yield store
    await store.close()


async def test_a_certificate_with_a_name_that_is_not_taken_any_more_is_rejected(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = await issued_earlier(store, ask(), monkeypatch)
    judge = CertificateJudge(store, {"issuing": ISSUER.chain()[0]})

    found = await judge.judge(leaf, accepted=(HERE,), now=NOW, grace=timedelta(0))

    assert isinstance(found, Problem)
    assert found.reason is Reason.CERTIFICATE_REJECTED
    assert "enroll anew" in found.message
    assert format(leaf.serial_number, "x") in found.detail
    assert "plant.example" in found.detail
