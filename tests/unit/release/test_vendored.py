"""What the wheel ships of others' JavaScript is listed with its hash and its licence, or there is no release."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import release
import vendored

ROOT = Path(__file__).parents[3]
LISTED = {file: digest for package in vendored.PACKAGES for file, digest in package.files.items()}
ANOTHER = "0" * 64


def test_what_is_shipped_is_what_is_listed() -> None:
    files = (ROOT / vendored.FOLDER).iterdir()
    assert vendored.problems({file.name: release.sha256(file) for file in files}) == []


@pytest.mark.parametrize(
    ("shipped", "said"),
    [
        (LISTED | {"jquery.min.js": ANOTHER}, "jquery.min.js is vendored and not listed in .ci/vendored.py"),
        (LISTED | {"htmx.min.js": ANOTHER}, f"htmx.min.js is not the one that is listed: {ANOTHER}"),
        (
            {file: digest for file, digest in LISTED.items() if file != "uPlot.LICENSE"},
            "uPlot.LICENSE is listed in .ci/vendored.py and not there",
        ),
    ],
    ids=["one more", "another one", "one that is gone"],
)
def test_what_differs_from_the_list_is_named(shipped: dict[str, str], said: str) -> None:
    assert vendored.problems(shipped) == [said]


def test_a_package_without_the_text_of_its_licence_is_named() -> None:
    bare = [
        package._replace(files={file: digest for file, digest in package.files.items() if "LICENSE" not in file})
        for package in vendored.PACKAGES[:1]
    ]
    assert vendored.problems(bare[0].files, bare) == ["the licence of htmx.org is not there"]


def wheel(folder: Path, *more: str) -> Path:
    """One with what is vendored, a file of our own, and `more`."""
    made = folder / "some.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for file in (ROOT / vendored.FOLDER).iterdir():
            archive.write(file, f"{vendored.FOLDER}{file.name}")
        for name in ("publisher/web/console/static/console.js", *more):
            archive.writestr(name, "x")
    return made


def test_a_file_of_others_in_the_wheel_is_seen_wherever_it_is(tmp_path: Path) -> None:
    assert vendored.shipped(wheel(tmp_path)) == LISTED
    more = ["publisher/web/console/static/chart.min.js", "publisher/vendor/chart.js", f"{vendored.FOLDER}chart.css"]
    assert vendored.shipped(wheel(tmp_path, *more)).keys() - LISTED.keys() == {more[0], more[1], "chart.css"}


def test_one_that_is_not_listed_ends_the_release_before_anything_is_tried(tmp_path: Path) -> None:
    made = wheel(tmp_path, "publisher/vendor/chart.js")
    with pytest.raises(SystemExit, match=r"^some\.whl: publisher/vendor/chart\.js is vendored and not listed in"):
        release.release(tmp_path, made, tmp_path / "some.tar.gz")
    assert [*tmp_path.iterdir()] == [made]


def test_the_bill_of_materials_has_each_with_version_licence_and_hashes(bom: dict[str, Any]) -> None:
    vendored.add_to(bom)

    told = {component["purl"]: component for component in bom["components"]}
    assert [*told] == ["pkg:npm/htmx.org@2.0.11", "pkg:npm/uplot@1.6.32"]
    for package in vendored.PACKAGES:
        component = told[package.purl]
        assert (component["name"], component["version"]) == (package.name, package.version)
        assert component["licenses"] == [{"license": {"id": package.licence}}]
        assert {
            Path(file["name"]).name: [one["content"] for one in file["hashes"]] for file in component["components"]
        } == {file: [digest] for file, digest in package.files.items()}
    assert bom["dependencies"] == [{"ref": "root", "dependsOn": ["b", *told]}, {"ref": "b"}] + [
        {"ref": reference} for reference in told
    ]


def test_it_is_cyclonedx_with_them(bom: dict[str, Any]) -> None:
    pytest.importorskip("cyclonedx", reason="the validator is among what a release is made with: ./run release")
    vendored.add_to(bom)
    assert release.invalid(json.dumps(bom), "1.6") == []


def test_their_licences_are_known_and_stand_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pip-licenses"
    program.write_text("#!/bin/sh\necho '[]'\n")
    program.chmod(0o755)
    monkeypatch.setattr(release, "tool", lambda _name: str(program))

    table = release.licences(tmp_path / "python")

    assert "| htmx.org | 2.0.11 | 0BSD | https://htmx.org |\n" in table
    assert "| uplot | 1.6.32 | MIT | https://github.com/leeoniya/uPlot |\n" in table

    monkeypatch.setattr(vendored, "PACKAGES", [vendored.PACKAGES[0]._replace(licence="GPL-3.0-only")])
    with pytest.raises(SystemExit, match=r"nobody has looked at yet: htmx\.org: GPL-3\.0-only$"):
        release.licences(tmp_path / "python")


def test_a_vulnerability_that_the_database_knows_of_is_told(database: list[bytes], asked: list[Any]) -> None:
    database.append(json.dumps({"results": [{}, {"vulns": [{"id": "GHSA-1", "modified": "x"}]}]}).encode())

    assert vendored.vulnerabilities() == {"htmx.org 2.0.11": [], "uplot 1.6.32": ["GHSA-1"]}
    assert asked == [{"queries": [{"package": {"purl": package.purl}} for package in vendored.PACKAGES]}]


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"{}", b"[]", b'{"results": null}', b'{"results": [{}]}', b'{"results": [1, 2]}'],
    ids=["nothing", "a page", "another", "a list", "no results", "too little", "numbers"],
)
def test_what_is_no_answer_of_the_database_tells_nothing(database: list[bytes], answer: bytes) -> None:
    database.append(answer)
    assert vendored.vulnerabilities() is None


@pytest.fixture
def asked() -> list[Any]:
    """What the database was asked."""
    return []


@pytest.fixture
def database(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The database of vulnerabilities, which answers with what is put here."""
    answers: list[bytes] = []

    class Database(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[-1])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Database) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(vendored, "DATABASE", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield answers
        server.shutdown()


@pytest.fixture
def bom() -> dict[str, Any]:
    """What CycloneDX's program writes, as far as it is read."""
    subject = {"type": "application", "bom-ref": "root", "name": "imi-registry", "version": "1"}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": [],
        "dependencies": [{"ref": "root", "dependsOn": ["b"]}, {"ref": "b"}],
    }
