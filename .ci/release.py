"""What is given out: `build` makes wheel and source package, `release` also tries them and says what they are made of.

    python .ci/release.py build [--to DIST]
    python .ci/release.py release [--to DIST]
    python .ci/release.py audit

`release` tries the wheel on every Python that is here, and as pip, pipx and uvx install it: `.ci/installations.py`. It
writes beside the wheel:
`sbom.cdx.json` (CycloneDX: each package with version, licence and hashes), `licences.md` and `SHA256SUMS`. It fails
when the wheel made of the source package differs from that of the checkout, when the wheel does not work in an empty
folder, when a package has a licence that is not in `LICENCES`, when what is vendored is not what `vendored.py` lists,
and when the bill of materials is not valid or lacks something.
`audit`, a part of `release`, looks every pinned and every vendored package up among known vulnerabilities, where a
database of them can be reached.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import vendored
from installations import try_all
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LICENCES = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "PostgreSQL",
}
"""Those that ask nothing of who uses a package unchanged, as SPDX calls them."""
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What older packages say instead."""
NO_DATABASE = "no database of them can be reached from here"
SEPARATOR = re.compile(r"; | AND | OR ")
EXPLAINED = dict.fromkeys(["psycopg", "psycopg-binary", "psycopg-pool"], "LGPL-3.0: unchanged, and can be exchanged")
"""Packages that say something else, and why they may be there."""


def main(arguments: list[str]) -> int:
    """Do what is asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["build", "release", "audit"])
    parser.add_argument("--to", type=Path, default=ROOT / "dist")
    asked = parser.parse_args(arguments)
    if asked.what == "audit":
        audit()
        return 0
    wheel, source = build(asked.to)
    if asked.what == "release":
        release(asked.to, wheel, source)
    for file in sorted(asked.to.iterdir()):
        if file.is_file():
            print(f"{sha256(file)}  {file.name}")
    return 0


def build(to: Path, checkout: Path = ROOT) -> tuple[Path, Path]:
    """Make wheel and source package of `checkout` in the folder `to`, which holds no other file afterwards."""
    to.mkdir(parents=True, exist_ok=True)
    for old in to.iterdir():
        if old.is_file() or old.is_symlink():
            old.unlink()
    # The same files make the same bytes: hatchling takes their times from this variable, and their rights from nobody.
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1580601600", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(to.resolve())]
    done = subprocess.run(command, cwd=checkout, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"hatchling failed: {done.stderr}")
    (wheel,), (source,) = to.glob("*.whl"), to.glob("*.tar.gz")
    return wheel, source


def release(to: Path, wheel: Path, source: Path) -> None:
    """Try both, and write what the wheel is made of."""
    problems = vendored.problems(vendored.shipped(wheel))
    if problems:
        raise SystemExit(f"{wheel.name}: " + "; ".join(problems))
    with tempfile.TemporaryDirectory(prefix="imi-release-") as name:
        folder = Path(name)
        again = rebuilt(source, folder)
        if sha256(again) != sha256(wheel):
            raise SystemExit(f"the wheel made of {source.name} is another one than that of the checkout")
        python = try_all(wheel, folder)
        (to / "licences.md").write_text(licences(python))
        sbom(python, to / "sbom.cdx.json")
        audit()
    files = sorted(file for file in to.iterdir() if file.name != "SHA256SUMS")
    (to / "SHA256SUMS").write_text("".join(f"{sha256(file)}  {file.name}\n" for file in files))


def rebuilt(source: Path, folder: Path) -> Path:
    """The wheel that the source package makes."""
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return build(folder / "again", unpacked)[0]


def licences(python: Path) -> str:
    """The table of packages and their licences. Ends the program at one that is not known to be fine."""
    command = [tool("pip-licenses"), f"--python={python}", "--format=json", "--with-urls", "--from=mixed"]
    installed = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    packages = [*installed, *vendored.licences()]
    strange = [f"{found['Name']}: {found['License']}" for found in packages if not is_fine(found)]
    if strange:
        raise SystemExit("licences that nobody has looked at yet: " + "; ".join(strange))
    rows = [f"| {found['Name']} | {found['Version']} | {found['License']} | {found['URL']} |" for found in packages]
    return "\n".join(["| package | version | licence | where |", "|---|---|---|---|", *rows, ""])


def is_fine(package: dict[str, str]) -> bool:
    """Whether every licence that a package names is one of `LICENCES` (of `A OR B`, too), or it is explained."""
    named = [name if name in CLASSIFIERS else name.strip("()") for name in SEPARATOR.split(package["License"])]
    return package["Name"] in EXPLAINED or {CLASSIFIERS.get(name, name) for name in named} <= LICENCES


def sbom(python: Path, file: Path) -> None:
    """Write the bill of materials of an installation and of what is vendored, the same one for the same packages.

    Ends the program where it is no CycloneDX, or lacks a pinned package, the licence of one, or its hashes.
    """
    command = [tool("cyclonedx-py"), "environment", str(python), "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--output-reproducible", "--of", "JSON", "-o", str(file)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    bom, pinned = json.loads(file.read_text()), pins(ROOT / "constraints.txt")
    add_hashes(bom, pinned)
    vendored.add_to(bom)
    file.write_text(json.dumps(bom, indent=2, sort_keys=True) + "\n")
    problems = [*lacking(bom, pinned), *invalid(file.read_text(), bom["specVersion"])]
    if problems:
        raise SystemExit(f"{file.name}: " + "; ".join(problems))


class Pin(NamedTuple):
    """A package as it is pinned."""

    version: str
    hashes: list[str]
    """SHA-256 of each file that pip may install."""


def pins(file: Path) -> dict[str, Pin]:
    """The packages of a file that are installed here, by their canonical names."""
    found = {}
    for entry in re.split(r"\n(?! )", file.read_text().strip()):
        requirement = Requirement(entry.partition("\\")[0].partition(" --hash")[0])
        if requirement.marker is None or requirement.marker.evaluate():
            version = str(requirement.specifier).removeprefix("==")
            found[canonicalize_name(requirement.name)] = Pin(version, re.findall(r"sha256:([0-9a-f]{64})", entry))
    return found


def add_hashes(bom: dict[str, Any], pinned: dict[str, Pin]) -> None:
    """Name with each pinned component the files that it may have been installed from."""
    for component in bom["components"]:
        pin = pinned.get(canonicalize_name(component["name"]))
        if pin is not None:
            hashes = [{"alg": "SHA-256", "content": digest} for digest in pin.hashes]
            files = {
                "type": "distribution",
                "url": component["purl"],
                "hashes": hashes,
                "comment": "one of these",
            }
            component.setdefault("externalReferences", []).append(files)


def lacking(bom: dict[str, Any], pinned: dict[str, Pin]) -> list[str]:
    """What a bill of materials does not tell of what is pinned."""
    told = {canonicalize_name(component["name"]): component for component in bom["components"]}
    problems = []
    for name, pin in pinned.items():
        component = told.get(name, {})
        hashes = {
            one["content"] for files in component.get("externalReferences", []) for one in files.get("hashes", [])
        }
        if component.get("version") != pin.version:
            problems.append(f"{name} {pin.version} is not there")
        elif not component.get("licenses"):
            problems.append(f"{name} has no licence")
        elif not pin.hashes or hashes != set(pin.hashes):
            problems.append(f"{name} has other hashes than those that are pinned")
    return problems


def invalid(text: str, version: str) -> list[str]:
    """Why a bill of materials is no CycloneDX of its version."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.from_version(version)).validate_str(text)
    return [] if error is None else [str(error).partition("\n")[0]]


