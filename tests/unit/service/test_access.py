"""What is wrong with what says who a client of NATS is: the setting, the file and the rule, before any server."""

from __future__ import annotations

import dataclasses
import os
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from publisher.agreement.bucket import connect_bucket
from publisher.mirror.source import connect_source, source_access
from publisher.settings import load
from registry.broker.errors import connect_reason
from registry.broker.identity.nkey import UserKey
from registry.client import Access
from registry.errors import Invalid
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.jwt import Authority, Key, private


def test_a_key_is_what_others_make_of_the_seed() -> None:
    key = Key("user")
    assert UserKey.parse(key.seed.encode(), "x").public == key.public
    # as the package nkeys has it
    known = UserKey.parse(b"SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU", "x")
    assert known.public == "UCK5N7N66OBOINFXAYC2ACJQYFSOD4VYNU6APEJTAVFZB2SVHLKGEW7L"
    assert known.sign("abc").startswith(b"t0YEHrrfExkfWmCLdsJ67pOv4EqYW5VasqCoWHMoOL6W")


@pytest.mark.parametrize(
    ("access", "told"),
    [
        ({"user": "ada"}, "setting nats_user: give it with exactly one of nats_password and nats_password_file"),
        ({"password": "s3cret"}, "setting nats_user: give it with exactly one of"),
        ({"user": "ada", "password": "s3cret", "token": "s3cret"}, "settings nats_user and nats_token: give one"),
        ({"tls_cert": Path("x")}, "settings nats_tls_cert and nats_tls_key: give both or none"),
        ({"inbox_prefix": "imi.cmd"}, 'setting nats_inbox_prefix: value "imi.cmd": it must be _INBOX'),
        ({"inbox_prefix": "_INBOX.>"}, "setting nats_inbox_prefix"),
        ({"inbox_prefix": "_INBOX" + "a" * 100}, "100 characters at most"),
        ({"js_domain": "a.b"}, 'setting nats_js_domain: value "a.b"'),
        ({"creds": Path("/nowhere/a.creds")}, 'nats_creds "/nowhere/a.creds": there is no such file'),
        ({"nkey": Path("/dev/null")}, 'nats_nkey "/dev/null": it must be a regular file'),
        ({"token_file": Path("/")}, 'nats_token_file "/": Is a directory'),
        ({"tls_ca": Path("/nowhere/ca.pem")}, 'nats_tls_ca "/nowhere/ca.pem": there is no such file'),
    ],
)
def test_what_is_wrong_is_named(access: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as error:
        Access(**access).check()
    assert told in str(error.value)
    assert "s3cret" not in str(error.value)


SEED = Key("user").seed


NOTHING_ELSE = [
    "empty",
    "broken",
    "account",
    "public",
    "umlauts",
    "seed_alone",
    "begun",
    "empty_token",
    "two_lines",
    "long",
    "no_certificate",
]
"""Names of the cases: the keys are new in each process."""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("nkey", "", "it must hold the seed of a user"),
        ("nkey", SEED[:20] + ("A" if SEED[20] != "A" else "B") + SEED[21:], "it must hold the seed of a user"),
        ("nkey", Key("account").seed, "it must hold the seed of a user"),
        ("nkey", Key("user").public, "it must hold the seed of a user"),
        ("nkey", "ü" * 58, "it must hold the seed of a user"),
        ("creds", SEED, "it must hold the JWT and the seed of a user"),
        ("creds", "-----BEGIN NATS USER JWT-----\n", "it must hold the JWT and the seed"),
        ("token_file", "", "it must hold one line of text"),
        ("token_file", "two\nlines", "it must hold one line of text"),
        ("token_file", "a" * 70_000, "it has more than 65536 bytes"),
        ("tls_ca", "no certificate", "it must hold a certificate in PEM form"),
    ],
    ids=NOTHING_ELSE,
)
def test_a_file_that_holds_something_else_is_named_without_its_content(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    file = private(tmp_path / "file", content)
    with pytest.raises(Invalid) as error:
        Access(**{name: file}).check()
    assert f'"{file}": {told}' in str(error.value)
    assert not content or content not in str(error.value)


def test_credentials_with_something_else_for_a_jwt_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.creds"
    Authority().write_credentials(file)
    text = file.read_text()
    for broken in ("x.y.z", "onlyone", "e30.e30", "e30.W10.e30"):
        jwt = text.splitlines()[1]
        private(file, text.replace(jwt, broken))
        with pytest.raises(Invalid, match="what stands there for a JWT is none"):
            Access(creds=file).check()


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o660, 0o620])
def test_a_secret_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    file = private(tmp_path / "token", "word", mode)
    if os.geteuid() == 0:
        os.chown(file, 1000, 1000)
        with pytest.raises(Invalid, match="belongs to another user"):
            Access(token_file=file).check()
        os.chown(file, 0, 0)
    if mode == 0o640 and os.geteuid() == 0:
        Access(token_file=file).check()  # root's, readable for the group that a service runs in
        return
    with pytest.raises(Invalid, match=rf"others may read or change it \(mode {mode:04o}\); chmod 600 it"):
        Access(token_file=file).check()


