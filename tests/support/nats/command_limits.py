"""The limits of the stream of commands that each way of deploy/ sets, read from its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
LIMITS = ("commands_max_per_sender", "command_max_bytes", "commands_max_bytes", "commands_max_messages")


def of_compose() -> dict[str, str]:
    """The variables of the compose file's applier."""
    composition: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    return dict(composition["services"]["applier"]["environment"])


def of_systemd() -> dict[str, str]:
    """Those of the unit."""
    unit = (DEPLOY / "systemd" / "imi-registry-applier.service").read_text()
    lines = re.findall(r"^Environment=(.*)$", unit, re.MULTILINE)
    return dict(one.split("=", 1) for line in lines for one in line.split())


def of_kubernetes() -> dict[str, str]:
    """Those of the deployment's container."""
    manifests = yaml.safe_load_all((DEPLOY / "kubernetes" / "serve" / "applier.yaml").read_text())
    (pod,) = [one["spec"]["template"]["spec"] for one in manifests if one["kind"] == "Deployment"]
    (container,) = pod["containers"]
    return {one["name"]: one["value"] for one in container["env"]}


WAYS = {"compose": of_compose, "systemd": of_systemd, "kubernetes": of_kubernetes}


def command_limits(way: str) -> dict[str, int]:
    """The limits that one of them sets, as settings."""
    given = WAYS[way]()
    return {name: int(given[f"IMI_{name.upper()}"]) for name in LIMITS if f"IMI_{name.upper()}" in given}
