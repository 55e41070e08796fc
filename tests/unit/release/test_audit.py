"""Whether a pinned package has a known vulnerability: `.ci/release.py` asks pip-audit, and ends at one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import release
import vendored

VULNERABLE = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}
FINE = {"name": "b", "version": "2", "vulns": []}
NOWHERE = "http://127.0.0.1:9/"
SKIPPED = "vulnerabilities: skipped for the {}, no database of them can be reached from here\n"
NOT_KNOWN = {"name": "c", "skip_reason": "not found"}


@pytest.fixture
def pip_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program that is asked; what is written into it is what it answers. Of npm there is no database."""
    monkeypatch.setattr(vendored, "DATABASE", NOWHERE)
    program = tmp_path / "pip-audit"
    monkeypatch.setattr(release, "tool", lambda _name: str(program))
    return program


def answers(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit 1\n")
    program.chmod(0o755)


def pinned() -> list[str]:
    return sorted((file.name for file in release.ROOT.glob("constraints*.txt")), key=len)


def test_a_package_with_a_known_vulnerability_ends_the_release_with_its_name(pip_audit: Path) -> None:
    answers(pip_audit, json.dumps({"dependencies": [VULNERABLE, FINE, NOT_KNOWN]}))
    with pytest.raises(SystemExit, match=r"known vulnerabilities: a 1: CVE-1$"):
        release.audit()


def test_packages_without_one_are_counted_and_those_of_which_nothing_is_known_named(
    pip_audit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(pip_audit, json.dumps({"dependencies": [FINE, NOT_KNOWN]}))
    release.audit()
    assert capsys.readouterr().out == (
        "".join(f"vulnerabilities: skipped for c of {file}: not found\n" for file in pinned())
        + SKIPPED.format("vendored packages")
        + "vulnerabilities: none is known of the 1 pinned packages\n"
    )


@pytest.mark.parametrize("text", ["", json.dumps({"dependencies": [NOT_KNOWN]})], ids=["no answer", "nothing known"])
def test_the_audit_is_skipped_where_no_database_can_be_reached(
    pip_audit: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(pip_audit, text)
    release.audit()
    skipped = [*(f"packages of {file}" for file in pinned()), "vendored packages"]
    assert sorted(capsys.readouterr().out.splitlines(keepends=True)) == sorted(map(SKIPPED.format, skipped))


def test_what_one_file_has_is_told_though_no_database_answers_for_another(
    pip_audit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, others = (
        json.dumps({"dependencies": [VULNERABLE]}),
        json.dumps({"dependencies": [VULNERABLE | {"vulns": []}]}),
    )
    pip_audit.write_text(
        f"#!/bin/sh\ncase \"$*\" in\n*/constraints.txt) echo '{first}' ;;\n*-dev.txt) ;;\n*) echo '{others}' ;;\nesac\n"
    )
    pip_audit.chmod(0o755)
    with pytest.raises(SystemExit, match=r"known vulnerabilities: a 1: CVE-1$"):
        release.audit()
    assert capsys.readouterr().out == (
        SKIPPED.format("packages of constraints-dev.txt") + SKIPPED.format("vendored packages")
    )
