"""No file and no folder of the checkout may be too large: each that is is named, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.sizes import EXEMPT, FILES, LINES, problems
from tests.support.git.repositories import checkout, git

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return checkout(tmp_path / "tree")


def write(tree: Path, name: str, lines: int) -> None:
    file = tree / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x\n" * lines)


@pytest.mark.parametrize("is_tracked", [True, False])
@pytest.mark.parametrize("name", ["tests/test_x.py", "run", "größe.sql", "docs/page.md"])
def test_a_file_of_too_many_lines_is_named(tree: Path, name: str, is_tracked: bool) -> None:
    write(tree, name, LINES)
    assert problems(tree, {}) == []
    write(tree, name, LINES + 1)
    if is_tracked:
        git(tree, "add", "--all")
    assert problems(tree, {}) == [
        f"{name} has 301 lines; it must have at most 300: split it along its subjects",
    ]


def test_a_folder_of_too_many_files_is_named_but_pages_and_rooms_in_it_do_not_count(tree: Path) -> None:
    for number in range(FILES):
        write(tree, f"tests/room/{number}.py", 1)
        write(tree, f"tests/room/{number}.md", 1)
        write(tree, f"tests/room/{number}/inner.py", 1)
    assert problems(tree, {}) == []
    write(tree, "tests/room/one_more.sql", 1)
    assert problems(tree, {}) == [
        "tests/room/ has 21 files; it must have at most 20: make rooms of it, by subject",
    ]


def test_what_git_ignores_or_does_not_find_any_more_does_not_count(tree: Path) -> None:
    write(tree, "built/large.py", LINES + 1)
    (tree / ".gitignore").write_text("built/\n")
    write(tree, "gone.py", LINES + 1)
    git(tree, "add", "--all")
    (tree / "gone.py").unlink()
    assert problems(tree, {}) == []


def test_what_is_exempt_is_so_by_its_name(tree: Path) -> None:
    write(tree, "made/large.py", LINES + 1)
    write(tree, "made_by_hand.py", LINES + 1)
    for number in range(FILES + 1):
        write(tree, f"many/small/{number}.py", 1)
    assert problems(tree, {"made/*": "generated", "many/*": "generated"}) == [
        "made_by_hand.py has 301 lines; it must have at most 300: split it along its subjects",
    ]


def test_an_exemption_that_nothing_needs_is_named(tree: Path) -> None:
    write(tree, "made/small.py", LINES)
    assert problems(tree, {"made/*": "generated"}) == [
        'docs/sizes.py: the exemption "made/*" is not needed: nothing it names is too large; remove it'
    ]


def test_every_file_and_folder_of_this_checkout_is_small_enough() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout: nobody knows which files are its own")
    assert all(EXEMPT.values())
    assert problems(ROOT) == []
