"""What may be shown of a URL, and of a text that has one in it: no password, no token."""

from __future__ import annotations

import re

MOST_SEARCHED = 4096
"""Characters of a value that are searched; what stands before one of them may belong to an "@" that comes later."""

MOST_TOLD = 400
"""Characters of one value that a message tells."""

MASKED = r"\1***"
_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(r"((?:^|[?&\s])(?:password|sslpassword)=)('(?:[^'\\]|\\.)*'|[^&\s]*)", re.IGNORECASE)

# Each also as a URL has them that is part of another one: percent-encoded, perhaps more than once. The function
# without_credentials of the database knows the same ones; a test holds both together.
_AT = re.compile(r"@|%(?:25)*40")
_SLASHES = r"(?://|(?:%(?:25)*2f){2})"
_COLON = r"(?::(?!//)|%(?:25)*3a(?!%(?:25)*2f))"
_BEFORE_AT = re.compile(rf"""({_SLASHES}).*|(?<![^\s/@"'])[^\s/@"']*{_COLON}.*""", re.IGNORECASE | re.DOTALL)
_NAMELESS_PARAMETER = re.compile(r"([?&])[^=&\s]+(?=&|$)")
_NAMELESS_WORD = re.compile(r"(?<!\S)(?:[^\s='\"]+(?!\S)|[^\s=]*@\S*)")
_NO_PARAMETER = re.compile(r"(?<!\S)(?!\w+=)\S+")
_CALLED = (
    r"[\w.-]{0,40}(?:passw|passphrase|pwd|secret|token|api_?-?key|access_?-?key|private_?-?key|credential)[\w.-]{0,40}"
)
_HOST = re.compile(r"(?:[\w.%~-]*|\[[^\]]*\])(?::[0-9]*)?(?:,(?:[\w.%~-]*|\[[^\]]*\])(?::[0-9]*)?)*")
_NAMED = re.compile(
    rf"""((?<![\w.-]){_CALLED}(?:\s*=\s*|%(?:25)*3d)|"{_CALLED}\\*"\s*:\s*|authorization:\s*\w+\s+|bearer\s+)"""
    r"""(\\*"[^"]*"?|'[^']*'?|[^\s&,;}"']+)""",
    re.IGNORECASE,
)
_KNOWN = re.compile(r"(?<!\w)(?:gh[opsur]_|github_pat_|glpat-|xox[abprs]-)[\w-]{8,}")
_EXAMPLE = re.compile(r"[a-z]+://(?:USER:PASSWORD@|\[TOKEN@\|USER:PASSWORD@\])HOST[A-Z:/\[\],]*")
"""What a message says that a URL should look like."""
_PLAIN = r"(?:[A-Za-z0-9_.~-]|%[2-7][0-9A-Fa-f])"
_LABELS = r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*"
_SOCKET = r"host=%2F(?:[A-Za-z0-9_.~-]|%2F)*"
_PARAMETER = rf"(?:{_SOCKET}|(?:user|password|port|sslmode|sslrootcert|target_session_attrs)={_PLAIN}*)"
PLAIN_DATABASE_URL = re.compile(
    rf"postgresql://(?:{_PLAIN}+(?::{_PLAIN}*)?@)?(?:{_LABELS})?(?::[0-9]{{1,5}})?(?:/{_PLAIN}*)?"
    rf"(?:\?{_PARAMETER}(?:&{_PARAMETER})*)?"
)
"""URLs that libpq takes, of a host that may be asked for, as most are; of any other one libpq has to be asked."""
_QUOTED_OR_WORD = re.compile(r"""("[^"]*")|[^\s"]+""")


def redacted(url: str) -> str:
    """A server's `url` (or a comma-separated list, or a libpq connection string) without credentials."""
    servers = re.split(r",(?=\s*[a-z][a-z0-9+.-]*://)", url, flags=re.IGNORECASE)
    shown = _SECRET_PARAMETER.sub(r"\1…", ",".join(map(_without_userinfo, servers)))
    return _NAMELESS_PARAMETER.sub(r"\1…", shown)


def redacted_server(value: str) -> str:
    """`redacted`, of what was to be a server's URL: where it has the form of none, an address alone is told."""
    if "://" in value:
        return redacted(value)
    if "=" in value:
        return redacted(_NO_PARAMETER.sub("…", value))
    return value if _HOST.fullmatch(value) else "…"


def is_cut_in_password(url: str) -> bool:
    """Whether a password in `url` has a character that ends it, so that the rest is taken for a host or a name."""
    if _URL.match(url) is None:
        return False
    authority, _, path = url.partition("://")[2].partition("/")
    return authority.count("@") > 1 or _is_in_password(authority, path)


def without_credentials(value: str) -> str:
    """A value, whatever it is meant to be, as it may stand in a message; of a long one the beginning."""
    if len(value) > MOST_SEARCHED:
        value = f"{value[:MOST_SEARCHED]}@"
    return _without_user(_without_named(value))


def safe_to_tell(message: str) -> str:
    """A message with values in it, quoted or as words, as it may be told to others; of a long value the beginning."""
    return _QUOTED_OR_WORD.sub(lambda found: _told(found[0]), _without_named(message))


def _told(value: str) -> str:
    """One value of a message, with the quotes around it."""
    shown = value if _EXAMPLE.fullmatch(value) else _without_user(value)
    if len(shown) <= MOST_TOLD:
        return shown
    return f"{shown[:MOST_TOLD]}…" + ('"' if shown.startswith('"') else "")


def _without_named(text: str) -> str:
    """`text` without what is called a password or a token, and what looks like one of a known host."""
    return _KNOWN.sub("***", _NAMED.sub(MASKED, text))


def _without_user(value: str) -> str:
    """`value` without what stands before the last "@", behind the first `//` or in the first word with a colon."""
    ats = [found.span() for found in _AT.finditer(value)]
    if not ats:
        return value
    start, end = ats[-1]
    before = _BEFORE_AT.sub(MASKED, value[:start])
    return value if before == value[:start] else f"{before}@{value[end:]}"


def _without_userinfo(url: str) -> str:
    scheme, found, rest = url.partition("://")
    if not found and "=" in url:  # a connection string of libpq; a word without a value is one of a password
        return _NAMELESS_WORD.sub("…", url)
    if not found:
        return url.rpartition("@")[2]
    authority, slash, path = rest.partition("/")
    if _is_in_password(authority, path):
        authority, slash, path = rest.rpartition("@")[2].partition("/")
    host = authority.rpartition("@")[2]
    is_whole = _HOST.fullmatch(host) is not None  # else it is the beginning of a list, or of a password with a comma
    return f"{scheme}://{host if is_whole else '…'}{slash}{path}"


def _is_in_password(authority: str, path: str) -> bool:
    """Whether the "/" between them is one of a password: what comes then ends at an "@"."""
    if "@" in authority:
        return False
    is_hosts = _HOST.fullmatch(authority) is not None
    behind = authority.rpartition("]")[2] if is_hosts else authority  # in the brackets colons are an address's
    port = behind.rpartition(":")[2] if ":" in behind else "0"
    return "@" in path.partition("?")[0] or ("@" in path and not port.isdigit())
