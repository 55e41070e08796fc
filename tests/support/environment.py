"""What a test run takes from the environment of whoever starts it: where its servers are, and nothing else."""

from __future__ import annotations

from collections.abc import MutableMapping

KEPT = ("IMI_TEST_", "IMI_VENV")
SETTINGS = ("IMI_", "DATABASE_URL", "NATS_URL", "PG")
"""Names begin like this: all settings of this project, and all variables that libpq reads."""


def forget_settings(variables: MutableMapping[str, str]) -> None:
    """Remove the caller's own settings, which would be those of every test and of every process it starts."""
    for name in list(variables):
        if name.startswith(SETTINGS) and not name.startswith(KEPT):
            del variables[name]
