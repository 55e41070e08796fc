"""The long form: `./run faults --faults 500`, or `python -m tests.faults.suite`."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from docs import commit
from tests.faults.suite import page, results
from tests.faults.suite.ending import run_in_order
from tests.faults.suite.fault import FAULTS
from tests.faults.suite.run import Outcome, attack
from tests.faults.suite.schedule import Limits, obstacle
from tests.support.services import scratch_directory

KEPT = Path("fault-history")
FAULTS_OF_LONG_FORM = 500

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    faults: Annotated[
        int | None, typer.Option(min=1, help=f"End after so many faults; {FAULTS_OF_LONG_FORM} where nothing is said.")
    ] = None,
    minutes: Annotated[
        int | None, typer.Option(min=1, help="Begin no fault after so many minutes of them, or after --faults.")
    ] = None,
    seed: Annotated[str, typer.Option(help="Which schedule; a new one where none is given.")] = "",
    only: Annotated[str, typer.Option(help="Kinds of faults with this in their names alone.")] = "",
    record: Annotated[bool, typer.Option("--record", help="Add the run to docs/reliability.json.")] = False,
    history: Annotated[Path, typer.Option(help="Folder in which the history of a run that fails is kept.")] = KEPT,
) -> None:
    """Hurt a whole installation at random while it works, and judge what it told.

    Exit code 0: nothing was lost, told twice, out of order, or told though it never was; 1: something was, and the
    history is kept.
    """
    limits = Limits(faults or (None if minutes else FAULTS_OF_LONG_FORM), minutes)
    _check_kinds(only, limits)
    if Path(seed).name != seed:
        raise typer.BadParameter(
            f'"{seed}" must be the name of a folder, too: without "/" and ".."', param_hint="--seed"
        )
    of_commit = commit.to_be_recorded() if record else commit.checked_out()
    seed = seed or secrets.token_hex(4)
    folder = history / seed
    if folder.exists():
        raise typer.BadParameter(f"{folder} is the history of an earlier run: move it", param_hint="--seed")
    print(f"seed {seed}: {limits}; history in {folder}", flush=True)
    with scratch_directory() as directory:
        outcome = run_in_order(attack(seed, limits, directory, folder, only))
    run = results.of(outcome, of_commit)
    if record:
        results.add(run)
        page.write()
    if not conclude(run, outcome, folder):
        raise typer.Exit(1)


def _check_kinds(only: str, limits: Limits) -> None:
    """Raise where no kind would be left."""
    asked = [fault for fault in FAULTS.values() if only in fault.name]
    if not asked:
        raise typer.BadParameter(f'"{only}" is in none of {", ".join(sorted(FAULTS))}', param_hint="--only")
    if all(obstacle(fault, limits, only) for fault in asked):
        lacking = ", ".join(f"{fault.name} ({fault.lacks})" for fault in asked)
        raise typer.BadParameter(
            f'"{only}" is in kinds alone that this machine cannot have: {lacking}', param_hint="--only"
        )


def conclude(run: results.Run, outcome: Outcome, folder: Path) -> bool:
    """Tell what came of a run, and whether that is clean: then its history goes, else it is told where it is."""
    _show(run, outcome)
    if outcome.verdict.is_clean:
        shutil.rmtree(folder)
        print("clean")
    else:
        print(f"NOT CLEAN: {outcome.verdict}\nseed {outcome.seed}: history kept in {folder}")
    return outcome.verdict.is_clean


def _show(run: results.Run, outcome: Outcome) -> None:
    print(f"{run.faults} faults in {run.seconds:,.0f} s; {run.entries:,} changes, {run.outcomes:,} outcomes")
    print(f"{run.acts:6} of the changes are acts")
    print(f"{run.messages:6} messages, {run.overtaking} of them before a backlog")
    for name, count in run.counts.items():
        print(f"{count:6} {name}")
    for why, count in Counter(run.left_out.values()).most_common():
        print(f"{count:6} kinds left out: {why}")
    for what, count in run.broken.items():
        print(f"{count:6} {what}")
    print(f"{outcome.verdict.taken_back:6} entries that promoted standbys lacked")


if __name__ == "__main__":
    app()
