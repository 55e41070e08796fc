"""What a process loads that uses only a part of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("room", ["client", "events", "commands", "profiles.profile", "history.pages"])
def test_a_component_that_speaks_nats_alone_loads_neither_postgresql_nor_settings(room: str) -> None:
    script = f"import sys, registry.{room}; print(sorted(sys.modules.keys() & {{'psycopg', 'pydantic_settings'}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
