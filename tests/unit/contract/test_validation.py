"""One line about a value from outside that breaks a rule, whatever the value is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from registry.commands import RegisterProject, validated
from registry.errors import Invalid
from registry.events import parse
from registry.queries import ListProjects
from registry.validation import from_validation, printable


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", '"x"'),
        ("größe", '"größe"'),
        ('a"b\nc', '"a\\"b\\nc"'),
        ("a\0b", '"a\\0b"'),
        ("\ud800", '"\\\\ud800"'),
        ("x" * 81, '"' + "x" * 80 + '…"'),
        (7, "7"),
        (10**5000, "(int)"),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        ([1], "(list)"),
        ({"a": 1}, "(dict)"),
        (nested(100_000), "(list)"),
    ],
    ids=range(14),
)
def test_a_value_is_shown_on_one_line_and_not_endless(value: object, expected: str) -> None:
    assert printable(value) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": nested(100_000)}, "project.register: name: (list): input should be a valid string"),
        ({"name": "\ud800"}, r'project.register: name: "\\ud800": input should be a valid string'),
        ({"a\nb": 1}, r'project.register: "a\nb": extra inputs are not permitted'),
        ({"k" * 1000: 1}, f'project.register: "{"k" * 80}…": extra inputs are not permitted'),
        ({"metadata": {"a": nested(99)}}, "project.register: metadata: (dict): it must not be nested deeper than 100"),
    ],
)
def test_data_of_any_kind_is_refused_in_one_short_line(data: dict[str, Any], message: str) -> None:
    complete = {"name": "p", "remote_origin": "git@github.com:a/p.git"} | data
    with pytest.raises(Invalid) as refused:
        validated("project.register", complete)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("levels", [150, 900, 100_000])
def test_an_event_or_a_query_nested_deep_is_refused(levels: int) -> None:
    deep = b"[" * levels + b"]" * levels
    with pytest.raises(Invalid):
        parse(b'{"specversion":%s}' % deep)
    with pytest.raises(ValidationError) as refused:
        ListProjects.model_validate_json(b'{"after":%s,"limit":1%s}' % (deep, b"0" * 5000))
    assert len(str(from_validation(refused.value, "request"))) < 300


def test_the_rule_of_a_pattern_is_told_in_words() -> None:
    with pytest.raises(ValidationError) as refused:
        RegisterProject.model_validate(orjson.loads(b'{"name": " ", "remote_origin": "x"}'))
    assert str(from_validation(refused.value, "it")) == 'it: name: " ": it must not be blank'
