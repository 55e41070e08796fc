"""Writes figures into pages and program: `python docs/figures.py`; `--check` fails when one is not what was measured.

A page stays prose: what is looked for are the words around a figure, however their lines are broken. What each figure
is, `docs/measured.py` says.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.measured import SAID, Results, figures

ROOT = Path(__file__).resolve().parents[1]
PLACES: dict[str, list[str]] = {
    "README.md": [
        "| **{latency, ratio} ×** | from the acknowledged COMMIT",
        "may lose it: {latency} ms and {latency, bare}, median at 100 changes",
        "| **{drain, python} ×** | the fastest Python outbox library",
        "fenced and in order: {drain} events a second",
        "| **{one row, Debezium} ×** | the highest rate",
        "keeps up with, {bulk, Debezium} × in bulk; at 1,000 changes a second for {cpu, Debezium} times its CPU.",
        "Beside mq-bridge in the mode that keeps order: {one row, in order} × and {bulk, in order} × (",
        "of {changes} changes lost, repeated or out of order over {faults} faults",
    ],
    "docs/comparison.md": [
        "mq-bridge (Rust) does {drain, mq-bridge} events/s, this publisher (Python) {drain}, the Python outbox"
        " libraries {drain, nats-outbox} and {drain, faststream-outbox};",
        "| Debezium's embedded engine | {one row, Debezium} | {bulk, Debezium} | {cpu, Debezium} |",
        "| mq-bridge `postgres_cdc`, batches of 1 | {one row, in order} | {bulk, in order} | {cpu, in order} |",
        "| mq-bridge `postgres_cdc`, as it comes | {one row, mq-bridge} | {bulk, mq-bridge} | {cpu, mq-bridge} |",
        "PostgreSQL spends {postgres, in order} times the CPU of bare writes on it; an outbox has the whole row written"
        " once more, which takes {postgres, outbox} times",
        "{writers} of the rate without triggers",
        "about {drain, thousands} events/s on two cores",
    ],
    "docs/faq.md": ["at about {drain, thousands} a second on two cores"],
    "docs/capacity.md": [
        "| {outbox, recorded} bytes | an event in PostgreSQL: {outbox} for row and index",
        "| {stream} bytes | an event in the stream, in each copy",
        "| {wal} bytes | the WAL of a write",
        "| {even, µs} µs | of a core for a write of one row",
        "at the highest steady rate {highest, µs} µs",
        "| {bulk, µs} µs | of a core for one more row",
        "| {drain, µs} µs | of a core to publish an event",
        "two cores for {drain} a second. So much one more row",
        "| {drain}/s | what one publisher brings",
    ],
    "docs/scaling.md": [
        "16 clients | {writes} transactions/s |",
        "| events of a bulk statement | {bulk} events/s |",
        "| `D`: outbox to stream | {drain} events/s |",
        "| the stream itself: bare atomic batches from memory | {bare} messages/s |",
        "in the outbox with its index | {stream}, {outbox} bytes |",
        "a machine with about {cores, one stream} cores for PostgreSQL",
        "100,000 projects instead of 100 cost {drain, projects} % of `D`",
        "an event adds about {wal, event} bytes to it, so 100,000 events/s are some {wal, MB/s} MB/s",
        "| 0 | 1 | {gaps 0, wal} bytes |",
        "| 10 | {gaps 10, p50} | {gaps 10, wal} bytes |",
        "| 1,000 | {gaps 1,000, p50} | {gaps 1,000, wal} bytes |",
        "| 100,000 | {gaps 100,000, p50} | {gaps 100,000, wal} bytes |",
        "| shards by the publisher | 10^6 / (0.7 × {drain}) | {shards} |",
        "small transactions | 2 × 10^6 / {writes} | {cores, small} |",
        "100 events in a transaction | 10^6 / {bulk} | {cores, bulk} |",
        "a matter of databases: {cores, small} cores, as {servers} servers with 32 cores each",
        "In bulk databases need {cores, bulk} cores",
        "| 10^9 × {stream} bytes × 3 | {kept, streams} TB |",
        "| 10^9 × {outbox} bytes × 2 | {kept, outboxes} TB |",
        "| divided by 143 | {kept, stream} GB, {kept, outbox} GB |",
        "| 10^9 / 143 / {drain} | {rebuilt} minutes |",
        "holds about {held} minutes",
    ],
    "docs/outages.md": [
        "as on any other day**, by {outbox} bytes an event",
        "| memory of `serve` | {away, memory} MiB:",
        "| catching up | {drain} events/s on two quiet cores",
        "| {away, 2} s, {away, 20} s, {away, 200} minutes |",
        "Catching up went on at {back, events} events/s",
        "A command that waits takes some {command} bytes and its data: 100,000 are {command, MB} MB.",
        "each once, at {commands} a second on two quiet cores ([performance.md](performance.md#commands)): 100,000 in"
        " {commands, 100,000} s.",
        "all were carried out, at {back, commands} a second",
    ],
    "docs/nats.md": [
        "at {commands} commands/s ([performance.md](performance.md))",
        "| 5,000 ÷ rate | {commands, one kind} s;",
        "| 65,000 ÷ rate | {commands, all kinds} s;",
        "| 100,000 ÷ rate | {commands, 100,000} s;",
    ],
    "docs/sites.md": [
        "| p50 {mirror, p50} ms, p99 {mirror, p99} ms | p50 {replica, p50} ms, p99 {replica, p99} ms |",
        "| keeps up with | {mirror, rows} rows/s | {replica, rows} rows/s |",
    ],
    "docs/counts.md": [
        "those 24 hours | {stats} ms |",
        "| a row a project | {summary} ms |",
        "that have some in flight | {inflight} ms |",
        "an update of one row takes {counts, update} times",
        "`log_activity` {counts, log} times",
    ],
    "publisher/capacity/estimate.py": [
        "outbox_bytes={outbox} + 132,",
        "stream_bytes={stream},",
        "wal_bytes={wal},",
        "write_cpu_seconds={even, µs} / 1_000_000,",
        "row_cpu_seconds={bulk, µs} / 1_000_000,",
        "publish_cpu_seconds=2 / {drain},",
        "publish_rate={drain},",
    ],
}
"""The words around each figure, which are there once."""
TABLES = {"docs/comparison.md": "faults of sides"}
"""Page to the name of the table that is made for it."""
MADE = re.compile(
    r"(?<=^<!-- made by docs/figures\.py -->\n\n).*?(?=\n\n<!-- end of it -->$)", re.DOTALL | re.MULTILINE
)
NUMBER = r"(\d(?:[\d,._]*\d)?)"
NAME = re.compile(r"\{([^{}]+)\}")
SHOWN = "imi-registry capacity --writes 200/s --keep 90d"


def filled(text: str, places: Sequence[str], wanted: Mapping[str, str]) -> tuple[str, list[str]]:
    """The text with the figures as they must be, and each of the `places` that is not in it just once."""
    missing = []
    for place in places:
        words = NAME.split(place)
        pattern = re.compile(NUMBER.join(re.sub(r"(?:\\\s)+", r"\\s+", re.escape(part)) for part in words[::2]))
        found = list(pattern.finditer(text))
        if len(found) != 1:
            missing.append(f'"{place}" is there {len(found)} times; it must be there once')
            continue
        for number, name in reversed(list(enumerate(words[1::2], start=1))):
            start, end = found[0].span(number)
            text = text[:start] + wanted[name] + text[end:]
    return text, missing


def pages(root: Path, wanted: Mapping[str, str]) -> tuple[dict[Path, str], list[str]]:
    """Each page as it must be, and what is wrong with the words."""
    found, faults = {}, []
    code = {name: text.replace(",", "_") for name, text in wanted.items()}
    for page, places in PLACES.items():
        path = root / page
        text = path.read_text(encoding="utf-8")
        found[path], missing = filled(text, places, code if path.suffix == ".py" else wanted)
        faults += [f"{page}: {fault}: change PLACES in docs/figures.py with the words" for fault in missing]
        if page in TABLES:
            found[path] = with_table(page, found[path], wanted[TABLES[page]])
    return found, faults


def with_table(page: str, text: str, table: str) -> str:
    """The text of a page with its table. Raises `LookupError` where there is not one place for it."""
    text, times = MADE.subn(lambda _: table, text)
    if times != 1:
        raise LookupError(f"{page}: a table made by docs/figures.py is there {times} times")
    return text


def untrue(root: Path, results: Results) -> list[str]:
    """What pages say without a figure, and what was measured does not show."""
    return [
        f'{page}: "{words}" is not there, or no longer so: change the words, and SAID in docs/measured.py'
        for page, words, is_so in SAID
        if words not in " ".join((root / page).read_text(encoding="utf-8").split()) or not is_so(results)
    ]


def with_capacity(text: str) -> str:
    """docs/capacity.md with what its command prints."""
    program = [sys.executable, "-m", "publisher", *SHOWN.split()[1:]]
    environment = os.environ | {"COLUMNS": "80"}
    printed = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    lines = "\n".join(line.rstrip() for line in printed.splitlines()).strip("\n")
    block = re.compile(rf"(?<=```console\n\$ {re.escape(SHOWN)}\n).*?(?=\n```)", re.DOTALL)
    text, times = block.subn(lambda _: lines, text)
    if times != 1:
        raise LookupError(f'docs/capacity.md: a block that shows "{SHOWN}" is there {times} times')
    return text


def main(arguments: list[str]) -> int:
    """Write the figures, or compare them; returns the exit code."""
    handle = differing if arguments == ["--check"] else written
    page = ROOT / "docs" / "capacity.md"
    try:
        results = Results.read()
        found, faults = pages(ROOT, figures(results))
        faults += untrue(ROOT, results)
        for path, text in found.items():
            faults += handle(path, text)
        faults += handle(page, with_capacity(page.read_text(encoding="utf-8")))  # by the program as it is now
    except LookupError as error:
        faults = [f"{error.args[0]}: change docs/figures.py and docs/measured.py with it"]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def written(path: Path, text: str) -> list[str]:
    """Put the text there."""
    path.write_text(text, encoding="utf-8")
    return []


def differing(path: Path, text: str) -> list[str]:
    """What to do where another text is there."""
    if path.read_text(encoding="utf-8") == text:
        return []
    return [f"{path.relative_to(ROOT)}: figures are not those that were measured: run python docs/figures.py"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
