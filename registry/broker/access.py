"""How a client shows a NATS server who it is, and makes sure that the server is the right one.

Secrets are named by their files. Each is read for every connection that is made, so one that was replaced counts from
the next on.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, NamedTuple

import orjson

from registry.broker.identity.nkey import UserKey
from registry.broker.identity.secret_file import read_line, read_secret
from registry.errors import Invalid

ALL_INBOXES = "_INBOX"
INBOX_PREFIX = re.compile(r"_INBOX[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
"""What an applier takes for an inbox begins so (`registry/validation/`): nothing of the registry can be named so."""
INBOXES = rf"^{INBOX_PREFIX.pattern}$"
"""The same, for settings."""
DOMAIN = re.compile(r"[A-Za-z0-9_-]+")
MOST_PREFIX_CHARACTERS = 100
_JWT = re.compile(rb"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-+")
_SEED = re.compile(rb"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END USER NKEY SEED-+")


class Credentials(NamedTuple):
    """What is in a credentials file."""

    jwt: str
    key: UserKey
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who a client is, by one of `creds`, `nkey`, `user` with its password, or a token; and what it wants of TLS."""

    creds: Path | None = None
    """Credentials file, as `nsc` writes it: the JWT of a user and the seed of its key."""
    nkey: Path | None = None
    """File with the seed of a user's key."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    tls_ca: Path | None = None
    """Certificates, in PEM, of who may vouch for the server; without it those that the system trusts."""
    tls_cert: Path | None = None
    """The client's own certificate, in PEM, with those between it and the authority."""
    tls_key: Path | None = None
    """Its private key, in PEM, not encrypted."""
    tls_handshake_first: bool = False
    """TLS before the server's first word, for servers with `handshake_first`."""
    inbox_prefix: str = ALL_INBOXES
    """What the subjects begin with on which this client is answered."""
    js_domain: str | None = None
    """Domain of JetStream, where the streams are behind a leaf node."""

    def setting(self, name: str) -> str:
        """What the setting is called that a field of this is: errors name it."""
        return f"nats_{name}"

    def see(self, name: str) -> str:
        """` see` and the setting that a field is, for an error; nothing where there is none."""
        return f" see {self.setting(name)}"

    @property
    def requires_tls(self) -> bool:
        """Whether nothing may be sent without TLS, whatever the URL says."""
        return bool(self.tls_ca or self.tls_cert or self.tls_handshake_first)

    @property
    def identities(self) -> list[str]:
        """The settings that say who this is."""
        named = ("creds", "nkey", "user", "token", "token_file")
        return [self.setting(name) for name in named if getattr(self, name) is not None]

    def check(self) -> None:
        """Raise `Invalid` naming the setting, its value and the rule, for what no server needs to be asked about."""
        if len(self.identities) > 1:
            raise Invalid(f"settings {' and '.join(self.identities)}: give one of them, a client is one user")
        passwords = sum(value is not None for value in (self.password, self.password_file))
        if (self.user is not None) != (passwords == 1):
            raise Invalid("setting nats_user: give it with exactly one of nats_password and nats_password_file")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise Invalid("settings nats_tls_cert and nats_tls_key: give both or none")
        if not INBOX_PREFIX.fullmatch(self.inbox_prefix) or len(self.inbox_prefix) > MOST_PREFIX_CHARACTERS:
            raise Invalid(
                f'setting {self.setting("inbox_prefix")}: value "{self.inbox_prefix}": it must be _INBOX, and behind '
                f'it letters, digits, "_", "-" and tokens of them, {MOST_PREFIX_CHARACTERS} characters at most'
            )
        if self.js_domain is not None and not DOMAIN.fullmatch(self.js_domain):
            rule = 'it must be letters, digits, "_" and "-"'
            raise Invalid(f'setting {self.setting("js_domain")}: value "{self.js_domain}": {rule}')
        self._check_files()

    def _check_files(self) -> None:
        if self.creds is not None:
            self.credentials()
        if self.nkey is not None:
            self.user_key()
        if self.password_file is not None:
            self.password_now()
        if self.token_file is not None:
            self.token_now()
        if self.requires_tls:
            self.ssl_context()

    def credentials(self) -> Credentials:
        """What stands in `creds` now. Raises `Invalid`."""
        path, name = self.creds or Path(), self.setting("creds")
        content = read_secret(name, path)
        jwt, seed = _JWT.search(content), _SEED.search(content)
        place = f'{name} "{path}"'
        if jwt is None or seed is None:
            raise Invalid(f"{place}: it must hold the JWT and the seed of a user, as nsc writes them")
        expires_at = _expiry(jwt[1], place)
        return Credentials(jwt[1].decode(), UserKey.parse(seed[1], place), expires_at)

    def user_key(self) -> UserKey:
        """The key in `nkey` now. Raises `Invalid`."""
        path = self.nkey or Path()
        return UserKey.parse(read_secret("nats_nkey", path).strip(), f'nats_nkey "{path}"')

    def password_now(self) -> str:
        """The password, read anew where a file has it. Raises `Invalid`."""
        return read_line("nats_password_file", self.password_file) if self.password_file else self.password or ""

    def token_now(self) -> str:
        """The token, read anew where a file has it. Raises `Invalid`."""
        return read_line("nats_token_file", self.token_file) if self.token_file else self.token or ""

    def ssl_context(self) -> ssl.SSLContext:
        """What TLS is made with, from the files as they are now. Raises `Invalid`."""
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
        except OSError as error:
            raise Invalid(f'{self.setting("tls_ca")} "{self.tls_ca}": {_certificate_fault(error)}') from None
        if self.tls_cert is not None and self.tls_key is not None:
            read_secret("nats_tls_key", self.tls_key)
            self._load_certificate(context, self.tls_cert, self.tls_key)
        return context

    def _load_certificate(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except (OSError, _EncryptedKey) as error:
            if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
                raise Invalid(f'nats_tls_key "{key}": it is not the key of nats_tls_cert "{certificate}"') from None
            if isinstance(error, _EncryptedKey):
                raise Invalid(f'nats_tls_key "{key}": it is encrypted; it must not be') from None
            raise Invalid(
                f'nats_tls_cert "{certificate}" with nats_tls_key "{key}": {_certificate_fault(error)}'
            ) from None

    def remark(self, error: Exception) -> str:
        """What may explain that a server does not take this client: it said `error`."""
        if self.requires_tls and isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
            see = self.see("tls_cert")
            return f" (it was made, and ended: does the server take this client's certificate?{see})"
        if self.creds is None:
            return ""
        try:
            expires_at = self.credentials().expires_at
        except Invalid:
            return ""
        if expires_at is None or expires_at > datetime.now(UTC):
            return ""
        return f' (the JWT in {self.setting("creds")} "{self.creds}" expired at {expires_at.isoformat()})'


@dataclass(frozen=True, kw_only=True)
class OtherAccess(Access):
    """Who a client is at a NATS beside the service's own, for which there are fewer settings, with other names."""

    SETTINGS: ClassVar[dict[str, str]] = {
        "creds": "nats_creds",
        "tls_ca": "nats_tls_ca",
        "inbox_prefix": "inbox_prefix",
        "js_domain": "js_domain",
    }
    """Fields, and what their settings are called behind `prefix`."""
    prefix: str
    """`agreement_` or `mirror_`."""

    def setting(self, name: str) -> str:
        """As that of `Access`; for a field that is a setting here."""
        return f"{self.prefix}{self.SETTINGS[name]}"

    def see(self, name: str) -> str:
        """As that of `Access`."""
        return super().see(name) if name in self.SETTINGS else ""


ANYBODY = Access()
"""A client that shows nothing but what stands in the URL."""


class _EncryptedKey(Exception):
    pass


def _no_passphrase() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise _EncryptedKey


def _certificate_fault(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, ssl.SSLError):
        return "it must hold a certificate in PEM form"
    return error.strerror or str(error)


def _expiry(jwt: bytes, place: str) -> datetime | None:
    """When the JWT ends, if ever. Raises `Invalid` naming `place` when it is none."""
    try:
        _, claims, _ = jwt.decode("ascii").encode().split(b".")
        expires = orjson.loads(base64.urlsafe_b64decode(claims + b"=" * (-len(claims) % 4))).get("exp")
        return datetime.fromtimestamp(expires, UTC) if expires else None
    except (ValueError, TypeError, AttributeError, OverflowError, binascii.Error):
        raise Invalid(f"{place}: what stands there for a JWT is none") from None
