"""Host and port, as they are read and written."""

from __future__ import annotations

import pytest

from registry.authority import parsed, written


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("localhost", ("localhost", None)),
        ("LocalHost.:80", ("localhost", 80)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[2001:DB8::1]:65535", ("2001:db8::1", 65_535)),
        ("a_b-c.example.com", ("a_b-c.example.com", None)),
        ("2001:db8::1", None),
        ("[fe80::1%25eth0]", None),
        ("[127.0.0.1]", None),
        ("user@localhost", None),
        ("localhost:65536", None),
        ("localhost\n", None),
        (".".join(["a" * 63] * 4), None),
        ("a" * 64, None),
    ],
)
def test_a_host_and_a_port_are_read_and_nothing_else(text: str, read: tuple[str, int | None] | None) -> None:
    assert parsed(text) == read


def test_what_is_written_is_what_a_url_has() -> None:
    assert written("127.0.0.1", 80) == "127.0.0.1:80"
    assert written("example.com") == "example.com"
    assert written("::1", "5432") == "[::1]:5432"
    assert written("fe80::1%eth0", 80) == "[fe80::1%25eth0]:80"
