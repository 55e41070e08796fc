"""The Dockerfile: what hadolint says of it, and what an image must have that is run by others."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def instructions() -> list[tuple[str, str]]:
    """Each instruction with what it is given, comments left out and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def test_the_image_runs_as_nobody_and_asks_its_own_program_for_its_health() -> None:
    last = dict(instructions())
    assert last["USER"] == "10001:10001"
    asked = re.search(r'CMD \["python3", "-m", "([\w.]+)"\]$', last["HEALTHCHECK"])
    assert asked is not None
    assert find_spec(asked[1]) is not None
    assert (last["ENTRYPOINT"], last["CMD"]) == ('["imi-registry"]', '["serve"]')


def test_every_base_can_be_given_by_its_digest_and_none_is_the_latest() -> None:
    arguments = dict(rest.split("=", 1) for name, rest in instructions() if name == "ARG")
    bases = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    assert bases == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", arguments["PYTHON_IMAGE"])


def test_the_servers_that_it_leaves_out_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = {re.split("[<>=]", one)[0] for one in project["optional-dependencies"]["embedded"]}
    removed = re.search(r"uninstall --yes ([\w -]+?) +&&", " ".join(rest for _, rest in instructions()))
    assert removed is not None
    assert set(removed[1].split()) == extra


def test_what_is_sent_to_the_engine_is_what_the_image_is_made_of() -> None:
    assert (ROOT / ".dockerignore").read_text().split() == [
        "*",
        "!constraints.txt",
        "!dist/*.whl",
        "!dist/packages",
    ]
