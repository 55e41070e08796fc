"""Every setting, in one place: `IMI_` environment variables, with `DATABASE_URL` and `NATS_URL` honoured, or a file."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from typing import TYPE_CHECKING, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from registry.errors import Invalid
from registry.subjects import DEFAULT_SOURCE
from registry.urls import redacted
from registry.validation import PREFIX, RULES, SOURCE

if TYPE_CHECKING:
    from registry.profiles.profile import Profile


FILE_VARIABLE = "IMI_CONFIG"
"""Names a TOML file with settings. None is looked for: what a folder holds may be somebody else's."""


class Settings(BaseSettings):
    """Settings shared by all commands: arguments win over the environment, that over the file, that over defaults."""

    model_config = SettingsConfigDict(
        env_prefix="IMI_", extra="ignore", frozen=True, validate_by_name=True, validate_by_alias=True
    )

    database_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("IMI_DATABASE_URL", "DATABASE_URL"),
        description="PostgreSQL URL of the registry database (a direct connection, not a transaction pooler).",
    )
    nats_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("IMI_NATS_URL", "NATS_URL"),
        description="NATS server URL, with credentials where needed.",
    )
    profile: Literal["imi", "bloodbank"] = Field(
        default="imi", description="Naming profile of subjects, streams and event types."
    )
    prefix: str = Field(
        default="imi",
        pattern=PREFIX,
        description="First token of every subject, and (upper case) of every stream name, of the imi profile.",
    )
    source: str = Field(
        default=DEFAULT_SOURCE,
        pattern=SOURCE,
        description="CloudEvents `source` of every event: which registry this is.",
    )
    event_versions: dict[str, int] = Field(
        default={},
        description='Major versions to publish where that is not 1, as JSON: {"activity.logged": 2}; profile imi only.',
    )
    stream_replicas: int = Field(default=1, ge=1, le=5, description="Replicas of streams that are created.")
    stream_max_age_days: float = Field(
        default=0, ge=0, description="Age limit in days of events in a stream that is created; 0 keeps them."
    )
    stream_max_bytes: int = Field(
        default=-1, ge=-1, description="Size limit in bytes of the event stream that is created; -1 is none."
    )
    outbox_retention_days: float = Field(
        default=90, ge=0, description="Days that events stay in the outbox after they were published; 0 keeps them."
    )
    batch_size: int = Field(default=1000, ge=1, le=1000, description="Most events in one atomic batch.")
    heartbeat_seconds: float = Field(
        default=2.0, gt=0, description="How often an idle leader proves that it is alive, in seconds."
    )
    stale_seconds: float = Field(
        default=10.0, gt=0, description="A leader whose heartbeat is older than this many seconds is deposed."
    )
    http_host: str = Field(default="127.0.0.1", description="Address of the health and metrics page.")
    http_port: int = Field(
        default=0, ge=0, le=65535, description="Port of the health and metrics page; 0 takes a free one."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, of_file())

    @field_validator("database_url")
    @classmethod
    def _is_connection_string(cls, value: str | None) -> str | None:
        try:
            conninfo_to_dict(value or "")
        except psycopg.ProgrammingError:
            raise ValueError("must be of the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE") from None
        return value


def load(**overrides: object) -> Settings:
    """Settings from the environment and `overrides` (None values are left out). Raises `Invalid` naming the field."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # values are validated by pydantic, that is the point
    except SettingsError as error:
        raise _no_json(error) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]).lower().removeprefix("imi_")
        rule = RULES.get(first.get("ctx", {}).get("pattern", ""), first["msg"].removeprefix("Value error, "))
        raise Invalid(f'setting {field}: value "{redacted(str(first["input"]))}": {rule}') from None


def of_file() -> dict[str, object]:
    """The settings in the file that `IMI_CONFIG` names; none when it names none. Raises `Invalid`."""
    path = os.environ.get(FILE_VARIABLE, "")
    if not path:
        return {}
    try:
        with open(os.path.expanduser(path), "rb") as file:
            found = tomllib.load(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Invalid(f'setting config: file "{path}": {reason}') from None
    for name in found:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Invalid(f'setting config: file "{path}": there is no setting "{name}"{hint}')
    return found


def variables(name: str) -> list[str]:
    """The environment variables of a setting; the first one that is set counts."""
    alias = Settings.model_fields[name].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [f"IMI_{name.upper()}"]


def _no_json(error: SettingsError) -> Invalid:
    """A variable of the environment whose value is to be JSON; pydantic names its field in the text alone."""
    named = re.search(r'field "(\w+)"', str(error))
    if named is None:
        return Invalid(f"{error}: {error.__cause__}")
    value = os.environ.get(f"IMI_{named[1].upper()}", "")
    return Invalid(f'setting {named[1]}: value "{redacted(value)}": it must be JSON: {error.__cause__}')


def profile_of(settings: Settings) -> Profile:
    """The naming profile that the settings choose. Raises `Invalid` for event versions that it does not have."""
    from registry.profiles.profile import profile_named  # here, so that a command that needs none starts 75 ms sooner

    return profile_named(
        settings.profile, prefix=settings.prefix, source=settings.source, event_versions=settings.event_versions
    )
