"""The Kubernetes manifests: valid for the oldest and the newest version tried, and as the service really is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import kubernetes_validate
import pytest
import yaml

from publisher.applier.metrics import ApplierMetrics
from publisher.relay.metrics import RelayMetrics
from publisher.settings import Settings, variables
from publisher.web.status import routes

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
PHASES = ("before", "serve", "after")
README = (FOLDER.parent / "README.md").read_text()
VERSIONS = ("1.28", kubernetes_validate.latest_version())


def manifests(phase: str) -> list[dict[str, Any]]:
    """What a phase applies, as its kustomization lists it."""
    listed = yaml.safe_load((FOLDER / phase / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(file.name for file in (FOLDER / phase).iterdir() if file.stem != "kustomization")
    return [one for name in listed for one in yaml.safe_load_all((FOLDER / phase / name).read_text())]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of what makes pods, and what they are."""
    for phase in PHASES:
        for one in manifests(phase):
            if one["kind"] in {"Deployment", "Job"}:
                yield one["metadata"]["name"], one["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_api_takes_them(version: str) -> None:
    for phase in PHASES:
        for one in manifests(phase):
            kubernetes_validate.validate(one, version, strict=True)


def test_a_field_that_there_is_not_is_refused() -> None:
    one = manifests("serve")[0]
    one["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("phase", PHASES)
def test_kustomize_makes_them(phase: str) -> None:
    done = subprocess.run(["kubectl", "kustomize", FOLDER / phase], capture_output=True, text=True, check=True)
    made = list(yaml.safe_load_all(done.stdout))
    assert {one["metadata"]["name"] for one in made} == {one["metadata"]["name"] for one in manifests(phase)}
    assert {one["metadata"].get("namespace", "imi-registry") for one in made} == {"imi-registry"}


def test_probes_ask_for_pages_that_there_are() -> None:
    metrics = RelayMetrics()
    pages = {route.path for route in routes(metrics, ApplierMetrics(metrics.registry))}
    asked = {
        (name, container[kind]["httpGet"]["path"])
        for name, pod in pods()
        for container in pod["containers"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        if kind in container
    }
    assert {page for _, page in asked} == {"/healthz", "/readyz"} <= pages
    assert {name for name, _ in asked} == {"imi-registry-publisher", "imi-registry-applier"}


def test_the_page_knows_the_names_of_its_service() -> None:
    (service,) = [one for one in manifests("serve") if one["kind"] == "Service"]
    namespace = yaml.safe_load((FOLDER / "serve" / "kustomization.yaml").read_text())["namespace"]
    name = f"{service['metadata']['name']}.{namespace}"
    (container,) = dict(pods())["imi-registry-publisher"]["containers"]
    (hosts,) = [one["value"] for one in container["env"] if one["name"] == "IMI_HTTP_HOSTS"]
    known = Settings(http_hosts=hosts).http_hosts.split(",")
    assert known == [service["metadata"]["name"], name, f"{name}.svc", f"{name}.svc.cluster.local"]


def test_every_pod_is_of_the_restricted_kind() -> None:
    found = dict(pods())
    assert len(found) == 4
    for name, pod in found.items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False, name
        for container in pod["containers"]:
            secured = container["securityContext"]
            assert secured["allowPrivilegeEscalation"] is False, name
            assert secured["readOnlyRootFilesystem"] is True, name
            assert secured["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name


def test_two_of_each_part_on_machines_of_their_own_of_which_one_stays() -> None:
    serving = manifests("serve")
    budgets = {one["metadata"]["name"]: one["spec"] for one in serving if one["kind"] == "PodDisruptionBudget"}
    deployments = {one["metadata"]["name"]: one["spec"] for one in serving if one["kind"] == "Deployment"}
    assert deployments.keys() == budgets.keys() == {"imi-registry-publisher", "imi-registry-applier"}
    for name, spec in deployments.items():
        labels = spec["template"]["metadata"]["labels"]
        assert spec["replicas"] == 2 > budgets[name]["minAvailable"] == 1
        assert spec["selector"]["matchLabels"] == budgets[name]["selector"]["matchLabels"] == labels
        (apart,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"].popitem()[1]
        assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels


def test_each_file_that_a_pod_is_told_of_is_in_a_secret_that_the_readme_makes() -> None:
    made = {
        name: set(re.findall(r"--from-file=([\w.-]+)", files))
        for name, files in re.findall(r"create secret generic (\S+)(.*)", README)
    }
    used = set()
    for name, pod in pods():
        secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod["volumes"]}
        (container,) = pod["containers"]
        mounted = {
            PurePosixPath(mount["mountPath"]) / key
            for mount in container["volumeMounts"]
            for key in made[secrets[mount["name"]]]
        }
        told = {PurePosixPath(one["value"]) for one in container["env"] if one["value"].startswith("/")}
        assert told == mounted, name
        used |= set(secrets.values())
    assert made.keys() == used


def test_what_the_readme_waits_for_is_there() -> None:
    kinds = {"Deployment": "deployment", "Job": "job"}
    there = {
        f"{kinds[one['kind']]}/{one['metadata']['name']}"
        for phase in PHASES
        for one in manifests(phase)
        if one["kind"] in kinds
    }
    named = set(re.findall(r"\b(?:job|deployment)/[\w-]+", README))
    (deleted,) = re.findall(r"delete job (.+) --ignore-not-found", README)
    assert named | {f"job/{name}" for name in deleted.split()} == there


def test_each_variable_is_a_setting_and_each_phase_migrates_as_it_should() -> None:
    known = {name for field in Settings.model_fields for name in variables(field)} | {"IMI_CONFIG"}
    arguments = {}
    for name, pod in pods():
        (container,) = pod["containers"]
        assert {one["name"] for one in container["env"]} <= known
        arguments[name] = container["args"]
    assert arguments["imi-registry-migrate"] == ["migrate", "up"]
    assert arguments["imi-registry-migrate-afterwards"] == ["migrate", "up", "--afterwards"]