def audit() -> None:
    """Look all packages, pinned and vendored, up among known vulnerabilities. Ends the program where one has any.

    Skipped, with a line that says so, for those of which no database can be reached from here, or has no answer.
    """
    found = []
    pinned, skipped = vulnerabilities()
    shipped = vendored.vulnerabilities()
    for what in skipped + [f"the vendored packages, {NO_DATABASE}"] * (shipped is None):
        print(f"vulnerabilities: skipped for {what}")
    for which, known in {"pinned": pinned, "vendored": shipped or {}}.items():
        faults = [f"{package}: {fault}" for package, ids in known.items() for fault in ids]
        if known and not faults:
            print(f"vulnerabilities: none is known of the {len(known)} {which} packages")
        found += faults
    if found:
        raise SystemExit("known vulnerabilities: " + "; ".join(sorted(found)))


def vulnerabilities() -> tuple[dict[str, list[str]], list[str]]:
    """Those that are known of what is pinned, by package; and of what no database told anything, and why."""
    known: dict[str, list[str]] = {}
    skipped = []
    for pins in sorted(ROOT.glob("constraints*.txt"), key=lambda file: len(file.name)):  # what users install is first
        answers = audited(pins)
        packages = [answer for answer in answers if "skip_reason" not in answer]
        if not packages:
            skipped.append(f"the packages of {pins.name}, {NO_DATABASE}")
        else:
            skipped += [f"{one['name']} of {pins.name}: {one['skip_reason']}" for one in answers if one not in packages]
        for package in packages:  # one may be in several files
            ids = known.setdefault(f"{package['name']} {package['version']}", [])
            ids += [fault["id"] for fault in package["vulns"] if fault["id"] not in ids]
    return known, skipped


def audited(pins: Path) -> list[dict[str, Any]]:
    """What pip-audit says of each package of a file, `vulns` or a `skip_reason`; nothing where there is no database."""
    command = [tool("pip-audit"), "--require-hashes", "--disable-pip", "--progress-spinner=off", "-f", "json"]
    done = subprocess.run([*command, "-r", str(pins)], cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:  # it says on standard error what it could not reach
        return []
    return answers


def tool(name: str) -> str:
    """A program of the virtual environment that runs this, whether its folder is in the path or not."""
    return str(Path(sys.executable).with_name(name))


def sha256(file: Path) -> str:
    """Its checksum, as `sha256sum` prints it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
