"""What comes from outside is shown, not obeyed, by a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from rich.text import Text

from publisher.cli.terminal.tables import print_details, print_table
from publisher.cli.terminal.text import console, line_printer, say, write
from publisher.text import visible, visible_json

HOSTILE = "a\x1b]52;c;aGk=\x07b\x1b[2Jc\nd\te\x9b31m\u202ef\u2028g\x00"
UNSEEN = [0xAD, 0x180E, 0x200B, *range(0x2060, 0x2066), *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC)]
UNSEEN += range(0xE0000, 0xE0080)
SHOWN = r"a\x1b]52;c;aGk=\x07b\x1b[2Jc\nd\te\x9b31m\u202ef\u2028g\x00"


def test_no_control_character_is_left_and_no_other_is_changed() -> None:
    for number in range(0x110000):
        character = chr(number)
        is_control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        is_direction = unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF"} | {
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        } or number in (0x200E, 0x200F, 0x061C)
        is_unseen = number in UNSEEN
        assert (visible(character) != character) is (is_control or is_direction or is_unseen), hex(number)


def test_names_that_look_the_same_are_the_same() -> None:
    tags = "".join(chr(0xE0000 + ord(character)) for character in "obey")
    assert visible(f"a\u200bb\ufeffc\xadd{tags}") == (r"a\u200bb\ufeffc\xadd\U000e006f\U000e0062\U000e0065\U000e0079")
    assert json.loads(visible_json(json.dumps(f"a\u200b{tags}", ensure_ascii=False))) == f"a\u200b{tags}"
    for written in ("👩‍💻", "می‌خواهم", "ක්‍ෂ"):  # with joiners
        assert visible(written) == written


@pytest.mark.parametrize("columns", [None, "400"])
def test_tables_details_lines_and_errors_show_them(
    columns: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    print_table({"name": [HOSTILE, Text(HOSTILE, "red")], "id": ["1", "2"]}, empty="")
    print_details({"name": HOSTILE, "metadata": {"a": HOSTILE}, "state": Text(HOSTILE)})
    line_printer(console())(Text(HOSTILE))
    write(HOSTILE)
    say(HOSTILE)
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line.strip()]
    assert len(lines) == 2 + 2 + 3 + 2  # a header, its rule and two rows; three details; two lines
    assert out.isprintable() or set(out) - set(filter(str.isprintable, out)) == {"\n"}
    assert out.count(SHOWN) == 3
    assert out.count(SHOWN.replace(r"\x07", "")) == 3  # rich drops a bell from what is its Text already
    assert err == f"{SHOWN}\n"


def test_nothing_is_cut_or_folded_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "x" * 300
    print_table({"name": [long], "path": [long], "id": [long]}, empty="")
    print_details({"path": long})
    line_printer(console())(Text(long))
    out = capsys.readouterr().out
    assert out.count(long) == 5
    assert "…" not in out


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        (80, {"name", "branch", "agent", "id"}),
        (41, {"name", "branch", "agent"}),
        (40, {"name", "branch"}),
        (30, {"name", "branch"}),
    ],
)
def test_a_narrow_terminal_loses_what_is_dispensable_first(
    columns: int, kept: set[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = {"name": "feat-search-by-name", "branch": "feat/search-by-name", "agent": "agent-ada", "id": "12345678"}
    print_table({name: [value] for name, value in rows.items()}, empty="", dispensable=("id", "agent"))
    out = capsys.readouterr().out
    header = out.splitlines()[1].split()
    assert set(header) == kept
    assert max(len(line) for line in out.splitlines()) <= columns
    assert "feat-search-" in out
