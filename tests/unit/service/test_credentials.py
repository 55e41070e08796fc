"""No credential is in a message, whatever value it came with."""

from __future__ import annotations

import pytest

from registry.errors import Conflict
from registry.urls import is_cut_in_password, redacted, redacted_server, without_credentials
from registry.validation import printable
from tests.support.credentials import HARMLESS, SECRET_VALUES


@pytest.mark.parametrize("value", SECRET_VALUES)
def test_a_value_is_told_without_its_credential(value: str) -> None:
    assert "s3cret" not in without_credentials(value)
    assert "s3cret" not in printable(value)
    assert "s3cret" not in str(Conflict(f'trunk_path: "{value}": it must begin with "/"'))


@pytest.mark.parametrize("value", HARMLESS)
def test_what_has_none_stays_as_it_is(value: str) -> None:
    assert without_credentials(value) == value
    assert str(Conflict(f'name: "{value}" is taken by {value}')) == f'name: "{value}" is taken by {value}'


def test_an_error_of_a_library_is_told_without_the_url_in_it() -> None:
    told = str(Conflict("cannot reach nats://u:s3cret@h:1, or postgresql://h/d?user=u&password=s3cret in time"))
    assert told == "cannot reach nats://***@h:1, or postgresql://h/d?user=u&password=*** in time"


@pytest.mark.parametrize("unit", ["a: ", "x", "//", "password", ":", '"', "@", "a:@", "%25", "//a ", "token = "])
def test_a_long_text_is_searched_once(unit: str) -> None:
    """Quadratic time would be hours: a sender could stop the service with one command."""
    text = unit * (2_000_000 // len(unit))
    assert without_credentials(text)
    assert str(Conflict(text))


@pytest.mark.parametrize(
    ("url", "shown", "is_cut"),
    [
        ("nats://u:12/s3cret@h", "nats://h", True),
        ("nats://u:pa/s3cret@h:4222", "nats://h:4222", True),
        ("postgresql://u:pa@s3cret@h/d", "postgresql://h/d", True),
        ("postgresql://u:1?2/s3cret@h/d", "postgresql://h/d", True),
        ("nats://u:pa,s3cret@h", "nats://h", False),
        ("nats://u:s3cret", "nats://…", False),
        ("nats://u\ns3cret/x", "nats://…/x", False),
        ("nats://h1,u s3cret\udcc3b", "nats://…", False),
        ("postgresql://%2Frun%2Fx/db", "postgresql://%2Frun%2Fx/db", False),
        ("nats://bücher.example:4222", "nats://bücher.example:4222", False),
        ("nats://u:s3cret@[::1]:4222,tls://s3cret@b", "nats://[::1]:4222,tls://b", False),
        ("postgresql://u:s3cret@[::1]:5432/db", "postgresql://[::1]:5432/db", False),
        ("postgresql://[::1]/db?options=a@b", "postgresql://[::1]/db?options=a@b", False),
        ("postgresql://[::1]:1,[fe80::1]/d?x=a@b", "postgresql://[::1]:1,[fe80::1]/d?x=a@b", False),
        ("postgresql://u:[a]/s3cret?x@h/db", "postgresql://h/db", True),
        ("postgresql://[u]:a/s3cret?x@h/db", "postgresql://h/db", True),
        ("postgresql://h1:1,h2:2/db", "postgresql://h1:1,h2:2/db", False),
        ("postgresql:///db?host=/run/x&user=a@b", "postgresql:///db?host=/run/x&user=a@b", False),
        ("host=h password=a://b/s3cret@d", "host=h password=…", False),
        ('postgresql"s3cret@h/d?sslmode=require', "…", False),
        ("host=h password='p s3cret@' user=a@b", "host=h password=… … user=a@b", False),
        ("host=h password=pa s3cret user=u", "host=h password=… … user=u", False),
        ("postgresql://h/d?s3cret&user=u", "postgresql://h/d?…&user=u", False),
    ],
)
def test_a_password_that_is_cut_is_noticed_and_not_shown(url: str, shown: str, is_cut: bool) -> None:
    assert redacted(url) == shown
    assert is_cut_in_password(url) is is_cut


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("localhost:4222", "localhost:4222"),
        ("h1:1,h2:2", "h1:1,h2:2"),
        ("nats://u:s3cret@h", "nats://h"),
        ("host=h password='p s3cret'", "host=h password=… …"),
        ("nats:/\b/u:s3cret", "…"),
        ("u\ufeffs3cret:4222", "…"),
        ("nats//u:s3cret/x?sslmode=require", "…"),
    ],
)
def test_of_what_is_no_url_of_a_server_an_address_alone_is_told(value: str, shown: str) -> None:
    assert redacted_server(value) == shown
