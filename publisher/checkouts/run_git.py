"""The one place that runs git: it answers, and runs no program that a repository or a user's configuration names.

What could run one, and what keeps it from it (git-config(1), git(1) "Environment Variables", gitattributes(5)):

- `core.fsmonitor`, hooks, filters of `.gitattributes`: the settings below, and `without_filters`.
- a submodule's own settings, of which git would ask there: `status` is told to stay out, see `git.uncommitted`.
- `gpg.program`: `git log` is told to show no signature. Pagers, editors, aliases, external diffs: none of the commands
  we ask uses them.
- what fetches: a partial clone does so for an object it lacks, by `core.sshCommand`, `remote.*.uploadpack`, `ext::` or
  a credential helper. No protocol is allowed.
- a variable `GIT_…`: only those in `KEPT` are handed on, and those that a git hook sets for its own repository are not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import takewhile
from pathlib import Path

from publisher.checkouts import pipes
from registry.errors import RegistryError, Unusable

TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 2.0
"""A git that takes longer may wait for a named pipe."""
OLDEST = (2, 31)
"""The first with `rev-parse --path-format` and with `locked` and `prunable` in `worktree list`."""
KEPT = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CEILING_DIRECTORIES"}
"""Where the user's configuration is (`insteadOf`, `safe.directory`), and where a search for a repository ends."""
ENVIRONMENT = {
    "LC_ALL": "C",
    "LANGUAGE": "",
    "GIT_OPTIONAL_LOCKS": "0",  # nothing is written, so there is no post-index-change hook either
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "none",  # beats protocol.*.allow; an empty one would not
    "GIT_NO_LAZY_FETCH": "1",
    # trace2.* of the user's configuration would write into our stderr, or into a file at every question
    "GIT_TRACE2": "0",
    "GIT_TRACE2_EVENT": "0",
    "GIT_TRACE2_PERF": "0",
}
SETTINGS = (
    "core.fsmonitor=",  # before 2.36 the name of a program, to which "false" would be one as well
    f"core.hooksPath={os.devnull}",
    f"diff.orderFile={os.devnull}",
    "core.alternateRefsCommand=",
    "log.showSignature=false",
    "diff.renameLimit=1000",
    "status.renameLimit=1000",
)


def ask(folder: Path, *arguments: str, at_most: Path | None = None) -> str | None:
    """Output of a git command, without the line break at its end; None where it fails, as for what is not there.

    The repository is looked for in `folder` and what that is in; `at_most` is the folder where the search ends.
    """
    done = _call(folder, arguments, at_most)
    return _text(done.stdout) if done.returncode == 0 else None


def run(folder: Path, *arguments: str, at_most: Path | None = None) -> str:
    """Output of a git command, like `ask`. Raises `Invalid` with what git says where it fails."""
    done = _call(folder, arguments, at_most)
    if done.returncode != 0:
        raise Unusable(f'"{printable(folder)}": {_reason(done.stderr, arguments)}')
    return _text(done.stdout)


def without_filters(folder: Path, at_most: Path | None = None) -> tuple[str, ...]:
    """Options for `run` that switch off each `filter.*` there is: a file is then compared as it lies there.

    Asking for settings runs nothing. Raises `Invalid` for a name that cannot be given on a command line.
    """
    asked = ask(folder, "config", "-z", "--name-only", "--get-regexp", r"^filter\.", at_most=at_most) or ""
    drivers = {key.removeprefix("filter.").rpartition(".")[0] for key in asked.split("\0") if key.count(".") > 1}
    options: list[str] = []
    for driver in sorted(drivers):
        if "=" in driver:
            raise Unusable(f'"{printable(folder)}": filter "{driver}" cannot be switched off: its name has a "=" in it')
        for setting in ("clean=", "smudge=", "process=", "required=false"):
            options += ["-c", f"filter.{driver}.{setting}"]
    return tuple(options)


def version() -> tuple[int, ...]:
    """Version of the installed git. Raises `RegistryError` when there is none, or one too old."""
    program = shutil.which("git")
    if program is None:
        raise RegistryError("cannot run git: there is none in PATH")
    return _version(program)


