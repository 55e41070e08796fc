"""Whatever names the version of the project, in the name of a wheel or of an image, has that of pyproject.toml."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMED = r"imi[-_]registry(-|:|==)[0-9][0-9a-z.]*"
PLACES = {
    "docs/install.md",
    "deploy/README.md",
    "deploy/compose/compose.yaml",
    "deploy/kubernetes/before/migrate.yaml",
    "deploy/kubernetes/serve/publisher.yaml",
    "deploy/kubernetes/serve/applier.yaml",
    "deploy/kubernetes/after/migrate-afterwards.yaml",
}
"""There are these at least."""


def test_every_place_that_names_the_version_has_that_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    search = ["git", "grep", "--untracked", "-IoE", NAMED, "--", ".", ":!CHANGELOG.md"]
    lines = subprocess.run(search, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()

    found = [line.partition(":")[::2] for line in lines]

    assert {path for path, _ in found} >= PLACES
    assert [(path, name) for path, name in found if name[len("imi-registry") :].lstrip("-:=") != version] == []
