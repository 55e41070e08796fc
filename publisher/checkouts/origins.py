"""What the URL of a remote says: which repository on GitHub it is, whatever its host is called here."""

from __future__ import annotations

import os
import re
from pathlib import Path

from publisher.checkouts.ssh_config import host_name

GITHUB_HOSTS = {"github.com", "www.github.com", "ssh.github.com"}
ALIAS = re.compile(r"github\.com-[^./]+")
"""How everybody calls a second key for GitHub; no such top level domain can exist."""
_SUFFIX = re.compile(r"(\.git)?/*$", re.IGNORECASE)
SSH_URL = re.compile(
    r"(?P<user>(?:git\+)?ssh://(?:[^@/\s]+@)?|(?:[^@/:\s]+@)?)"
    r"(?P<host>[^/:@\s]+)(?P<port>:[0-9]+(?=/))?(?P<path>[:/].+)"
)


def on_github(url: str, home: Path | None = None) -> str:
    """`url` with the name that GitHub has, in place of an alias in the configuration of ssh that stands for it."""
    found = SSH_URL.fullmatch(url)
    if found is None or (url.partition("://")[1] and "ssh://" not in url):
        return url
    host = found["host"].lower()
    name = host_name(found["host"], home or Path(os.path.expanduser("~"))) or host
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
    return re.split(r"[/:]", _SUFFIX.sub("", url))[-1] or url
