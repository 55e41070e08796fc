"""Tests that need IPv6, which a container may have none of, also on loopback."""

from __future__ import annotations

import socket

import pytest


def _is_there() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not _is_there(), reason="needs IPv6 on loopback")
