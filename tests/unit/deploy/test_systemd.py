"""The units of systemd: what systemd itself says of them, and that all they name is put there by the README."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from publisher.settings import Settings, variables

UNITS = Path(__file__).parents[3] / "deploy" / "systemd"
NAMES = sorted(file.name for file in UNITS.glob("*.service"))
README = (UNITS.parent / "README.md").read_text().partition("\n## systemd\n")[2].partition("\n## ")[0]
MOST_EXPOSED = 15
"""Of 100; a unit without any of it has 96."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with the units, the program, and the units of systemd that they name."""
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(UNITS, root / "etc" / "systemd" / "system")
    for name in ("sysinit", "basic", "shutdown", "network-online", "multi-user"):
        (root / "etc" / "systemd" / "system" / f"{name}.target").write_text("[Unit]\n")
    program = root / "opt" / "imi-registry" / "bin" / "imi-registry"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return root


def analyze(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", f"--root={root}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_knows_every_line(root: Path) -> None:
    done = analyze(root, "verify", "--man=no", *[str(root / "etc" / "systemd" / "system" / name) for name in NAMES])
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_exposed_to_little(root: Path, name: str) -> None:
    place = str(root / "etc" / "systemd" / "system" / name)
    done = analyze(root, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", place)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


def test_each_variable_is_a_setting() -> None:
    known = {name for field in Settings.model_fields for name in variables(field)} | {"IMI_CONFIG"}
    assert len(NAMES) == 4
    for name in NAMES:
        lines = re.findall(r"^Environment=(.*)$", (UNITS / name).read_text(), re.MULTILINE)
        assert {one.split("=")[0] for line in lines for one in line.split()} <= known


def test_each_file_that_a_unit_is_told_of_is_one_that_the_readme_names() -> None:
    named = set()
    for name in NAMES:
        text = (UNITS / name).read_text()
        loaded = dict(re.findall(r"^LoadCredential=([\w-]+):(\S+)$", text, re.MULTILINE))
        assert set(re.findall(r"%d/([\w-]+)", text)) == loaded.keys(), name
        named |= set(loaded.values())
    (folder,) = re.findall(r"^# install -d -m 0700 (\S+)$", README, re.MULTILINE)
    assert named == {f"{folder}/{file}" for file in re.findall(r"`([\w-]+\.(?:toml|pem))`", README)}


def test_what_is_copied_and_started_is_there() -> None:
    (copied,) = re.findall(r"^# cp -r deploy/systemd/(\S+) /etc/systemd/system/$", README, re.MULTILINE)
    assert set(UNITS.glob(copied)) == set(UNITS.iterdir())
    for name in NAMES:
        (program,) = re.findall(r"^ExecStart=(\S+)", (UNITS / name).read_text(), re.MULTILINE)
        assert f"# {program} " in README, name
    commands = re.findall(r"systemctl[\s]+(?:start|restart|enable --now)((?:\s+imi-registry-[\w-]+)+)", README)
    assert {f"{unit}.service" for units in commands for unit in units.split()} == set(NAMES)
