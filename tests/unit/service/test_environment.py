"""A test run knows no setting of whoever starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from tests.support.environment import forget_settings


def test_settings_of_the_caller_are_forgotten_and_those_of_the_test_run_stay() -> None:
    libpq = {option.envvar.decode(): "bad" for option in psycopg.pq.Conninfo.get_defaults() if option.envvar}
    own = {"DATABASE_URL": "bad", "NATS_URL": "bad", "IMI_PREFIX": "bad!", "PGDATESTYLE": "German", "PGTZ": "Mars"}
    kept = {"IMI_TEST_NATS_URL": "nats://localhost", "IMI_VENV": ".venv", "PATH": "/bin", "TMPDIR": "/tmp"}  # noqa: S108  # a value
    variables = libpq | own | kept

    forget_settings(variables)

    assert variables == kept


def test_a_run_started_among_bad_settings_passes() -> None:
    bad = {"IMI_PREFIX": "bad!", "IMI_BATCH_SIZE": "0", "DATABASE_URL": "nowhere", "PGDATESTYLE": "German"}
    one_file = Path(__file__).with_name("test_settings.py")
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", one_file]

    done = subprocess.run(pytest, env=os.environ | bad, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
