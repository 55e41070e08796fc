"""JavaScript that others wrote and the wheel ships as files: what it is, and whether the wheel has that and no other.

What lists the packages of an installation knows those of Python alone. So each file stands here with its SHA-256, the
texts of the licences among them: `release.py` puts them into the bill of materials and the table of licences.
"""

from __future__ import annotations

import hashlib
import json
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = "publisher/web/console/static/vendor/"
DATABASE = "https://api.osv.dev/v1/querybatch"
"""Of vulnerabilities of npm's packages. It answers in the order of the questions."""
PATIENCE_SECONDS = 10.0


class Package(NamedTuple):
    """A package of npm, of which some files are shipped as they are."""

    name: str
    version: str
    licence: str
    url: str
    files: dict[str, str]
    """SHA-256 of each, by its name in `FOLDER`."""

    @property
    def purl(self) -> str:
        """Its name among the packages of all languages."""
        return f"pkg:npm/{self.name}@{self.version}"


PACKAGES = [
    Package(
        "htmx.org",
        "2.0.11",
        "0BSD",
        "https://htmx.org",
        {
            "htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
            "htmx.LICENSE": "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
        },
    ),
    Package(
        "uplot",
        "1.6.32",
        "MIT",
        "https://github.com/leeoniya/uPlot",
        {
            "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
            "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
            "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
        },
    ),
]


def problems(shipped: Mapping[str, str], packages: Sequence[Package] = PACKAGES) -> list[str]:
    """How the files that are shipped (SHA-256 by name) differ from those that are listed."""
    listed = {file: digest for package in packages for file, digest in package.files.items()}
    both = sorted(listed.keys() & shipped.keys())
    return [
        *(f"{file} is vendored and not listed in .ci/vendored.py" for file in sorted(shipped.keys() - listed.keys())),
        *(f"{file} is listed in .ci/vendored.py and not there" for file in sorted(listed.keys() - shipped.keys())),
        *(f"{file} is not the one that is listed: {shipped[file]}" for file in both if shipped[file] != listed[file]),
        *(f"the licence of {package.name} is not there" for package in packages if not has_licence(package)),
    ]


def has_licence(package: Package) -> bool:
    """Whether the text of its licence is shipped with it, as MIT's asks for."""
    return any(file.endswith(".LICENSE") for file in package.files)


def shipped(wheel: Path) -> dict[str, str]:
    """SHA-256 of each vendored file in a wheel, by its name in `FOLDER`, or its path where it is elsewhere."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if is_vendored(name)]
        return {name.removeprefix(FOLDER): hashlib.sha256(archive.read(name)).hexdigest() for name in names}


def is_vendored(path: str) -> bool:
    """Whether a file of the wheel is of somebody else: it lies in such a folder, or nobody wrote it as it is."""
    return not path.endswith("/") and ("/vendor/" in path or ".min." in path)


def licences() -> list[dict[str, str]]:
    """The packages, as pip-licenses tells of others."""
    return [
        {"Name": package.name, "Version": package.version, "License": package.licence, "URL": package.url}
        for package in PACKAGES
    ]


def add_to(bom: dict[str, Any]) -> None:
    """Name the packages in a bill of materials, with their files, as parts of what it is about."""
    bom["components"] += [component(package) for package in PACKAGES]
    references = [package.purl for package in PACKAGES]
    subject = bom["metadata"]["component"]["bom-ref"]
    for one in bom["dependencies"]:
        if one["ref"] == subject:
            one["dependsOn"] = [*one.get("dependsOn", []), *references]
    bom["dependencies"] += [{"ref": reference} for reference in references]


def component(package: Package) -> dict[str, Any]:
    """A package as CycloneDX has it."""
    files = [
        {"type": "file", "name": f"{FOLDER}{file}", "hashes": [{"alg": "SHA-256", "content": digest}]}
        for file, digest in package.files.items()
    ]
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "licenses": [{"license": {"id": package.licence}}],
        "externalReferences": [{"type": "website", "url": package.url}],
        "components": files,
    }


def vulnerabilities() -> dict[str, list[str]] | None:
    """Those that are known, by package; None where the database of them cannot be reached from here."""
    question = {"queries": [{"package": {"purl": package.purl}} for package in PACKAGES]}
    asked = urllib.request.Request(DATABASE, json.dumps(question).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310  # the address above
            results = json.load(answer)["results"]
            return {
                f"{package.name} {package.version}": [fault["id"] for fault in result.get("vulns", [])]
                for package, result in zip(PACKAGES, results, strict=True)
            }
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError):  # not there, or another one is
        return None
