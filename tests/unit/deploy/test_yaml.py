"""Every YAML file that is given out: yamllint; and of each image a version, and no name of a registry.

That of this project is compared by tests/unit/release/test_version.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
FILES = sorted(str(file.relative_to(DEPLOY)) for kind in ("*.yml", "*.yaml") for file in DEPLOY.rglob(kind))
RULES = """
extends: default
rules:
  line-length: {max: 120}
  document-start: disable
  braces: {max-spaces-inside: 1}
  comments: {min-spaces-from-content: 2}
  truthy: {check-keys: false}
  octal-values: {forbid-implicit-octal: false}
  quoted-strings: disable
"""


def test_yamllint_has_nothing_to_say() -> None:
    assert len(FILES) > 10
    command = [sys.executable, "-m", "yamllint", "--strict", "--format=parsable", "--config-data", RULES, *FILES]
    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def images(tree: Any) -> Iterator[str]:
    """What stands under `image`, wherever that is; of a variable what it is when it is not set."""
    if isinstance(tree, dict):
        if isinstance(tree.get("image"), str):
            yield re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", tree["image"])
        tree = list(tree.values())
    for one in tree if isinstance(tree, list) else ():
        yield from images(one)


def test_each_image_has_a_version_and_no_registry() -> None:
    found = {name: set(images(list(yaml.safe_load_all((DEPLOY / name).read_text())))) for name in FILES}
    assert sum(map(len, found.values())) == 9  # five of compose, and the one of this project in four manifests
    for name, image in ((name, image) for name, several in found.items() for image in several):
        assert re.fullmatch(r"([a-z-]+/)?[a-z-]+:v?\d+\.\d+[\w.-]*", image), f"{name}: {image}"


def test_the_image_is_built_with_the_tag_that_is_run() -> None:
    commands = re.findall(r"^\$ docker .*$", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    built = [tag for command in commands for tag in re.findall(r"\bimi-registry\S*", command)]
    run = images(yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text()))
    assert len(built) == 3
    assert set(built) == {image for image in run if image.startswith("imi-registry")}