def printable(path: str | Path) -> str:
    """Text of git, or a path, that can be printed and stored: bytes that are no UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def is_text(path: Path) -> bool:
    """Whether a path is UTF-8, and not bytes that only the file system knows."""
    return printable(path) == str(path)


@cache
def _version(program: str) -> tuple[int, ...]:
    done = _answer(Path(os.sep), [program, "version"], _environment())
    found = re.match(rb"git version (\d+)\.(\d+)", done.stdout)
    if found is None:
        raise RegistryError(f"cannot run git: {program} says {done.stdout.decode('utf-8', 'replace').strip()!r}")
    numbers = (int(found[1]), int(found[2]))
    if numbers < OLDEST:
        oldest, installed = (".".join(map(str, one)) for one in (OLDEST, numbers))
        raise RegistryError(f"cannot read checkouts: git {oldest} or later is needed, {program} is {installed}")
    return numbers


def _call(folder: Path, arguments: tuple[str, ...], at_most: Path | None) -> subprocess.CompletedProcess[bytes]:
    version()
    environment = _environment()
    if at_most is not None:
        environment["GIT_CEILING_DIRECTORIES"] = str(Path(os.path.realpath(at_most)).parent)
    settings = [part for setting in SETTINGS for part in ("-c", setting)]
    return _answer(folder, ["git", "--no-pager", *settings, "-C", str(folder), *arguments], environment, arguments)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in KEPT}
    return kept | ENVIRONMENT


def _answer(
    folder: Path, command: Sequence[str], environment: dict[str, str], arguments: tuple[str, ...] = ("version",)
) -> subprocess.CompletedProcess[bytes]:
    """What git says. Raises `Unusable` when it waits for a named pipe, `RegistryError` when it does not end."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
    except OSError as error:
        raise RegistryError(f"cannot run git: {error.strerror}") from error
    with process:
        try:
            return _completed(process, folder, arguments)
        finally:
            process.kill()


def _completed(
    process: subprocess.Popen[bytes], folder: Path, arguments: tuple[str, ...]
) -> subprocess.CompletedProcess[bytes]:
    for patience_seconds in (PATIENCE_SECONDS, TIMEOUT_SECONDS - PATIENCE_SECONDS):
        try:
            output, errors = process.communicate(timeout=patience_seconds)
        except subprocess.TimeoutExpired:
            pipe = pipes.awaited(folder, _settings_in)
            if pipe is not None and process.poll() is None:
                raise Unusable(
                    f'"{printable(folder)}": git waits for "{printable(pipe)}", which is a named pipe and no file; '
                    "remove it"
                ) from None
        else:
            return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
    raise RegistryError(f'"{printable(folder)}": git {_name(arguments)} did not end within {TIMEOUT_SECONDS:g} s')


def _settings_in(config: Path) -> Iterator[tuple[str, str]]:
    """Those of `pipes.SETTINGS` in one file, with their values, whatever other files there are."""
    alone = _environment() | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", os.sep, "config", "--file", str(config), "--no-includes", "--type=path", "-z"]
    with suppress(OSError, subprocess.TimeoutExpired):
        asked = [*command, "--get-regexp", pipes.SETTINGS]
        done = subprocess.run(asked, capture_output=True, timeout=TIMEOUT_SECONDS, check=False, env=alone)
        for entry in filter(None, os.fsdecode(done.stdout).split("\0")):
            name, _, value = entry.partition("\n")
            yield name, value


def _text(output: bytes) -> str:
    """What git printed, as the text that names of files have in Python: a path in it can be opened."""
    return os.fsdecode(output).removesuffix("\n")


def _reason(stderr: bytes, arguments: tuple[str, ...]) -> str:
    """Why git failed, in its own words: warnings come before that, advice behind it."""
    lines = stderr.decode("utf-8", "replace").split("\n")
    for kind in ("fatal: ", "error: ", ""):
        for number, line in enumerate(lines):
            if line.strip() and line.startswith(kind):
                listed = takewhile(lambda one: one.startswith("\t"), lines[number + 1 :])
                return " ".join([line.removeprefix(kind), *map(str.strip, listed)])
    return f"git {_name(arguments)} failed"


def _name(arguments: tuple[str, ...]) -> str:
    """The command among its arguments, behind the settings that are given with it."""
    skipped = 2 * arguments.count("-c")
    return arguments[skipped]
