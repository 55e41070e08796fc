"""Where programs are started, code is made of text and files are named: places that are known, each with its reason.

That nothing from the network gets there is tried by tests/integration/commands/test_nothing_is_run.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = {"subprocess", "pty", "runpy", "code", "pickle", "marshal", "shelve", "ctypes", "importlib", "yaml", "dill"}
"""Modules that start programs, or make code or objects out of bytes."""
HARMLESS = {"importlib.metadata", "importlib.util"}
"""They import nothing."""
BUILTINS = {"eval", "exec", "compile", "__import__"}
OF_OS = ("system", "popen", "exec", "spawn", "posix_spawn", "fork")
OF_FILES = {
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "rmtree", "rename", "iterdir"),
    *("glob", "rglob", "touch", "symlink_to", "load_cert_chain", "unpack_archive", "extractall"),
}
PROGRAMS = {
    "publisher/checkouts/run_git.py": "git, with arguments of our own: no shell, no option out of a repository",
    "publisher/embedded/account.py": "tries whether the servers' programs can be run by their account",
    "publisher/embedded/guard.py": "the servers of `up`",
    "publisher/embedded/postgres.py": "the version of PostgreSQL's program",
    "publisher/embedded/process.py": "the guard, with the servers' command lines, made here",
    "publisher/web/console/sources/proof.py": "this program, for a button of the page, with a name out of two",
    "publisher/cli/arguments/deferred.py": "imports modules that the source code names",
    "registry/deferred.py": "imports modules that the source code names",
    "publisher/memory.py": "a function of the C library, without an argument from anywhere",
}
LOCAL = ("publisher/cli/", "publisher/embedded/", "publisher/checkouts/")
"""Rooms for who is at the machine, and names files on the command line and in settings."""
FILES = {
    "publisher/history/archive.py": "the file that `events export` and `import` are given",
    "publisher/settings.py": "the file of settings that its owner names",
    "publisher/web/console/files.py": "its own static files, all read at the start; a request only picks one",
    "registry/broker/access.py": "the files of settings about NATS",
    "registry/broker/identity/secret_file.py": "the files of settings about NATS",
    "registry/database/drift.py": "migrations/head of this installation",
    "registry/database/migrate.py": "migrations of this installation",
    "registry/database/migration.py": "migrations of this installation",
    "registry/database/roles/calls.py": "migrations/head of this installation",
    "registry/schemas/files.py": "what `schemas` is given on the command line",
    "registry/schemas/generate.py": "what `schemas generate` is given on the command line",
}


def is_of_programs(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any(name.name.split(".")[0] in MODULES and name.name not in HARMLESS for name in names)
        case ast.ImportFrom(module=str(module), names=names):
            from_os = module == "os" and any(name.name.startswith(OF_OS) for name in names)
            harmless = module in HARMLESS or {f"{module}.{name.name}" for name in names} <= HARMLESS
            return from_os or (module.split(".")[0] in MODULES and not harmless)
        case ast.Call(func=ast.Name(id=name)):
            return name in BUILTINS
        case ast.Attribute(value=ast.Name(id="os"), attr=name):
            return name.startswith(OF_OS)
        case ast.Attribute(attr=name):
            return name.startswith("create_subprocess_")
    return False


def is_of_files(node: ast.AST) -> bool:
    """Whether it is a call that names a file. Others have an `open` of their own, without a mode."""
    match node:
        case ast.Call(func=ast.Name(id="open")):
            return True
        case ast.Call(func=ast.Attribute(attr="open", value=value), args=arguments):
            of_os = isinstance(value, ast.Name) and value.id in {"os", "io"}
            return of_os or any(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in arguments)
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in OF_FILES
    return False


def files() -> Iterator[tuple[str, ast.AST]]:
    for room in ("registry", "publisher"):
        for file in (ROOT / room).rglob("*.py"):
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())


def test_programs_are_started_and_code_is_made_in_these_files_alone() -> None:
    found = {name for name, tree in files() if any(map(is_of_programs, ast.walk(tree)))}
    assert found == {*PROGRAMS}


def test_files_are_named_in_rooms_for_who_is_at_the_machine_and_in_these_alone() -> None:
    found = {name for name, tree in files() if any(map(is_of_files, ast.walk(tree)))}
    assert {name for name in found if not name.startswith(LOCAL)} == {*FILES}
    assert any(name.startswith(LOCAL) for name in found)


@pytest.mark.parametrize("call", ["shell=True", "create_subprocess_shell", "os.system", "os.popen"])
def test_no_shell_is_used(call: str) -> None:
    assert [name for name, tree in files() if call in ast.unparse(tree)] == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("import subprocess as s", True),
        ("from os import execv", True),
        ("import importlib.metadata", False),
        ("from importlib import metadata, util", False),
        ("from importlib import import_module", True),
        ("os.posix_spawn('/bin/sh', [], {})", True),
        ("asyncio.create_subprocess_exec('ls')", True),
        ("eval(text)", True),
        ("conn.execute('SELECT 1')", False),
        ("re.compile('a')", False),
    ],
)
def test_whoever_looks_finds_them(text: str, is_found: bool) -> None:
    assert any(map(is_of_programs, ast.walk(ast.parse(text)))) == is_found
