"""What tests of the embedded servers need: settings for a quick start, one value, the mode of a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import psycopg
import pytest

QUICK = {"fsync": "off", "max_connections": "20", "shared_buffers": "16MB"}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="about what root does")


def mode(path: Path) -> int:
    """The permissions of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


def one(url: str, query: str) -> object:
    """The one value that a query finds."""
    with psycopg.connect(url) as conn:
        return conn.execute(query).fetchone()[0]
