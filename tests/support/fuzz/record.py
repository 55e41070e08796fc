"""The long form of fuzzing, recorded: `python -m tests.support.fuzz.record [options of pytest]`.

Writes docs/fuzzing.json, and what docs/security.md says of it. Ends with exit code 1 when a reader failed, which is
recorded as well; a run that was cut off, or left readers out, is not, and none is begun in a checkout with changes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from pydantic import BaseModel

from docs.commit import to_be_recorded
from tests.support.fuzz.readers import READERS
from tests.unit.fuzz.test_foreign_bytes import LONG

ROOT = Path(__file__).parents[3]
FILE, PAGE = ROOT / "docs" / "fuzzing.json", ROOT / "docs" / "security.md"
BEGIN, END = "<!-- made by tests/support/fuzz/record.py -->\n", "<!-- end of it -->"
TESTS = "tests/unit/fuzz/test_foreign_bytes.py"
LONG_FORM = "test_a_reader_raises_what_it_promises_over_many_more"
NO_TIMEOUT = "--override-ini=faulthandler_timeout=0"  # a reader of files takes ten minutes


class Run(BaseModel):
    """One run of the long form."""

    date: str
    commit: str
    messages_of_each: int
    readers: int
    failed: list[str]
    """Readers that raised what they do not promise."""


def main(arguments: list[str]) -> int:
    """Run it, and record it; returns the exit code."""
    commit = to_be_recorded()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "--long", TESTS, "-k", LONG_FORM, f"--junitxml={report}", NO_TIMEOUT]
        code = subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode
        outcomes = dict(_outcomes(report)) if report.exists() else {}
    if len(outcomes) != len(READERS):
        print(f"not recorded: {len(outcomes)} of {len(READERS)} readers were run", file=sys.stderr)
        return code or 1
    run = Run(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=commit,
        messages_of_each=LONG,
        readers=len(READERS),
        failed=sorted(name for name, is_well in outcomes.items() if not is_well),
    )
    FILE.write_text(run.model_dump_json(indent=2) + "\n")
    PAGE.write_text(rendered(PAGE.read_text(), run))
    return code


def recorded() -> Run:
    """The last run."""
    return Run.model_validate_json(FILE.read_bytes())


def rendered(page: str, run: Run) -> str:
    """The page with what is to be said of a run."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{sentence(run)}\n{END}{after}"


def sentence(run: Run) -> str:
    """What is to be said of a run."""
    found = f"failed: {', '.join(run.failed)}" if run.failed else "without a failure"
    total = run.readers * run.messages_of_each
    return f"Run whole last on {run.date}, at {run.commit}, for {run.readers} readers: {total:,} in all, {found}."


def _outcomes(report: Path) -> Iterator[tuple[str, bool]]:
    """Each reader that was run, and whether it raised nothing that it does not promise."""
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # pytest's own
        if case.find("skipped") is None:
            yield case.attrib["name"].partition("[")[2].removesuffix("]"), len(case) == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
