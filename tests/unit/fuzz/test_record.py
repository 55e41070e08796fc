"""What docs/security.md says of the long form of fuzzing is what was recorded of it."""

from __future__ import annotations

from tests.support.fuzz.record import PAGE, Run, recorded, rendered, sentence


def test_the_page_tells_of_the_run_that_is_recorded() -> None:
    page = PAGE.read_text()
    assert sentence(recorded()) in page
    assert rendered(page, recorded()) == page


def test_a_run_with_failures_names_them() -> None:
    run = Run(date="2026-01-01", commit="abc", messages_of_each=10, readers=200, failed=["command", "event"])
    assert sentence(run).endswith("for 200 readers: 2,000 in all, failed: command, event.")
