"""A SCEP endpoint to talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.server.scep.lab import Lab, make_lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest_asyncio.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    made = await make_lab(tmp_path)
    yield made
    await made.enrollment.drain()
    await made.tear()
