"""Repositories that name programs, which leave a trace when they are run."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from publisher.checkouts import git as reader
from publisher.checkouts.git import Repository, State
from tests.support.git.repositories import ENVIRONMENT, git

HOOKS = ["post-index-change", "pre-auto-gc", "reference-transaction", "post-checkout", "fsmonitor-watchman"]
FILTERS = ["x", "", "with blank", "a.b", "größe", 'quote"', "back\\slash", "X"]


class Traps:
    """Programs that leave a file with their name in `folder` when they are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def set(self, name: str) -> str:
        """A command line; what git adds to it does no harm."""
        program = self.folder / f"trap-{name}"
        program.write_text(f'#!/bin/sh\ntouch "{self.folder}/ran-{name}"\nexit 1\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return str(program)

    @property
    def sprung(self) -> set[str]:
        return {one.name.removeprefix("ran-") for one in self.folder.glob("ran-*")}

    def settings(self) -> dict[str, str]:
        """Every setting of git-config(1) that names a program, and those that make git use it."""
        drivers = {
            f"filter.{name}.{kind}": self.set(f"filter-{number}-{kind}")
            for number, name in enumerate(FILTERS)
            for kind in ("clean", "smudge", "process")
        }
        commands = [
            *("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "core.gitProxy"),
            *("core.alternateRefsCommand", "pager.status", "pager.rev-list", "pager.config", "sequence.editor"),
            *("diff.external", "diff.x.command", "diff.x.textconv", "merge.x.driver", "interactive.diffFilter"),
            *("gpg.program", "gpg.openpgp.program", "gpg.ssh.program", "gpg.x509.program", "gpg.ssh.defaultKeyCommand"),
            *("credential.helper", "uploadpack.packObjectsHook", "hook.x.command", "trailer.x.cmd", "browser.x.cmd"),
        ]
        aliases = ["status", "rev-parse", "rev-list", "config", "worktree", "remote", "for-each-ref", "ls-files"]
        return (
            drivers
            | {name: self.set(name) for name in commands}
            | {f"alias.{name}": f"!{self.set(f'alias-{name}')}" for name in aliases}
            | {
                "core.hooksPath": str(self.hooks(self.folder / "hooks")),
                "filter.x.required": "true",
                "log.showSignature": "true",
                "hook.x.event": "post-index-change",
                "protocol.allow": "always",
                "protocol.ext.allow": "always",
            }
        )

    def hooks(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        for name in HOOKS:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(self.set(f"hook-{name}"))
        return folder


def configure(folder: Path, settings: dict[str, str]) -> None:
    """Set all of them in the repository's own configuration."""
    for name, value in settings.items():
        git(folder, "config", name, value)


def filtered(folder: Path) -> None:
    """Files with each of the filters, of which git must compare what is in them."""
    lines = [f"{number}.txt filter={name} diff=x merge=x\n" for number, name in enumerate(FILTERS)]
    (folder / ".gitattributes").write_text("".join(lines))
    for number in range(len(FILTERS)):
        (folder / f"{number}.txt").write_text("as it was")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Filtered")
    touch(folder, 1)


def touch(folder: Path, seconds: int) -> None:
    """Files are what they were, but git has to look into them to know: it compares whole seconds."""
    for number in range(len(FILTERS)):
        os.utime(folder / f"{number}.txt", (seconds, seconds))


def answers(folder: Path) -> tuple[Repository, State]:
    """All that is read of a checkout; a branch that is no more is looked for."""
    return reader.repository(folder, "gone"), reader.state(folder, "main")


def plain_git(folder: Path, *arguments: str) -> None:
    """What a careless reader would do."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | ENVIRONMENT
    environment |= {name: os.environ[name] for name in ("GIT_CONFIG_GLOBAL",) if name in os.environ}
    subprocess.run(["git", "-C", str(folder), *arguments], env=environment, capture_output=True, check=False)
