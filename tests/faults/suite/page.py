"""docs/reliability.md out of docs/reliability.json: each promise, why it holds, what attacks it, the latest figures."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from statistics import median

from tests.faults.suite.promises.texts import FOUND, NOT_DONE, OTHERS, PROMISES
from tests.faults.suite.results import DOCS, Results, Run, SharedKills, Takeovers, read

FILE = DOCS / "reliability.md"
LATEST_RUNS = 10
INTRODUCTION = """\
# Reliability

Written by `python -m tests.faults.suite.page` out of `reliability.json`; do not edit. What is promised, why it holds,
what attacks it, and what came of it. What to do when something is lost: [high-availability.md](high-availability.md).

`./run faults --faults 500` runs the long form of the fault suite, `--minutes 30` one of half an hour (with both, what
comes first ends it), `--seed` repeats the schedule of an earlier run, `--record` adds the result to this page, clean
or not; runs without it are not on it. Two publishers, two appliers, a subscriber, PostgreSQL with a synchronous
standby and a cluster of three nats-servers work, each on lines of its own (the nodes among themselves, the standby to
its primary and PgBouncer, too), while eight writers change shared rows by SQL and by commands: some roll back, some
hold transactions open, one writes through PgBouncer, some do not wait for the disk, some write more than a batch
holds. A row stands for a project and its worktrees, whose changes have one order; events of a project that has none
waiting may overtake a backlog, with one publisher from 10 events on, with the other from 5,000 ([ADR
18](adr/0018-lane.md)). Most rows are there all the time. Twenty are projects that come and go: they are registered,
with up to three worktrees, deactivated and taken up again, merged into one another with all that is in them, deleted,
and registered anew; their worktrees are merged, removed, taken up again and deleted. Each of these is an entry in the
writers' table like a change, told by one event, in the order of its row. (To a subscriber it is that of its project:
one that is registered anew has another id, and a worktree that a merge moves has another project.) Faults come in
random order, two at once now and then, for up to twelve seconds, in the long form for minutes, too. The judge reads
what the writers' own table holds, every message of the stream with a bare NATS client, a replay, and what the
subscriber noted: neither the outbox nor the relay's record is believed. Of commands it reads what their senders were
answered: each has one event of its outcome, under the id that the sender gave, behind its change. A run that fails
keeps its history.
"""

TAKEOVERS_SINCE = """
On a machine that is busy with other things it takes longer. A publisher that was parted from NATS within the last ten
seconds already is given twice as long, and so on up to a minute: they are measured eleven seconds apart.
"""


def text(results: Results) -> str:
    """The page."""
    parts = [INTRODUCTION, "\n## Promises\n\n"]
    latest = results.runs[-1] if results.runs else None
    parts.append("| promise | why it holds | what attacks it | broken, latest recorded run | all recorded runs |\n")
    parts.append("|---|---|---|--:|--:|\n")
    for promise, why, attack, key in PROMISES:
        last = latest.broken.get(key, 0) if latest else "not run"
        in_all = sum(run.broken.get(key, 0) for run in results.runs)
        parts.append(f"| {promise} | {why} | {attack} | {last} | {in_all} |\n")
    parts.append("\n## What tests of their own attack, at each change\n\n")
    parts.append("| promise | why it holds | what attacks it | held on (commit) |\n|---|---|---|---|\n")
    parts += [f"| {promise} | {why} | {attack} | {_held(attack, results)} |\n" for promise, why, attack in OTHERS]
    parts += [*_runs(results.runs), *_takeovers(results.takeovers), *_shared_kills(results.shared_kills)]
    parts += [FOUND, NOT_DONE, *_kinds(results.runs)]
    return "".join(parts)


def write() -> None:
    """Write the page, and the totals that other pages have of it."""
    FILE.write_text(text(read()))
    subprocess.run([sys.executable, DOCS / "figures.py"], check=False)  # it says what it cannot write


def files_in(attack: str) -> list[str]:
    """The files of tests that it names."""
    return re.findall(r"tests/[\w/]+\.py", attack)


def _held(attack: str, results: Results) -> str:
    """What is recorded of each of the tests that `attack` names."""
    own = {one.file: f"{one.date} ({one.commit}), in {one.seconds:.0f} s" for one in results.own_tests}
    found = [own.get(file, f"`{file}`: not recorded yet") for file in files_in(attack)]
    if "test_large_transactions" in attack:
        found += [
            f"{one.events:,} events, {one.kills} kills: {one.date} ({one.commit}), in {one.seconds:.0f} s"
            for one in results.large_transactions[-1:]
        ]
    return "; ".join(found)


def _runs(runs: list[Run]) -> list[str]:
    faults, entries = sum(run.faults for run in runs), sum(run.entries for run in runs)
    parts = [
        f"\n## Runs\n\nRecorded runs: {len(runs)}, faults: {faults:,}, numbered changes: {entries:,}; the latest:\n\n"
    ]
    titles = [
        "faults",
        "changes",
        "acts",
        "outcomes",
        "messages",
        "overtaking",
        "broken promises",
        "handled again",
        "taken back",
        "minutes",
    ]
    parts.append(f"| date | version | commit | seed | {' | '.join(titles)} |\n")
    parts.append(f"|---|---|---|---|{'--:|' * len(titles)}\n")
    parts += [
        f"| {run.date} | {run.version} | {run.commit} | {run.seed} | {run.faults} | {run.entries:,} "
        f"| {_judged(run.acts)} | {_judged(run.outcomes)} | {run.messages:,} | {run.overtaking:,} "
        f"| {sum(run.broken.values())} | {run.repeated:,} | {run.taken_back:,} | {run.seconds / 60:.0f} |\n"
        for run in runs[-LATEST_RUNS:]
    ]
    for run in runs[-1:]:
        parts.append(
            f"\nThe last one with {run.servers}. Events flowed again at the latest {run.slowest_recovery_seconds:g} s\n"
            f"after a fault was over ({run.slowest_recovery_of}).\n`handled again` counts events that the "
            "subscriber noted, and had not acknowledged when it was killed, and all of them\nwhere its "
            "consumer was deleted while it was away, since it then begins anew;\n`acts` the changes that deleted, "
            "deactivated, removed, merged or moved a project or a worktree, or took it up again;\n"
            "`outcomes` events of commands that were answered, each looked for by the command's id;\n"
            "`overtaking` messages that went before a backlog of other projects;\n"
            "`taken back` changes that were committed while PostgreSQL did not wait for its standby, and that\n"
            "this one lacked when it was promoted:\n"
            "[high-availability.md](high-availability.md#what-asynchronous-replication-costs).\n"
        )
    return parts


def _judged(count: int | None) -> str:
    return "not judged" if count is None else f"{count:,}"


def _kinds(runs: list[Run]) -> list[str]:
    counts: Counter[str] = Counter()
    for run in runs:
        counts.update(run.counts)
    latest, left_out = (runs[-1].counts, runs[-1].left_out) if runs else ({}, {})
    lines = [
        f"| {name} | {latest.get(name, 0)}{f': {left_out[name]}' if name in left_out else ''} | {counts[name]} |\n"
        for name in sorted(counts.keys() | left_out.keys())
    ]
    return [
        "\n## Faults\n\nA kind that the latest of these runs lacks stands here with the reason: it was not drawn, "
        "or the machine lacked something.\n\n| fault | times, latest recorded run | all of them |\n|---|--:|--:|\n",
        *lines,
    ]


def _takeovers(takeovers: list[Takeovers]) -> list[str]:
    if not takeovers:
        return []
    parts = [
        "\n## Takeovers\n\nFrom the moment the leader is lost until the other one has published a change, or carried\n"
        "out a command, with the default settings, while nobody else writes or sends commands.\n"
        "`python -m tests.faults.suite.takeover` measures them, and fails where one took longer than the\n"
        "limit that we set. `stopped` is SIGTERM.\n\n",
        "| leader | what happens to it | times | median | maximum | limit | measured |\n",
        "|---|---|--:|--:|--:|--:|---|\n",
    ]
    for one in takeovers:
        parts.append(
            f"| {one.part} | {one.way} | {len(one.seconds)} | {median(one.seconds):.2f} s | {max(one.seconds):.2f} s "
            f"| {one.limit_seconds:g} s | {one.date}, commit {one.commit} |\n"
        )
    parts.append(TAKEOVERS_SINCE)
    return parts


def _shared_kills(runs: list[SharedKills]) -> list[str]:
    if not runs:
        return []
    titles = ["kills", "our events", "of others", "broken promises", "minutes"]
    return [
        "\n## Kills on a shared stream\n\nTwo publishers of the profile `bloodbank` on nats-server 2.10, without fence "
        "and batches,\nbeside another producer; a random one of them is killed, over and over, while eight writers\n"
        "work: `pytest --long tests/faults/relay/test_old_servers.py`.\n\n",
        f"| date | commit | {' | '.join(titles)} |\n|---|---|{'--:|' * len(titles)}\n",
        *(
            f"| {run.date} | {run.commit} | {run.kills} | {run.messages:,} | {run.of_others:,} | {run.broken} "
            f"| {run.seconds / 60:.0f} |\n"
            for run in runs
        ),
    ]


if __name__ == "__main__":
    write()