def test_keys_of_certificates_are_checked_as_secrets(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    (mine, my_key), (_, other_key) = authority.sign("mine"), authority.sign("other")

    Access(tls_cert=mine, tls_key=my_key).check()
    with pytest.raises(Invalid, match=r'nats_tls_key ".*/other-key.pem": it is not the key of nats_tls_cert'):
        Access(tls_cert=mine, tls_key=other_key).check()
    with pytest.raises(Invalid, match="it must hold a certificate in PEM form"):
        Access(tls_cert=my_key, tls_key=my_key).check()
    my_key.chmod(0o644)
    with pytest.raises(Invalid, match="others may read or change it"):
        Access(tls_cert=mine, tls_key=my_key).check()


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_passphrase(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    certificate, key = authority.sign("mine")
    authority.encrypt(key)
    with pytest.raises(Invalid, match="it is encrypted; it must not be"):
        Access(tls_cert=certificate, tls_key=key).check()


def test_settings_say_who_a_client_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMI_NATS_USER", "ada")
    monkeypatch.setenv("IMI_NATS_PASSWORD", "s3cret")
    monkeypatch.setenv("IMI_NATS_TLS_CA", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("IMI_NATS_INBOX_PREFIX", "_INBOX.ada")

    settings = load(nats_url="nats://host")
    wanted = Access(user="ada", password="s3cret", tls_ca=tmp_path / "ca.pem", inbox_prefix="_INBOX.ada")  # noqa: S106  # of a test

    assert settings.nats_access == wanted
    assert "s3cret" not in f"{settings!r}{settings.nats_access!r}"
    elsewhere = settings.at_other_nats("nats://other")
    assert (elsewhere.nats_url, elsewhere.nats_access) == ("nats://other", Access())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("nats_creds", "/nowhere/a.creds"),
        ("nats_tls_ca", "/nowhere/ca.pem"),
        ("inbox_prefix", "_INBOX" + "a" * 100),
        ("js_domain", "a.b"),
    ],
)
@pytest.mark.parametrize(("other", "connect"), [("agreement", connect_bucket), ("mirror", connect_source)])
async def test_a_setting_of_another_nats_is_named_as_it_is(
    other: str, connect: Callable[..., AbstractAsyncContextManager[object]], setting: str, value: str
) -> None:
    given = {f"{other}_nats_url": "nats://127.0.0.1:1", f"{other}_{setting}": value}
    with pytest.raises(Invalid, match=rf'^(setting )?{other}_{setting}\b.*"{value}"'):
        async with connect(load(**given), "test"):
            pass


async def test_what_another_nats_does_not_take_is_told_with_its_settings_alone(tmp_path: Path) -> None:
    Authority().write_credentials(tmp_path / "a.creds", datetime.now(UTC) - timedelta(hours=1))
    access = source_access(load(mirror_nats_creds=tmp_path / "a.creds", mirror_nats_tls_ca=tmp_path / "ca.pem"))

    assert access.identities == ["mirror_nats_creds"]
    assert "the JWT in mirror_nats_creds" in dataclasses.replace(access, tls_ca=None).remark(TimeoutError())
    assert "nats_tls_cert" not in access.remark(ConnectionResetError())
    untrusted = ssl.SSLCertVerificationError()
    untrusted.verify_message = "unable to get local issuer certificate"
    assert connect_reason(untrusted, access).endswith("see setting mirror_nats_tls_ca")
