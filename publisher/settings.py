"""Every setting, in one place: `IMI_` environment variables, with `DATABASE_URL` and `NATS_URL` honoured, or a file."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, SecretStr, StringConstraints, ValidationError, field_validator

from publisher.agreement_settings import AgreementSettings
from publisher.http_settings import HttpSettings
from publisher.mirror_settings import MirrorSettings
from publisher.replica_settings import ReplicaSettings
from registry import exact
from registry.authority import check_hosts
from registry.broker.access import ALL_INBOXES, Access
from registry.errors import Invalid
from registry.subjects import DEFAULT_SOURCE
from registry.urls import PLAIN_DATABASE_URL, is_cut_in_password, redacted, redacted_server
from registry.validation import HOST, PREFIX, RULES, SENDER, SOURCE, printable, printable_place, told

if TYPE_CHECKING:
    from registry.profiles.profile import Profile

FILE_VARIABLE = "IMI_CONFIG"
"""Names a TOML file with settings. None is looked for: what a folder holds may be somebody else's."""

MOST_FILE_BYTES = 1024 * 1024

Days = Annotated[float, Field(le=36_500)]
Seconds = Annotated[float, Field(le=86_400)]
Count = Annotated[int, Field(le=2**63 - 1)]
"""What servers and clocks can hold; neither can an infinite time."""

DatabasePart = Literal["publisher", "applier", "reader"]
"""What may work on the database as a user of its own."""
PART_URLS = tuple(f"{part}_database_url" for part in get_args(DatabasePart))
OBJECTS = {"event_versions", "actors"}
Url = Annotated[str, StringConstraints(strip_whitespace=True)]  # blanks alone are no URL; libpq has its defaults then
USUAL_VARIABLES = {"database_url": "DATABASE_URL", "nats_url": "NATS_URL"}
"""What others call these settings, too: read where the variable of ours is not set."""


class Settings(HttpSettings, MirrorSettings, ReplicaSettings, AgreementSettings):
    """Settings shared by all commands. `load` reads them from where they are given."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    database_url: Url | None = Field(
        default=None,
        description="PostgreSQL URL of the registry database (a direct connection, not a transaction pooler).",
    )
    publisher_database_url: Url | None = Field(
        default=None, description="The same database for relay, retention and measurements, as another user."
    )
    applier_database_url: Url | None = Field(
        default=None, description="The same database for what carries out commands, as another user."
    )
    reader_database_url: Url | None = Field(
        default=None, description="The same database for queries, history and console, as another user."
    )
    nats_url: Url | None = Field(default=None, description="NATS server URL, with credentials where needed.")
    nats_creds: Path | None = Field(default=None, description="Credentials file for NATS, as nsc writes it.")
    nats_nkey: Path | None = Field(default=None, description="File with the seed of an nkey for NATS.")
    nats_user: str | None = Field(default=None, description="User of NATS; needs a password.")
    nats_password: SecretStr | None = Field(default=None, description="Password of the user; a file is safer.")
    nats_password_file: Path | None = Field(default=None, description="File with the password of the user.")
    nats_token: SecretStr | None = Field(default=None, description="Token for NATS; a file is safer.")
    nats_token_file: Path | None = Field(default=None, description="File with the token.")
    nats_tls_ca: Path | None = Field(
        default=None, description="Certificates (PEM) of who vouches for the NATS server; default: the system's."
    )
    nats_tls_cert: Path | None = Field(default=None, description="The client's certificate (PEM) for NATS.")
    nats_tls_key: Path | None = Field(default=None, description="Private key (PEM) of that certificate.")
    nats_tls_handshake_first: bool = Field(
        default=False, description="TLS before NATS says its first word, for servers with handshake_first."
    )
    nats_inbox_prefix: str = Field(
        default=ALL_INBOXES,
        description="What the subjects begin with on which answers of NATS come; begins with _INBOX.",
    )
    nats_js_domain: str | None = Field(default=None, description="Domain of JetStream, behind a leaf node.")
    host: str | None = Field(default=None, pattern=HOST, description="Host of the command line: whose paths it means.")
    profile: Literal["imi", "bloodbank"] = Field(default="imi", description="Naming profile of subjects and streams.")
    prefix: str = Field(
        default="imi",
        pattern=PREFIX,
        description="First token of every subject, and (upper case) of every stream name, of the imi profile.",
    )
    source: str = Field(default=DEFAULT_SOURCE, pattern=SOURCE, description="CloudEvents `source`: which registry.")
    event_versions: dict[str, int] = Field(
        default={},
        description='Major versions to publish where that is not 1, as JSON: {"activity.logged": 2}; profile imi only.',
    )
    actors: dict[str, list[str]] | None = Field(
        default=None,
        description="Who may act as whom, as JSON: a sender to its actors, * for any; else it is itself.",
    )
    command_sender: str | None = Field(
        default=None, pattern=SENDER, description="Sender as whom commands of the command line are sent over NATS."
    )
    bloodbank_grammar: Literal["auto", "plain", "v1"] = Field(default="auto", description="Its names: plain, or v1.")
    bloodbank_proposed: bool = Field(default=False, description="Whether its contract has what docs/bloodbank.md asks.")
    bloodbank_paths: bool = Field(default=True, description="Whether its events tell absolute paths.")
    stream_replicas: int = Field(default=1, ge=1, le=5, description="Replicas of streams that are created.")
    stream_max_age_days: Days = Field(
        default=0, ge=0, description="Age limit in days of events in a stream that is created; 0 keeps them."
    )
    stream_max_bytes: Count = Field(
        default=-1, ge=-1, description="Size limit in bytes of the event stream that is created; -1 is none."
    )
    commands_max_messages: Count = Field(
        default=100_000, ge=1, description="Most commands that wait; a sender of one more is told to try later."
    )
    commands_max_per_sender: Count = Field(
        default=5_000, ge=0, description="Most commands of one kind that wait of one sender; 0 is no such limit."
    )
    commands_max_bytes: Count = Field(
        default=128 * 1024 * 1024, ge=64 * 1024, description="Most bytes of commands that wait; reserved by NATS."
    )
    command_max_bytes: Count = Field(default=2 * 1024 * 1024, ge=1024, description="Most bytes of one command.")
    dead_letters_max_messages: Count = Field(
        default=100_000, ge=1, description="Most dead letters that are kept; the oldest go first."
    )
    dead_letters_max_bytes: Count = Field(
        default=256 * 1024 * 1024, ge=64 * 1024, description="Most bytes of dead letters; reserved by NATS."
    )
    parts: Literal["all", "publisher", "applier"] = Field(
        default="all",
        description="What serve does: all, or the applier alone, or all but it, each under an account of its own.",
    )
    outbox_retention_days: Days = Field(
        default=90, ge=0, description="Days that events stay in the outbox after they were published; 0 keeps them."
    )
    batch_size: int = Field(default=1000, ge=1, le=1000, description="Most events in one atomic batch.")
    heartbeat_seconds: Seconds = Field(
        default=0.5,
        gt=0,
        description="How often an idle leader proves that it is alive, in seconds; at most half of stale_seconds.",
    )
    stale_seconds: Seconds = Field(
        default=2.0, gt=0, description="A leader whose heartbeat is older than this many seconds is deposed."
    )
    canary_seconds: Seconds | None = Field(
        default=None,
        ge=0,
        description="How often a service writes a heartbeat and looks whether it comes out of the stream, in seconds; "
        "0 never. Default: 30 in serve with profile imi, never elsewhere.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")

    @field_validator("database_url", *PART_URLS)
    @classmethod
    def _is_connection_string(cls, value: str | None) -> str | None:
        if not value or PLAIN_DATABASE_URL.fullmatch(value):
            return value
        # Here, so that a command that needs no database starts 110 ms sooner.
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict

        try:
            given = None if is_cut_in_password(value) else conninfo_to_dict(value)
        except ProgrammingError:
            given = None
        if given is None:
            raise ValueError(
                "must be of the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
                'where "@", "/" and "%" in a password are written as %40, %2F and %25'
            )
        if "hostaddr" not in given:
            check_hosts(str(given.get("host", "")))
        return value

    def as_part(self, part: DatabasePart) -> Self:
        """These settings as one part of a service sees them: `database_url` is that of its user.

        Who only reads may be any user. Raises `Invalid` when there is none for this part.
        """
        given = [getattr(self, f"{part}_database_url"), self.database_url]
        if part == "reader":
            given += [self.publisher_database_url, self.applier_database_url]
        url = next(filter(None, given), None)
        if url is None:
            raise Invalid(
                f"setting database_url: missing; set DATABASE_URL, or IMI_{part.upper()}_DATABASE_URL for the {part}"
            )
        return self.model_copy(update={"database_url": url})

    @property
    def nats_access(self) -> Access:
        """Who a client of NATS is, and what it wants of TLS. `check` it before it is used."""
        return Access(**{name.removeprefix("nats_"): _plain(getattr(self, name)) for name in _nats_names()})

    def at_other_nats(self, nats_url: str | None) -> Self:
        """These settings with another NATS, for which those about access are not meant."""
        fields = type(self).model_fields
        blank = {name: fields[name].default for name in _nats_names()}
        return self.model_copy(update=blank | {"nats_url": nats_url})


SECRETS = {name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)}
HIDDEN = "…"
"""What is shown in place of their values."""


def _nats_names() -> list[str]:
    """The settings about access to NATS; each is a field of `Access`."""
    return [name for name in Settings.model_fields if name.startswith("nats_") and name != "nats_url"]


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def load(**overrides: object) -> Settings:
    """Settings: `overrides` (None is none), else the environment, else the file. Raises `Invalid` naming the field."""
    given = {name: value for name, value in overrides.items() if value is not None}
    if "database_url" in given:  # who names a database means no other, as the users of the parts would
        given = dict.fromkeys(PART_URLS) | given
    try:
        found = Settings.model_validate(_over(_over(of_file(), of_environment()), given))
    except ValidationError as error:
        first = error.errors()[0]
        field = printable_place(".".join(str(part) for part in first["loc"]))
        rule = RULES.get(first.get("ctx", {}).get("pattern", ""), first["msg"].removeprefix("Value error, "))
        redact = redacted_server if field.endswith("_url") else redacted
        shown = HIDDEN if first["loc"][0] in SECRETS else redact(str(first["input"]))
        raise Invalid(f'setting {field}: value "{told(shown)}": {rule}') from None
    if found.event_versions:  # which there are only the profile knows
        profile_of(found)
    return found


def _over(below: dict[str, object], above: dict[str, object]) -> dict[str, object]:
    """What is given `above` wins; of an object, as `actors`, each name of it."""
    merged = dict(below)
    for name, value in above.items():
        other = merged.get(name)
        merged[name] = other | value if isinstance(other, dict) and isinstance(value, dict) else value
    return merged


def of_environment() -> dict[str, object]:
    """The settings that variables name, as text; those that are objects are written as JSON. Raises `Invalid`."""
    found: dict[str, object] = {}
    for name in Settings.model_fields:
        text = next((os.environ[variable] for variable in variables(name) if variable in os.environ), None)
        if text is not None:
            found[name] = _from_json(name, text) if name in OBJECTS else text
    return found


def _from_json(name: str, text: str) -> object:
    try:
        return exact.loads_given(text)
    except ValueError as error:
        raise Invalid(f'setting {name}: value "{told(redacted(text))}": it must be JSON: {error}') from None


def of_file() -> dict[str, object]:
    """The settings in the file that `IMI_CONFIG` names; none when it names none. Raises `Invalid`."""
    path = os.environ.get(FILE_VARIABLE, "")
    if not path:
        return {}
    import tomllib  # which few have a file for

    try:
        with open(os.path.expanduser(path), "rb") as file:
            text = file.read(MOST_FILE_BYTES + 1)  # it may be a device without an end
        found = tomllib.loads(text.decode()) if len(text) <= MOST_FILE_BYTES else None
    except RecursionError:
        raise Invalid(f'setting config: file "{path}": it is nested too deep') from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Invalid(f'setting config: file "{path}": {reason}') from None
    if found is None:
        raise Invalid(f'setting config: file "{path}": it has more than {MOST_FILE_BYTES:,} bytes')
    for name in found:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Invalid(f'setting config: file "{path}": there is no setting {printable(name)}{hint}')
    return found


def variables(name: str) -> list[str]:
    """The environment variables of a setting; the first one that is set counts."""
    return [f"IMI_{name.upper()}", *filter(None, [USUAL_VARIABLES.get(name)])]


def profile_of(settings: Settings) -> Profile:
    """The naming profile that the settings choose. Raises `Invalid` for event versions that it does not have."""
    # Here, so that a command that needs none starts 75 ms sooner.
    from registry.profiles.profile import Shared, profile_named

    shared = Shared(settings.bloodbank_grammar, settings.bloodbank_proposed, settings.bloodbank_paths)
    names = {"prefix": settings.prefix, "source": settings.source}
    return profile_named(settings.profile, **names, event_versions=settings.event_versions, shared=shared)
