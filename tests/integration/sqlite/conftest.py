"""What the tests of this room have in common: an empty old database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.before.sqlite import OldDatabase


@pytest.fixture
def old(tmp_path: Path) -> OldDatabase:
    return OldDatabase(tmp_path / "imi.db")
