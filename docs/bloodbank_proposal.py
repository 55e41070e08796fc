"""Writes what docs/bloodbank.md proposes, from the program: its tables, and schema files below docs/bloodbank.

`python docs/bloodbank_proposal.py`; `--check` fails when any differs. The layout is that of the pipeline's contract:
`schemas/bloodbank/<domain>/<entity>.<action>.json`.
"""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry.profiles.grammar import PLAIN
from registry.profiles.paths import FIELDS
from registry.profiles.words import (
    COMMANDS,
    DOMAIN,
    EVENTS,
    LISTED_COMMAND_ACTIONS,
    LISTED_ENTITIES,
    command_word,
    is_listed_command,
)
from registry.schemas.generate import documents

HERE = Path(__file__).resolve().parent
PAGE = HERE / "bloodbank.md"
FOLDER = HERE / "bloodbank" / "schemas" / "bloodbank" / DOMAIN
ROOT = f"https://33god.dev/schemas/bloodbank/{DOMAIN}"
BASE = "../../_common/cloudevent_base.v1.json"
MARK = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
IMI = {
    "project.registered": "imi.project.created",
    "worktree.created": "imi.worktree.created",
    "worktree.claimed": "imi.worktree.claimed",
    "worktree.released": "imi.worktree.released",
    "worktree.merged": "imi.worktree.merged",
}
"""What iMi itself called these events."""
NOTES = {
    "project": ("Projects of the iMi registry: a repository, its trunk, its worktrees.", "project:<project_id>"),
    "worktree_type": ("Kinds of worktrees (feat, fix, review …) and their prefixes.", "worktree_type:-"),
    "host": ("A machine on which projects are checked out.", "host:<host_id>"),
    "project_host": ("Where a project is on a host.", "project_host:<project_id>"),
    "activity": ("One entry of the audit log of an agent in a worktree.", "activity:<activity_id>"),
    "registry": ("The registry as a whole: a table of it was emptied.", "registry:-"),
    "command": ("Outcome of a command to the registry, kept as a fact.", "command:<command_id>"),
}


