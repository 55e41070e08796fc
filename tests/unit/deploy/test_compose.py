"""The compose file: what Docker Compose makes of it, and that all it names is there, in each container as well."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from publisher.embedded.binaries import nats_binary
from publisher.settings import Settings, variables

DEPLOY = Path(__file__).parents[3] / "deploy"
ONCE = {"logins", "setup", "imi"}
NODES = ("nats-1", "nats-2", "nats-3")
ABSOLUTE = re.compile(r"(?<![\w.:}!/-])/\w[\w.-]*/\w[\w./-]*")
"""A path in the text of a configuration, a script or a command; not one of a URL, nor a page as /readyz."""
INCLUDED = re.compile(r"^\s*include\s+(\S+)", re.MULTILINE)
"""As nats-server does: beside the file that says so."""
COMMENT = re.compile(r"^\s*(?:#|-- ).*$", re.MULTILINE)
OF_THE_IMAGE = ("/dev/null",)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compose file in a copy of deploy/, with its secrets."""
    folder = tmp_path_factory.mktemp("copy") / "deploy"
    shutil.copytree(DEPLOY, folder, ignore=shutil.ignore_patterns("secrets", ".env", "local.conf"))
    subprocess.run(["sh", "prepare.sh"], cwd=folder / "compose", check=True, capture_output=True)
    return folder / "compose"


@pytest.fixture(scope="module")
def composition() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text()))


def has_compose() -> bool:
    """Whether `docker-compose` is there, and not the one in Python of before 2."""
    if shutil.which("docker-compose") is None:
        return False
    told = subprocess.run(["docker-compose", "version", "--short"], capture_output=True, text=True, check=False)
    return re.match(r"v?[2-9]", told.stdout) is not None


