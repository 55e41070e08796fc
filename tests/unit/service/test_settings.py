"""Settings come from the environment, bad ones are named, and no message shows a secret."""

from __future__ import annotations

import pytest

from publisher.settings import load
from registry.errors import Invalid
from registry.urls import redacted


def test_the_usual_variables_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/a")
    monkeypatch.setenv("NATS_URL", "nats://localhost")
    assert load().database_url == "postgresql://localhost/a"
    assert load().nats_url == "nats://localhost"


def test_prefixed_variables_win_and_arguments_win_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/a")
    monkeypatch.setenv("IMI_DATABASE_URL", "postgresql://localhost/b")
    assert load().database_url == "postgresql://localhost/b"
    assert load(database_url="postgresql://localhost/c").database_url == "postgresql://localhost/c"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMI_BATCH_SIZE", "0"),
        ("IMI_BATCH_SIZE", "many"),
        ("IMI_PREFIX", "Has Space"),
        ("IMI_PREFIX", "a.b"),
        ("IMI_STALE_SECONDS", "-1"),
        ("IMI_EVENT_VERSIONS", "{"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Invalid, match=f'{name.removeprefix("IMI_").lower()}: value "{value}": '):
        load()


def test_a_bad_url_is_reported_without_its_password() -> None:
    with pytest.raises(Invalid) as error:
        load(database_url="mysql://user:secret@host/db")
    assert "secret" not in str(error.value)
    assert "mysql://host/db" in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://token@host:4222", "nats://host:4222"),
        ("nats://u:p@a:1,nats://u:p@b:2", "nats://a:1,nats://b:2"),
        ("postgresql://u:p@h/d?x=1&password=q", "postgresql://h/d?x=1&password=…"),
        ("host=h password=secret user=u", "host=h password=… user=u"),
        ("host=h password='se cret' user=u", "host=h password=… user=u"),
        ("token@host", "host"),
        ("https://user:pa/s3cret@github.com/o/r", "https://github.com/o/r"),
        ("postgresql://host:5432/d?options=a@b", "postgresql://host:5432/d?options=a@b"),
    ],
)
def test_credentials_are_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown
