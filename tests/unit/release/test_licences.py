"""Which licences a release may be made of: `.ci/release.py` ends at one that nobody has looked at."""

from __future__ import annotations

import pytest
import release


@pytest.mark.parametrize(
    ("licence", "is_fine"),
    [
        ("MIT", True),
        ("MIT License", True),
        ("Apache Software License; MIT License", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", False),  # somebody has to choose, and say so
        ("GNU Affero General Public License v3", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_a_licence_is_known_or_ends_the_release(licence: str, is_fine: bool) -> None:
    assert release.is_fine({"Name": "x", "License": licence}) is is_fine


def test_what_is_explained_is_fine_by_its_name() -> None:
    for name, why in release.EXPLAINED.items():
        assert why
        assert release.is_fine({"Name": name, "License": "GPL-3.0-only"})
