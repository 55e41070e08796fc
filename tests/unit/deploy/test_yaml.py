"""Every YAML file that is given out: yamllint, and no name of a registry of images."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", FILES)
def test_no_image_is_named_with_a_registry(name: str) -> None:
    images = re.findall(r"^\s*image: (?:\$\{\w+:-)?([^\s}]+)", (DEPLOY / name).read_text(), re.MULTILINE)
    assert [image for image in images if "." in image.split("/")[0].split(":")[0]] == []
