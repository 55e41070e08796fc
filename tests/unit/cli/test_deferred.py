"""Commands are imported when they are called: what only names them is quick, and says what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from publisher.cli.arguments.deferred import Deferred, loaded
from publisher.cli.main import Commands
from tests.support.processes import environment

DEFERRED = list(Commands.deferred)
HEAVY = [
    "asyncio",
    "jinja2",
    "jsonschema",
    "nats",
    "opentelemetry",
    "orjson",
    "prometheus_client",
    "psycopg",
    "pydantic",
    "pydantic_core",
    "rich",
    "starlette",
    "structlog",
    "uvicorn",
    "uvloop",
]


def modules_after(*lines: str) -> set[str]:
    """What a new process has imported after `lines`."""
    script = "\n".join(["import sys", *lines, "print(*sys.modules, file=sys.stderr)"])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    return set(done.stderr.split())


def test_help_of_all_imports_no_command_and_nothing_that_is_slow_to_import() -> None:
    words = "sys.argv = ['imi-registry', '--help']"
    found = modules_after("from publisher.cli.main import main", words, "try: main()", "except SystemExit: pass")
    assert found & {f"publisher.cli.{one.module}" for one in DEFERRED} == set()
    assert found & set(HEAVY) == set()


def test_no_command_needs_what_is_slow_to_import_before_it_works() -> None:
    """As for its own `--help`, and for a mistake in what is typed."""
    found = modules_after("from publisher.cli.main import Commands", "for one in Commands.deferred: one.load()")
    assert found >= {f"publisher.cli.{one.module}" for one in DEFERRED}
    assert found & (set(HEAVY) - {"asyncio", "orjson"}) == set()


def test_up_imports_while_its_servers_start_what_these_do_not_need(tmp_path: Path) -> None:
    found = modules_after(
        "from pathlib import Path",
        "from publisher.cli.servers.installation import embedded",
        "from publisher.embedded import supervised",
        "supervised.together = lambda *_, **__: sys.exit()",
        f"try: embedded(Path({str(tmp_path)!r})).__enter__()",
        "except SystemExit: pass",
    )
    assert "publisher.embedded.postgres" in found
    assert found & {"publisher.settings", "registry.database.migrate", "registry.models"} == set()


def test_no_cycles_are_looked_for_when_a_command_ends() -> None:
    ending = "except SystemExit: import gc; raise SystemExit(int(gc.get_freeze_count() == 0))"
    modules_after("from publisher.cli.main import main", "sys.argv = ['imi-registry', '--help']", "try: main()", ending)


@pytest.mark.parametrize("command", DEFERRED, ids=lambda one: one.name)
def test_the_line_of_a_command_is_the_beginning_of_what_it_says_itself(command: Deferred) -> None:
    whole = loaded(command)
    assert whole.name == command.name
    for width in (20, 45, 80, 500):
        assert command.get_short_help_str(width) == whole.get_short_help_str(width)
