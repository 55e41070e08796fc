"""What the tests of this room have in common: a registry that is connected to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from registry.database import Registry


@pytest.fixture
async def registry(database: str) -> AsyncIterator[Registry]:
    async with Registry.connect(database) as connected:
        yield connected
