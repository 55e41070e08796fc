"""What is pinned: everything that pyproject.toml asks for, with hashes, and one version of each package everywhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = {
    "constraints.txt": ["embedded"],
    "constraints-dev.txt": ["dev", "embedded", "otel"],
    "constraints-bench.txt": ["bench", "embedded"],
    "constraints-docs.txt": ["docs"],
    "constraints-release.txt": ["release", "embedded"],
}
FILES = [*EXTRAS, "constraints-build.txt"]


def pins(name: str) -> dict[str, dict[str, str]]:
    """Version of each package in a file, by the marker that chooses it (mostly none)."""
    found: dict[str, dict[str, str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if not line.startswith(" "):
            package, _, rest = line.removesuffix("\\").partition("==")
            version, _, marker = rest.strip().partition(" ; ")
            found.setdefault(canonicalize_name(package), {})[marker] = version
    return found


def test_pages_say_on_which_versions_of_python_what_is_tried() -> None:
    first, *others, last = [
        line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if ":: Python :: 3." in line
    ]
    assert PROJECT["project"]["requires-python"] == f">={first}"
    install, faq = (" ".join((ROOT / "docs" / f"{page}.md").read_text().split()) for page in ("install", "faq"))
    assert f"Python {first} or later, " in install
    assert (
        f"The tests run on {first}. On {', '.join(others)} and {last}, where they are there, `./run release`" in install
    )
    assert f"Python {first} or later (" in faq


@pytest.mark.parametrize("name", FILES)
def test_each_pin_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.split(r"\n(?! )", text.strip())
    assert len(entries) > 5
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==[^ ]+( ;[^\\]+)? \\\n +--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in text


@pytest.mark.parametrize("name", EXTRAS)
def test_everything_that_is_asked_for_is_pinned(name: str) -> None:
    asked = PROJECT["project"]["dependencies"]
    asked = asked + [one for extra in EXTRAS[name] for one in PROJECT["project"]["optional-dependencies"][extra]]
    pinned = pins(name)
    for requirement in map(Requirement, asked):
        if requirement.name != "imi-registry":
            for version in pinned[canonicalize_name(requirement.name)].values():
                assert Version(version) in requirement.specifier, requirement


def test_the_build_backend_is_pinned_with_hashes() -> None:
    (backend,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert pins("constraints-build.txt")[backend.name] == {"": str(backend.specifier).removeprefix("==")}


def test_a_package_has_one_version_everywhere() -> None:
    seen: dict[str, tuple[str, dict[str, str]]] = {}
    for name in FILES:
        for package, versions in pins(name).items():
            first, known = seen.setdefault(package, (name, versions))
            assert set(known.values()) == set(versions.values()), f"{package}: {first} and {name}"
