"""What tells this machine from others, as far as another one of the same name is to be noticed."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")
PURPOSE = b"imi-registry host"


def machine() -> str | None:
    """A fingerprint of this machine, the same after each start; None where it has no id, as many containers.

    machine-id(5) says that the id itself must not leave the machine, and that a keyed hash of it does.
    """
    try:
        number = MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    if not number or number == "uninitialized":
        return None
    return hmac.new(number.encode(), PURPOSE, hashlib.sha256).hexdigest()[:32]