@pytest.mark.skipif(not has_compose(), reason="needs Docker Compose 2 as docker-compose")
def test_docker_compose_takes_it(prepared: Path) -> None:
    command = ["docker-compose", "--profile=people", "config", "--format=json"]
    done = subprocess.run(command, cwd=prepared, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    assert services["publisher-2"]["environment"]["IMI_HTTP_HOSTS"] == "publisher-2"
    assert services["nats-3"]["environment"]["NATS_SERVER_NAME"] == "nats-3"


def test_every_file_is_there(prepared: Path, composition: dict[str, Any]) -> None:
    files = [one["file"] for kind in ("configs", "secrets") for one in composition[kind].values()]
    assert len(files) > 20
    assert [name for name in files if not (prepared / name).is_file()] == []


def mounts(composition: dict[str, Any], service: str) -> dict[str, str]:
    """Where in its containers which file is, that one by its place beside the compose file."""
    found = {}
    for kind, folder in (("configs", "/"), ("secrets", "/run/secrets/")):
        for one in composition["services"][service].get(kind, []):
            long = one if isinstance(one, dict) else {"source": one}
            found[long.get("target", folder + long["source"])] = composition[kind][long["source"]]["file"]
    return found


def test_every_file_is_mounted_somewhere(composition: dict[str, Any]) -> None:
    files = {one["file"] for kind in ("configs", "secrets") for one in composition[kind].values()}
    assert files == {file for service in composition["services"] for file in mounts(composition, service).values()}


def test_what_a_container_is_told_of_is_mounted_there(prepared: Path, composition: dict[str, Any]) -> None:
    named = set()
    for name, service in composition["services"].items():
        files = mounts(composition, name)
        there = {*files, *(one.split(":")[1] for one in service.get("volumes", []))}
        started = [service.get(key) for key in ("entrypoint", "command", "environment")]
        paths = set(ABSOLUTE.findall(json.dumps(started)))
        for place, file in files.items():
            text = COMMENT.sub("", (prepared / file).read_text())
            if not text.startswith("-----BEGIN"):
                paths |= set(ABSOLUTE.findall(text))
            paths |= {str(PurePosixPath(place).parent / included) for included in INCLUDED.findall(text)}
        paths -= set(OF_THE_IMAGE)
        folders = {str(folder) for place in there for folder in PurePosixPath(place).parents}
        assert sorted(paths - there - folders) == [], name
        named |= paths
    assert {"/etc/nats/exports.conf", "/etc/prometheus/alerts.yml", "/run/secrets/nats_ca"} <= named


@pytest.mark.parametrize("node", NODES)
def test_nats_server_takes_what_is_mounted(
    prepared: Path, composition: dict[str, Any], tmp_path: Path, node: str
) -> None:
    for place, file in mounts(composition, node).items():
        (tmp_path / place[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(prepared / file, tmp_path / place[1:])
    service = composition["services"][node]
    command = [re.sub("^(?=/)", str(tmp_path), word) for word in service["command"]]
    variables = {name: re.sub("^(?=/)", str(tmp_path), value) for name, value in service["environment"].items()}

    done = subprocess.run(
        [nats_binary(), *command, "-t"], env=os.environ | variables, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_secrets_are_made_once_and_no_one_else_reads_them(prepared: Path) -> None:
    folder = prepared / "secrets"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    subprocess.run(["sh", "prepare.sh"], cwd=prepared, check=True, capture_output=True)

    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert folder.stat().st_mode & 0o077 == 0
    passwords = [text for name, text in before.items() if name.startswith(("db_", "nats_", "grafana_"))]
    assert len(passwords) == len(set(passwords)) == 13
    assert min(len(one) for one in passwords) == 48


@pytest.mark.parametrize("of", ["nats", "routes"])
@pytest.mark.parametrize("removed", ["-ca.pem", ".key", ".pem"])
def test_certificate_key_and_authority_belong_together_whichever_was_removed(
    prepared: Path, tmp_path: Path, removed: str, of: str
) -> None:
    folder = Path(shutil.copytree(prepared, tmp_path / "compose"))
    (folder / "secrets" / f"{of}{removed}").unlink()

    subprocess.run(["sh", "prepare.sh"], cwd=folder, check=True, capture_output=True)

    secrets = folder / "secrets"
    subprocess.run(["openssl", "verify", "-CAfile", f"{of}-ca.pem", f"{of}.pem"], cwd=secrets, check=True)
    of_key, of_certificate = (
        subprocess.run(["openssl", *asked], cwd=secrets, check=True, capture_output=True).stdout
        for asked in (["pkey", "-in", f"{of}.key", "-pubout"], ["x509", "-in", f"{of}.pem", "-noout", "-pubkey"])
    )
    assert of_key == of_certificate


def test_nobody_is_a_route_by_what_vouches_for_a_server_or_a_client(
    prepared: Path, composition: dict[str, Any]
) -> None:
    def is_good(authority: str, certificate: str, purpose: str) -> bool:
        command = ["openssl", "verify", "-purpose", purpose, "-CAfile", f"{authority}-ca.pem", f"{certificate}.pem"]
        return subprocess.run(command, cwd=prepared / "secrets", capture_output=True, check=False).returncode == 0

    assert is_good("routes", "routes", "sslclient")
    assert is_good("routes", "routes", "sslserver")
    assert is_good("nats", "nats", "sslserver")
    assert not is_good("nats", "nats", "sslclient")
    assert not is_good("routes", "nats", "sslserver")
    for node in NODES:
        variables = composition["services"][node]["environment"]
        assert mounts(composition, node)[variables["NATS_ROUTES_CA"]].endswith("routes-ca.pem")
    (cluster,) = re.findall(r"^cluster \{.*?^\}", (prepared / "nats.conf").read_text(), re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"\$\w+", cluster)) == {"$NATS_ROUTES_CERT", "$NATS_ROUTES_KEY", "$NATS_ROUTES_CA"}


def test_a_folder_of_secrets_that_was_open_is_closed(prepared: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared, tmp_path / "compose"))
    (folder / "secrets").chmod(0o755)

    subprocess.run(["sh", "prepare.sh"], cwd=folder, check=True, capture_output=True)

    assert (folder / "secrets").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("said", ["prepare.sh needs openssl", "no room"])
def test_secrets_that_cannot_be_made_are_told_and_none_is_empty(tmp_path: Path, said: str) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "mkdir", "cat", "tr", "rm", "mv", "chmod"):
        (tools / name).symlink_to(str(shutil.which(name)))
    if said == "no room":
        (tools / "openssl").write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
        (tools / "openssl").chmod(0o755)
    shutil.copy(DEPLOY / "compose" / "prepare.sh", tmp_path)

    command = [str(shutil.which("sh")), "prepare.sh"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PATH": str(tools)})

    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{said}\n")
    assert list((tmp_path / "secrets").iterdir()) == []


@pytest.mark.parametrize("part", ["publisher", "applier"])
def test_a_part_has_its_own_users_and_knows_nothing_of_the_others(prepared: Path, part: str) -> None:
    settings = tomllib.loads((prepared / "secrets" / f"{part}.toml").read_text())
    assert settings.keys() <= Settings.model_fields.keys()
    loaded = Settings(**settings)
    users = {name: urlsplit(url).username for name, url in settings.items() if name.endswith("_database_url")}
    assert users == {f"{part}_database_url": part, "reader_database_url": "reader"}
    assert (loaded.nats_user, loaded.nats_inbox_prefix) == (part, f"_INBOX.{part}")
    assert loaded.stream_replicas == 3


def test_services_may_do_little_and_come_back(composition: dict[str, Any]) -> None:
    services = composition["services"]
    assert len(services) == 12
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert all("privileged" not in key for key in service), name


def test_each_image_can_be_given_by_its_digest(composition: dict[str, Any]) -> None:
    shown = re.findall(r"^(\w+_IMAGE)=\S+@sha256:…$", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    found = [re.match(r"\$\{(\w+):-", service["image"]) for service in composition["services"].values()]
    assert {match and match[1] for match in found} == set(shown)


def test_each_variable_is_a_setting(composition: dict[str, Any]) -> None:
    known = {name for field in Settings.model_fields for name in variables(field)} | {"IMI_CONFIG"}
    for name in ("publisher-1", "publisher-2", "applier", "setup", "imi"):
        assert composition["services"][name]["environment"].keys() <= known


def test_prometheus_asks_every_process(composition: dict[str, Any]) -> None:
    scraped = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())["scrape_configs"][0]
    targets = {target.split(":")[0] for one in scraped["static_configs"] for target in one["targets"]}
    processes = {
        name: one["environment"]
        for name, one in composition["services"].items()
        if "IMI_PARTS" in one.get("environment", {})
    }
    assert targets == processes.keys()
    assert {name: one["IMI_HTTP_HOSTS"] for name, one in processes.items()} == {name: name for name in targets}
