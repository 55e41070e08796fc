"""What a process loads that uses only a part of the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from registry.events import ACTIONS, VERSIONS

INSTALL = (Path(__file__).parents[3] / "docs" / "install.md").read_text()


@pytest.mark.parametrize("room", ["client", "events", "commands", "profiles.profile", "history.pages"])
def test_a_component_that_speaks_nats_alone_loads_neither_postgresql_nor_settings(room: str) -> None:
    script = f"import sys, registry.{room}; print(sorted(sys.modules.keys() & {{'psycopg', 'publisher'}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_client_loads_three_packages_and_what_these_need_and_one_more_when_it_logs() -> None:
    script = (
        "import sys; before = set(sys.modules)\nimport registry.client\n{then}\n"
        "loaded = {name.partition('.')[0] for name in sys.modules.keys() - before}\n"
        "print(*sorted(loaded & {'nats', 'orjson', 'pydantic', 'structlog', 'nacl', 'zstandard', 'uvloop', 'typer', "
        "'starlette', 'uvicorn', 'jsonschema', 'prometheus_client', 'psycopg', 'publisher', 'rich'}))"
    )
    loaded = {}
    for then in ("", "registry.log.log.debug('x')"):
        command = [sys.executable, "-c", script.replace("{then}", then)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        loaded[then] = done.stdout.splitlines()[-1].split()
    client = ["nats", "orjson", "pydantic"]
    assert list(loaded.values()) == [client, sorted([*client, "rich", "structlog"])]


def test_the_client_takes_no_more_than_twice_the_memory_that_the_page_tells() -> None:
    script = "import registry.client; print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    (resident_kib,) = re.findall(r"^VmRSS:\s+(\d+) kB$", done.stdout, re.MULTILINE)
    (told_mib,) = re.findall(r"The process has (\d+) MiB then", INSTALL)
    assert int(resident_kib) / 1024 < 2 * int(told_mib), "what is installed for tests takes a part of it"


def test_who_only_follows_events_loads_no_model_of_a_row() -> None:
    script = (
        "import sys, registry.client\n"
        "print(sorted(name for name in sys.modules if name.startswith(('registry.models', 'registry.queries'))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_who_only_follows_events_loads_no_model_of_a_command_or_an_event_until_it_asks_for_one() -> None:
    script = (
        "import sys, registry.client\n"
        "models = {'registry.commands.catalogue', 'registry.events.catalogue'}\n"
        "before = sys.modules.keys() & models\n"
        "from registry.events import VERSIONS\nfrom registry.commands import COMMANDS\n"
        "print(len(before), len(sys.modules.keys() & models))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "2"]


def test_the_actions_that_a_filter_knows_are_those_that_events_have() -> None:
    pairs = [(entity, action) for entity, actions in ACTIONS.items() for action in actions]
    assert pairs == [tuple(name.split(".")) for name in VERSIONS]
