"""Settings come from the environment, bad ones are named, and no message shows a secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from publisher.settings import SECRETS, Settings, load
from registry.authority import check_hosts
from registry.errors import Invalid
from registry.urls import PLAIN_DATABASE_URL, is_cut_in_password, redacted
from tests.support.commandline import command_line


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


@given(st.from_regex(PLAIN_DATABASE_URL, fullmatch=True))
def test_a_database_url_that_is_taken_unasked_is_one_that_libpq_takes(url: str) -> None:
    assert conninfo_to_dict(url).keys() <= conninfo_to_dict("user=u password=p host=h port=1 dbname=d").keys() | {
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
    }
    assert not is_cut_in_password(url)
    check_hosts(str(conninfo_to_dict(url).get("host", "")))


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
@pytest.mark.parametrize(
    "name", [name for name in Settings.model_fields if name.endswith("database_url")] + ["nats_url"]
)
def test_a_url_of_blanks_alone_is_none(monkeypatch: pytest.MonkeyPatch, name: str, blank: str) -> None:
    monkeypatch.setenv(f"IMI_{name.upper()}", blank)
    assert not getattr(load(), name)
    assert not getattr(load(**{name: blank}), name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMI_BATCH_SIZE", "0"),
        ("IMI_BATCH_SIZE", "many"),
        ("IMI_PREFIX", "Has Space"),
        ("IMI_PREFIX", "a.b"),
        ("IMI_STALE_SECONDS", "-1"),
        ("IMI_HTTP_PROXIES", "10.0.0.7,proxy.internal"),
        ("IMI_HTTP_HOST", "::1]"),
        ("IMI_HTTP_HOST", "127.0.0.1:80"),
        ("IMI_HTTP_HOSTS", "a.example.com,b.example.com:80"),
        ("IMI_EVENT_VERSIONS", "{"),
        ("IMI_ACTORS", "flume"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Invalid, match=f'{name.removeprefix("IMI_").lower()}: value "{re.escape(value)}": '):
        load()


@pytest.mark.parametrize("name", ["IMI_DATABASE_URL", "IMI_READER_DATABASE_URL"])
@pytest.mark.parametrize("host", ["db..example", "a" * 64, "db.\u202eexample", "db.example,other..example"])
def test_a_host_that_nobody_can_be_asked_for_is_told_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, host: str
) -> None:
    monkeypatch.setenv(name, f"postgresql://{host}/x")
    field = name.removeprefix("IMI_").lower()
    with pytest.raises(Invalid, match=f'setting {field}: value "postgres.*: its host must have 1 to 63 char'):
        load()


@pytest.mark.parametrize("host", ["", "/run/a..b", "münchen.example", "a_b.example.", "[fe80::1%25eth0]", "a,b:5433"])
def test_a_host_that_somebody_can_be_asked_for_is_taken(host: str) -> None:
    url = (
        f"postgresql://{'' if host.startswith('/') else host}/x?host={host}"
        if "/" in host
        else f"postgresql://{host}/x"
    )
    assert load(database_url=url).database_url == url


@pytest.mark.parametrize(
    "host",
    ["", "127.0.0.1", "0.0.0.0", "::1", "::", "fe80::1%eth0", "localhost", " ::1 "],  # noqa: S104  # nobody listens on it
)
def test_the_page_listens_on_an_address_of_either_kind_or_a_name(host: str) -> None:
    assert load(http_host=host).http_host == host.strip()


def test_an_address_of_ipv4_that_ipv6_wraps_is_that_of_ipv4() -> None:
    given = "::ffff:10.0.0.7, 10.0.0.0/24,2001:DB8::1,2001:db8::/32"
    assert load(http_proxies=given).http_proxies == "10.0.0.7,10.0.0.0/24,2001:db8::1,2001:db8::/32"


VERSIONS = {
    '{"activity.logged": 9}': 'setting event_versions: value "activity.logged": 9: it has versions 1 to 2',
    '{"activity.slept": 1}': 'setting event_versions: value "activity.slept": 1: there is no such event',
    '{"activity.logged": 1e400}': 'setting event_versions: value "activity.logged": (int): it has versions 1 to 2',
}


@pytest.mark.parametrize(("value", "message"), VERSIONS.items(), ids=range(len(VERSIONS)))
def test_a_version_of_an_event_that_does_not_exist_is_refused_by_whoever_loads_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str, message: str
) -> None:
    monkeypatch.setenv("IMI_EVENT_VERSIONS", value)
    with pytest.raises(Invalid) as caught:
        load()
    assert str(caught.value) == message
    done = command_line(monkeypatch, capsys)("config", "show")
    assert (done.code, message in done.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_versions", '{"activity.logged": 2, "activity.logged": 1}'),
        ("actors", '{"ada": ["*"], "bob": [], "ada": []}'),
    ],
)
def test_a_name_that_comes_twice_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"IMI_{name.upper()}", value)
    twice = value.split('"')[1]
    with pytest.raises(Invalid) as caught:
        load()
    rule = f'it must be JSON: the name "{twice}" comes twice in one object'
    assert str(caught.value) == f'setting {name}: value "{value}": {rule}'


def test_the_shared_stream_has_no_other_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="setting event_versions: profile bloodbank has version 1 of each event only"):
        load(profile="bloodbank", event_versions={"activity.logged": 2})


@pytest.mark.parametrize("token", ["", "a", "123456789012345", " " * 64, "1234567890\n     "])
def test_a_token_that_may_be_guessed_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("IMI_HTTP_TOKEN", token)
    with pytest.raises(Invalid) as caught:
        load()
    rule = "must have 16 characters or more, at random, as of: openssl rand -hex 32"
    assert str(caught.value) == f'setting http_token: value "…": {rule}'
    assert load(http_token="0123456789" + "abcdef").http_token is not None


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_is_not_shown_whatever_is_wrong_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    assert {"http_token", "nats_token", "nats_password"} == SECRETS
    file = tmp_path / "settings.toml"
    file.write_text(f"{name} = 918273645")
    monkeypatch.setenv("IMI_CONFIG", str(file))
    with pytest.raises(Invalid, match=f'setting {name}: value "…": ') as caught:
        load()
    assert "918273645" not in str(caught.value)


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


def test_a_file_gives_what_the_environment_and_arguments_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "imi.toml"
    file.write_text(
        'prefix = "a"\nbatch_size = 10\nnats_url = "nats://file"\n[event_versions]\n"activity.logged" = 2\n'
    )
    monkeypatch.setenv("IMI_CONFIG", str(file))
    monkeypatch.setenv("IMI_BATCH_SIZE", "20")
    settings = load(nats_url="nats://argument")
    assert (settings.prefix, settings.batch_size, settings.nats_url) == ("a", 20, "nats://argument")
    assert settings.event_versions == {"activity.logged": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory"),
        ("prefix = ", "Invalid value"),
        ("prefx = 'a'", 'there is no setting "prefx"; did you mean prefix?'),
        ("prefix = " + "[" * 2000, "it is nested too deep"),
        ("#" * 1024 * 1024 + "\n", "it has more than 1,048,576 bytes"),
        (
            "heartbeat_seconds = inf",
            'setting heartbeat_seconds: value "inf": Input should be less than',
        ),
        ("canary_seconds = 1e300", 'setting canary_seconds: value "1e+300": '),
        ("outbox_retention_days = 1e9", 'setting outbox_retention_days: value "1000000000.0": '),
        ("stream_max_bytes = 9223372036854775808", 'setting stream_max_bytes: value "9223372036854775808": '),
        ("batch_size = 'many'", 'setting batch_size: value "many": '),
        ("database_url = 'postgresql://u:s3cret@[/x'", "setting database_url: value"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "imi.toml"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("IMI_CONFIG", str(file))
    with pytest.raises(Invalid) as caught:
        load()
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_config_show_tells_where_each_setting_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "imi.toml"
    file.write_text("stale_seconds = 20\n")
    cli = command_line(
        monkeypatch,
        capsys,
        IMI_CONFIG=str(file),
        DATABASE_URL="postgresql://me:s3cret@localhost/x",
        NATS_URL="nats://t0ken@localhost",
        IMI_PREFIX="other",
    )
    shown = cli("config", "show", "--nats-url", "nats://localhost:1", "--json").json
    assert set(shown) == set(Settings.model_fields)
    assert shown["stale_seconds"] == {"value": 20.0, "from": str(file)}
    assert shown["prefix"] == {"value": "other", "from": "IMI_PREFIX"}
    assert shown["nats_url"] == {"value": "nats://localhost:1", "from": "argument"}
    assert shown["database_url"]["from"] == "DATABASE_URL"
    assert shown["http_port"] == {"value": 0, "from": "default"}
    text = cli("config", "show").out
    assert "s3cret" not in text
    assert "t0ken" not in text


def test_each_part_may_have_a_database_user_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://one@db/r")
    monkeypatch.setenv("IMI_APPLIER_DATABASE_URL", "postgresql://applier@db/r")
    assert load().as_part("applier").database_url == "postgresql://applier@db/r"
    assert load().as_part("publisher").database_url == load().as_part("reader").database_url == "postgresql://one@db/r"
    named = load(database_url="postgresql://other@elsewhere/r")
    assert named.as_part("applier").database_url == "postgresql://other@elsewhere/r", "who names one means no other"

    monkeypatch.delenv("DATABASE_URL")
    assert load().as_part("reader").database_url == "postgresql://applier@db/r", "who only reads may be any user"
    with pytest.raises(Invalid, match="database_url: missing; set DATABASE_URL, or IMI_PUBLISHER_DATABASE_URL"):
        load().as_part("publisher")


@pytest.mark.parametrize("name", ["publisher_database_url", "applier_database_url", "reader_database_url"])
def test_a_database_url_of_a_part_that_is_none_is_refused_without_its_password(name: str) -> None:
    with pytest.raises(Invalid, match=f"setting {name}") as refused:
        load(**{name: "postgresql://u:s3cret/x@db/r"})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("actors", [f'{{"{"9" * 5000}": "ada"}}', f'["{"9" * 5000}"', f'"{"9" * 5000}"'])
def test_what_is_wrong_is_said_shortly_however_long_it_is(monkeypatch: pytest.MonkeyPatch, actors: str) -> None:
    monkeypatch.setenv("IMI_ACTORS", actors)
    with pytest.raises(Invalid, match=r"setting .?actors") as refused:
        load()
    assert len(str(refused.value)) < 1000
