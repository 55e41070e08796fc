"""Values with a credential in them, `s3cret`, as one may be given where anything else is meant."""

from __future__ import annotations

SECRET_VALUES = [
    "https://user:s3cret@github.com/o/r",
    "https://s3cret@github.com/o/r",
    "https://user:pa/s3cret@github.com/o/r",
    "https://me@example.com:s3cret@github.com/o/r",
    "https://user:\ns3cret@github.com/o/r",
    "https://user:two words s3cret@github.com/o/r",
    "https:/user:s3cret@github.com/o/r",
    "//user:s3cret@github.com",
    "ssh://git:s3cret@github.com:22/o/r",
    "user:s3cret@github.com:o/r",
    "user:pa/s3cret@github.com:o/r",
    "s3cret:x-oauth-basic@github.com:o/r",
    "ssh://s3cret:x@work/o/r",
    "https%3A%2F%2Fuser%3As3cret%40github.com",
    "https%253a%252f%252fuser%253as3cret%2540github.com",
    "https://user:s3cret%40github.com",
    "https://github.com/o/r?access_token=s3cret&x=1",
    "https://github.com/o/r?private-token%3Ds3cret",
    "host=h user=u password=s3cret",
    "host=h password='pa s3cret' user=u",
    "PGPASSWORD = s3cret",
    '{"a": {"db_password": "pa s3cret"}}',
    "Authorization: Basic s3cret",
    "Bearer s3cret",
    "ghp_s3crets3crets3crets3cret",
    "glpat-s3crets3cret",
    "https://user:" + "x" * 5000 + "s3cret@github.com",
    "see https://user:s3cret@github.com and mail@example.com",
]
ORIGINS = ['https://user:pa"ss s3cret@github.com/o/r', "https://user:s3cret", "user:s3cret:github.com/o/r"]
"""Where an origin is meant these are none, and have a credential."""
HARMLESS = [
    "git@github.com:owner/repo.git",
    "feat-x@engine",
    "/home/ada/my code//größe",
    "ada@example.com",
    "https://github.com/owner/repo.git",
    "nats://127.0.0.1:4222",
    "fix: the token of a user",
    "a=b",
    "2026-01-21T10:00:00Z",
    "password",
]