def tables() -> dict[str, str]:
    """The tables of the page, by the names of their places."""
    return {
        "events": _table(
            ["pipeline: `type`", "ours", "iMi's", "today"],
            [
                [f"`{PLAIN.names('evt', _word(name))['type']}`", f"`{name}`", _code(IMI.get(name)), _told(name)]
                for name in EVENTS
            ],
        ),
        "commands": _table(
            ["pipeline: `type`", "ours", "today"],
            [
                [
                    f"`{PLAIN.names('cmd', command_word(name))['type']}`",
                    f"`{name}`",
                    "sent" if is_listed_command(name) else "proposed",
                ]
                for name in COMMANDS
            ],
        ),
        "entities": _table(
            ["Entity", "Domain pairing (typical)", "Notes"],
            [[f"`{entity}`", f"`{DOMAIN}`", note] for entity, (note, _) in NOTES.items()],
        ),
        "ordering": "```\n" + "\n".join(["worktree:<worktree_id>", *(key for _, key in NOTES.values())]) + "\n```\n",
        "actions": "```\n" + "\n".join(_new_actions()) + "\n```\n",
    }


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema file, by name: what may be in the data of each type, whichever of our events it tells."""
    found: dict[str, dict[str, Any]] = {}
    for word in dict.fromkeys(_word(name) for name in EVENTS):
        found[f"{word}.json"] = _event(word, [name for name in EVENTS if _word(name) == word])
    for name in COMMANDS:
        found[f"{command_word(name)}.json"] = _command(name)
    return found


def _word(name: str) -> str:
    return f"{name.partition('.')[0]}.{EVENTS[name]}"


def _told(name: str) -> str:
    return "published" if name.partition(".")[0] in LISTED_ENTITIES else "proposed"


def _new_actions() -> list[str]:
    """Actions of commands that the contract would need; those of other entities of ours are on its list."""
    known = LISTED_COMMAND_ACTIONS | {"append"}
    return sorted({action for action in COMMANDS.values() if action not in known})


def _event(word: str, names: list[str]) -> dict[str, Any]:
    defs: dict[str, Any] = {}
    told = []
    for name in names:
        document = _without_paths(documents()[f"events/{name}.v1.json"], name, defs)
        change = {"const": name.partition(".")[2], "description": f"Which of our events it is: {name}."}
        document["properties"] = {"change": change} | document["properties"]
        document["required"] = ["change", *document.get("required", [])]
        told.append(document)
    reference = {
        "description": "What was changed; the data is in the database of the registry (docs/contract.md).",
        "properties": {"change": {"enum": [name.partition(".")[2] for name in names]}},
        "required": ["change"],
    }
    made = _envelope(word, "event", "evt", f"Events {', '.join(names)} of the iMi project registry.")
    made["if"] = {"required": ["dataref"]}
    made["then"] = {"properties": {"data": reference}}
    made["else"] = {"properties": {"data": {"anyOf": told} if len(told) > 1 else told[0]}}
    return made | ({"$defs": defs} if defs else {})


def _command(name: str) -> dict[str, Any]:
    defs: dict[str, Any] = {}
    made = _envelope(command_word(name), "command", "cmd", f"Command {name} to the iMi project registry.")
    made["properties"]["data"] = _inlined(documents()[f"commands/{name}.v1.json"], name, defs)
    made["properties"]["delivery"] = {"const": "single_consumer"}
    made["required"] += ["command_id", "idempotency_key", "delivery"]
    return made | ({"$defs": defs} if defs else {})


def _envelope(word: str, kind: str, marker: str, description: str) -> dict[str, Any]:
    fixed: dict[str, Any] = {name: {"const": text} for name, text in PLAIN.names(marker, word).items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{ROOT}/{word}.json",
        "title": f"{word.replace('.', ' ').replace('_', ' ').title()} {kind.title()}",
        "description": description,
        "type": "object",
        "allOf": [{"$ref": BASE}],
        "properties": fixed | {"kind": {"const": kind}, "data": {"type": "object"}},
        "required": [*fixed, "kind", "datacontenttype", "causationid", "actor", "ordering_key", "data"],
    }


def _without_paths(document: dict[str, Any], name: str, defs: dict[str, Any]) -> dict[str, Any]:
    """`document` where absolute paths may be left out."""
    made = _inlined(document, name, defs)
    for properties in (made["properties"], *(part.get("properties", {}) for part in defs.values())):
        for field in FIELDS & properties.keys():
            if "anyOf" not in properties[field]:
                properties[field] = {"anyOf": [properties[field], {"type": "null"}]}
    return made


def _inlined(document: dict[str, Any], name: str, defs: dict[str, Any]) -> dict[str, Any]:
    """A schema as part of another one, its definitions put into `defs` under names of their own."""
    text = orjson.dumps(document).decode().replace('"#/$defs/', f'"#/$defs/{name}.')
    made: dict[str, Any] = orjson.loads(text)
    defs.update({f"{name}.{key}": part for key, part in made.pop("$defs", {}).items()})
    for key in ("$schema", "$id", "examples", "title"):
        made.pop(key, None)
    return copy.deepcopy(made)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)) + "\n"


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def main() -> int:
    """Write the page and the files; with `--check` only tell whether they are up to date."""
    made = tables()
    page = MARK.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", PAGE.read_text())
    files = {
        FOLDER / name: orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        for name, document in schemas().items()
    } | {PAGE: page.encode()}
    stale = [path for path, text in files.items() if not path.is_file() or path.read_bytes() != text]
    gone = [path for path in FOLDER.glob("*.json") if path not in files]
    if "--check" in sys.argv:
        for path in stale + gone:
            print(f"{path.relative_to(HERE.parent)} is not up to date: python docs/bloodbank_proposal.py")
        return 1 if stale or gone else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[path])
    for path in gone:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
