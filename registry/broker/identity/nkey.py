"""The keys of NATS users: an Ed25519 seed in text, and what is made of it for a server (NATS ADR-5).

The package `nkeys` does the same; it exists as source alone, so installing it would need a build.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from registry.errors import Invalid

SEED, USER = 18 << 3, 20 << 3
"""First bits of a seed, and of a user's public key: they make the letters S and U of the text."""
RAW_BYTES = 32
CRC_BYTES = 2


class UserKey(NamedTuple):
    """The key of a user."""

    seed: bytes

    @classmethod
    def parse(cls, text: bytes, place: str) -> UserKey:
        """Read a seed, `SU…`. Raises `Invalid` naming `place`, and nothing of the seed."""
        rule = f"{place}: it must hold the seed of a user, SU and 56 more characters"
        try:
            decoded = base64.b32decode(text + b"=" * (-len(text) % 8))
        except (binascii.Error, ValueError):
            raise Invalid(rule) from None
        body, crc = decoded[:-CRC_BYTES], decoded[-CRC_BYTES:]
        if len(body) != CRC_BYTES + RAW_BYTES or _crc(body) != crc:
            raise Invalid(rule)
        kind = (body[0] & 7) << 5 | body[1] >> 3
        if body[0] & 248 != SEED or kind != USER:
            raise Invalid(rule)
        return cls(body[2:])

    @property
    def public(self) -> str:
        """The public key, `U…`."""
        from nacl.signing import SigningKey  # here, so that only who has a key loads it

        body = bytes([USER]) + bytes(SigningKey(self.seed).verify_key)
        return base64.b32encode(body + _crc(body)).decode().rstrip("=")

    def sign(self, nonce: str) -> bytes:
        """The signature of what a server asks to be signed, as it takes it."""
        from nacl.signing import SigningKey

        return base64.b64encode(SigningKey(self.seed).sign(nonce.encode()).signature)


def _crc(body: bytes) -> bytes:
    """CRC-16 as XMODEM has it."""
    return binascii.crc_hqx(body, 0).to_bytes(CRC_BYTES, "little")
