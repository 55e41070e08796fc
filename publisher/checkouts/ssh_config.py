"""Which host an alias of ssh stands for, by the user's configuration of ssh and then the machine's: ssh_config(5).

Of it only `Host`, `HostName`, `Include`, and of `Match` what compares names are read: `ssh -G` would run what its
`Match exec` names.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

SYSTEM = Path("/etc/ssh")
MOST_LEVELS = 16
"""Of files that include each other, as in ssh."""
_SETTING = re.compile(r"\s*(?P<keyword>[A-Za-z]+)(?:\s*=\s*|\s+)(?P<rest>\S.*)")
_COMPARED = {"host", "originalhost"}
"""Criteria of `Match` that are the same as `Host`, until there is a `HostName`."""


class _Place(NamedTuple):
    """What paths in a file are relative to."""

    folder: Path
    home: Path | None
    """None for the machine's files, in which `~` is nobody's."""


def host_name(alias: str, home: Path) -> str | None:
    """The first `HostName` that applies to `alias`; None when there is none. `home` is the user's."""
    own, shared = _Place(home / ".ssh", home), _Place(SYSTEM, None)
    return _found(own.folder / "config", alias, own) or _found(shared.folder / "ssh_config", alias, shared)


def _found(file: Path, alias: str, place: _Place, level: int = 0) -> str | None:
    applies = True
    for keyword, values in _settings(file):
        if keyword == "host":
            applies = _fits(alias, values)
        elif keyword == "match":
            applies = _matches(alias, values)
        elif applies and keyword == "hostname":
            return values[0].replace("%h", alias)
        elif applies and keyword == "include" and level < MOST_LEVELS:
            names = [_found(one, alias, place, level + 1) for one in _included(values, place)]
            if found := next(filter(None, names), None):
                return found
    return None


def _settings(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Keyword, in lower case, and values of each line, up to one that ssh would refuse the file for."""
    try:
        if not file.is_file():  # a named pipe would be waited for
            return
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        setting = _SETTING.fullmatch(line)
        if setting is None:
            continue
        try:
            values = shlex.split(setting["rest"], comments=True)
        except ValueError:  # a quote without its end
            return
        if values:
            yield setting["keyword"].lower(), values


def _included(patterns: Sequence[str], place: _Place) -> Iterator[Path]:
    for pattern in patterns:
        expanded = pattern.replace("~", str(place.home), 1) if place.home and pattern.startswith("~/") else pattern
        yield from map(Path, sorted(glob.glob(os.path.join(place.folder, expanded))))


def _fits(alias: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns of `Host` fits, and none with a `!`."""
    fitting = [one for one in patterns if fnmatchcase(alias, one.removeprefix("!"))]
    return bool(fitting) and not any(one.startswith("!") for one in fitting)


def _matches(alias: str, criteria: Sequence[str]) -> bool:
    """Whether all criteria of `Match` do; one that is more than a comparison of names does not."""
    if [one.lower() for one in criteria] == ["all"]:
        return True
    names, patterns = criteria[0::2], criteria[1::2]
    is_known = len(names) == len(patterns) and _COMPARED.issuperset(one.lower() for one in names)
    return is_known and all(_fits(alias, one.split(",")) for one in patterns)
