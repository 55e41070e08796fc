"""Operator, accounts and users of NATS as JWTs: keys, credentials files (NATS ADR-5, ADR-14)."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

PREFIXES = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
OF_ACCOUNT = UNLIMITED | {"imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
WITH_JETSTREAM = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


class Key:
    """A key pair of an operator, an account or a user."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._signing = SigningKey.generate()

    @property
    def public(self) -> str:
        """As others name it: O…, A…, U…."""
        return _text(bytes([PREFIXES[self.kind]]) + bytes(self._signing.verify_key))

    @property
    def seed(self) -> str:
        """What makes it: SO…, SA…, SU…."""
        prefix = PREFIXES[self.kind]
        return _text(bytes([18 << 3 | prefix >> 5, (prefix & 31) << 3]) + bytes(self._signing))

    def jwt(self, subject: Key, name: str, expires: datetime | None = None, **claims: Any) -> str:
        """A JWT about `subject`, signed with this key."""
        body: dict[str, Any] = {
            "jti": "x",
            "iat": int(datetime.now(UTC).timestamp()),
            "iss": self.public,
            "name": name,
            "sub": subject.public,
            "nats": {"type": subject.kind, "version": 2, **claims},
        }
        if expires is not None:
            body["exp"] = int(expires.timestamp())
        signed = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
        return f"{signed}.{_base64(self._signing.sign(signed.encode()).signature)}"


class Authority:
    """An operator with one account for the registry."""

    def __init__(self) -> None:
        self.operator, self.account, self.system = Key("operator"), Key("account"), Key("account")
        self._signed = self.operator.jwt(self.operator, "operator")  # once: a running server takes no other
        self._users: list[Key] = []

    def configuration(self) -> dict[str, Any]:
        """For a server that trusts this operator; of the users the newest is not revoked."""
        now = int(datetime.now(UTC).timestamp())
        revoked = {user.public: now for user in self._users[:-1]}
        limits = {"limits": OF_ACCOUNT | WITH_JETSTREAM, "revocations": revoked}
        return {
            "operator": self._signed,
            "system_account": self.system.public,
            "resolver": "MEMORY",
            "resolver_preload": {
                self.account.public: self.operator.jwt(self.account, "registry", **limits),
                self.system.public: self.operator.jwt(self.system, "SYS", limits=OF_ACCOUNT),
            },
        }

    def write_credentials(self, file: Path, expires: datetime | None = None, **permissions: Any) -> None:
        """The credentials file of a new user, as nsc writes it."""
        user = Key("user")
        self._users.append(user)
        jwt = self.account.jwt(user, "somebody", expires, **UNLIMITED, **permissions)
        text = (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\nNKEY Seed printed below can be used to "
            f"sign and prove identity.\n\n-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        private(file, text)


def private(file: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file that others cannot read, appearing complete."""
    unfinished = file.with_suffix(".new")
    unfinished.write_text(text)
    unfinished.chmod(mode)
    return unfinished.replace(file)


def _text(body: bytes) -> str:
    crc = binascii.crc_hqx(body, 0).to_bytes(2, "little")
    return base64.b32encode(body + crc).decode().rstrip("=")


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
