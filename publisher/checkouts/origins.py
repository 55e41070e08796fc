"""What the URL of a remote says: which repository on GitHub it is, whatever its host is called here."""

from __future__ import annotations

import os
import re
import shlex
from fnmatch import fnmatchcase
from pathlib import Path

SSH_CONFIG = Path(".ssh/config")
GITHUB_HOSTS = {"github.com", "www.github.com", "ssh.github.com"}
ALIAS = re.compile(r"github\.com-[^./]+")
"""How everybody calls a second key for GitHub; no such top level domain can exist."""
SSH_URL = re.compile(
    r"(?P<user>(?:git\+)?ssh://(?:[^@/\s]+@)?|(?:[^@/:\s]+@)?)"
    r"(?P<host>[^/:@\s]+)(?P<port>:[0-9]+(?=/))?(?P<path>[:/].+)"
)


def on_github(url: str, home: Path | None = None) -> str:
    """`url` with the name that GitHub has, in place of a `Host` of `~/.ssh/config` that stands for it.

    Only `Host` and `HostName` of that file are read: `ssh -G` would run what its `Match exec` names.
    """
    found = SSH_URL.fullmatch(url)
    if found is None or (url.partition("://")[1] and "ssh://" not in url):
        return url
    host = found["host"].lower()
    name = _host_name(found["host"], (home or Path(os.path.expanduser("~"))) / SSH_CONFIG) or host
    if name.lower() not in GITHUB_HOSTS and not ALIAS.fullmatch(host):
        return url
    return f"git@github.com:{found['path'].lstrip(':/')}"


def why_not_on_github(url: str) -> str:
    """Why a project cannot be registered; nothing but the host of `url` is in it, there may be a password."""
    found = SSH_URL.fullmatch(url)
    is_host = found is not None and found["host"].isidentifier() and "@" not in found["path"]  # else it may be a user
    if found is not None and is_host and not url.startswith(("http", "file", "git:")):
        return f'origin is not on GitHub: ssh host "{found["host"]}" has no HostName in ~/.ssh/config'
    return "origin is not on GitHub"


def repository_name(url: str) -> str:
    """The name of the repository, spelled as in `url`; `url` itself when there is none in it."""
    return re.split(r"[/:]", url.rstrip("/").removesuffix(".git"))[-1] or url


def _host_name(alias: str, config: Path) -> str | None:
    """`HostName` of the first `Host` in the ssh configuration that `alias` fits and that has one."""
    try:
        if not config.is_file():  # a named pipe would be waited for
            return None
        lines = config.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    applies = True
    for line in lines:
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        try:
            values = shlex.split(rest, comments=True)
        except ValueError:  # a quote without its end: ssh refuses the file
            return None
        if keyword.lower() == "match":
            applies = False
        elif keyword.lower() == "host":
            applies = _fits(alias, values)
        elif keyword.lower() == "hostname" and applies and values:
            return values[0].replace("%h", alias)
    return None


def _fits(alias: str, patterns: list[str]) -> bool:
    """Whether one of the patterns of `Host` fits, and none with a `!`."""
    fitting = [one for one in patterns if fnmatchcase(alias, one.removeprefix("!"))]
    return bool(fitting) and not any(one.startswith("!") for one in fitting)
