"""The bill of materials names all that is pinned, with licence and hashes, and is CycloneDX: or there is no release."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import release

ROOT = Path(__file__).parents[3]
PINNED = release.pins(ROOT / "constraints.txt")
MIT = [{"license": {"id": "MIT"}}]


@pytest.fixture
def bom() -> dict[str, Any]:
    """As CycloneDX's program writes it of an installation, where names are written as their packages write them."""
    components = [
        {
            "type": "library",
            "name": name.replace("-", "_").title(),
            "version": pin.version,
            "purl": f"pkg:pypi/{name}@{pin.version}",
            "bom-ref": f"{name}=={pin.version}",
            "licenses": MIT,
        }
        for name, pin in PINNED.items()
    ]
    found = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    release.add_hashes(found, PINNED)
    return found


def test_all_that_is_pinned_and_installed_here_is_asked_for() -> None:
    assert len(PINNED) > 20
    assert {"psycopg", "nats-py", "pydantic"} <= PINNED.keys()
    assert "colorama" not in PINNED, "it is for Windows"
    assert all(pin.version and pin.hashes for pin in PINNED.values())


def test_what_names_everything_lacks_nothing(bom: dict[str, Any]) -> None:
    assert release.lacking(bom, PINNED) == []


def without_package(bom: dict[str, Any]) -> None:
    bom["components"] = [one for one in bom["components"] if one["name"] != "Psycopg"]


def another_version(bom: dict[str, Any]) -> None:
    of_psycopg(bom)["version"] = "0"


def without_licence(bom: dict[str, Any]) -> None:
    of_psycopg(bom)["licenses"] = []


def without_hash(bom: dict[str, Any]) -> None:
    of_psycopg(bom)["externalReferences"][0]["hashes"].pop()


def another_hash(bom: dict[str, Any]) -> None:
    of_psycopg(bom)["externalReferences"][0]["hashes"][0]["content"] = "0" * 64


def of_psycopg(bom: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in bom["components"] if one["name"] == "Psycopg")
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_package, "is not there"),
        (another_version, "is not there"),
        (without_licence, "has no licence"),
        (without_hash, "has other hashes"),
        (another_hash, "has other hashes"),
    ],
)
def test_what_is_missing_is_named(bom: dict[str, Any], change: Callable[[dict[str, Any]], None], said: str) -> None:
    change(bom)

    (problem,) = release.lacking(bom, PINNED)

    assert problem.startswith("psycopg ")
    assert said in problem


def test_it_is_cyclonedx_or_not(bom: dict[str, Any]) -> None:
    pytest.importorskip("cyclonedx", reason="the validator is among what a release is made with: ./run release")
    wrong = copy.deepcopy(bom)
    of_psycopg(wrong)["hash"] = "x"

    assert release.invalid(json.dumps(bom), "1.6") == []
    assert release.invalid(json.dumps(wrong), "1.6") != []
