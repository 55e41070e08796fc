"""Installations of a wheel, with nothing of the checkout in reach, each tried by its demo in an empty folder.

With the pinned packages on every Python that pyproject.toml names and that is here; and in each way of docs/install.md,
with the packages that an index has today.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def try_all(wheel: Path, folder: Path) -> Path:
    """Try each. Returns the Python of the pinned one; ends the program at one that does not work."""
    python = pinned(wheel, folder / "venv", sys.executable)
    try_demo([str(python.with_name("imi-registry"))], folder / "empty")
    for other in other_pythons():
        command = [str(pinned(wheel, folder / f"venv-{other}", other).with_name("imi-registry"))]
        try_demo(command, folder / f"empty-{other}")
        print(f"the demo runs on {other}, too")
    for name, install in WAYS.items():
        try_demo(install(wheel, folder / name), folder / f"empty-{name}")
        print(f"the demo runs as {name} installs it today, too")
    return python


def other_pythons() -> list[str]:
    """Each Python that pyproject.toml names and that is here, as `python3.12`, without the one that runs this.

    Says of each other that it is not here.
    """
    said = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    versions = [line.rpartition(" ")[2] for line in said if line.startswith("Programming Language :: Python :: 3.")]
    programs = [f"python{version}" for version in versions if version != f"3.{sys.version_info.minor}"]
    here = [program for program in programs if shutil.which(program) and answers(program)]
    for program in programs:
        if program not in here:
            print(f"{program} is not here: not tried")
    return here


def answers(program: str) -> bool:
    """Whether a program can be run: one of pyenv is in the path although its version is not chosen."""
    return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0


def pinned(wheel: Path, folder: Path, program: str) -> Path:
    """Python of a new virtual environment with the wheel and the pinned packages."""
    python = environment(folder, program)
    pip(python, "--require-hashes", "-r", str(ROOT / "constraints.txt"))
    pip(python, "--no-deps", str(wheel))
    return python


def by_pip(wheel: Path, folder: Path) -> list[str]:
    """The command that `pip install` of the wheel with `embedded` makes."""
    python = environment(folder, sys.executable)
    pip(python, f"{wheel}[embedded]")
    return [str(python.with_name("imi-registry"))]


def by_pipx(wheel: Path, folder: Path) -> list[str]:
    """The command that `pipx install` makes."""
    places = {"PIPX_HOME": folder / "home", "PIPX_BIN_DIR": folder / "bin", "PIPX_MAN_DIR": folder / "man"}
    command = [str(BIN / "pipx"), "install", "--quiet", "--python", sys.executable, requirement(wheel)]
    subprocess.run(command, env=os.environ | {name: str(place) for name, place in places.items()}, check=True)
    return [str(folder / "bin" / "imi-registry")]


def by_uvx(wheel: Path, folder: Path) -> list[str]:
    """The command that runs it with `uvx`, which installs it first."""
    options = ["--quiet", "--cache-dir", str(folder), "--python", sys.executable, "--from", requirement(wheel)]
    return [str(BIN / "uvx"), *options, "imi-registry"]


WAYS: dict[str, Callable[[Path, Path], list[str]]] = {"pip": by_pip, "pipx": by_pipx, "uvx": by_uvx}


def requirement(wheel: Path) -> str:
    """The wheel, where a command takes the name of a package."""
    return f"imi-registry[embedded] @ {wheel.resolve().as_uri()}"


def environment(folder: Path, program: str) -> Path:
    """Python of a new virtual environment that nothing is in."""
    subprocess.run([program, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def pip(python: Path, *what: str) -> None:
    """Install `what` for `python`."""
    command = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *what], check=True)


def try_demo(command: list[str], folder: Path) -> None:
    """Run the demo in an empty folder. Ends the program where it does not work, or loses something."""
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "IMI_"))}
    done = subprocess.run(
        [*command, "demo", "--json"], cwd=folder, env=kept, stdout=subprocess.PIPE, text=True, check=True
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    faults = measured["lost"] + measured["duplicated"] + measured["out_of_order"]
    if faults or measured["events"] < measured["changes"] or measured["changes"] < 100:
        raise SystemExit(f"the demo of the installed wheel says {measured}")
