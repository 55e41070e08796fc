"""The AsyncAPI 3 document: every channel, operation and message of the registry, and the streams behind them."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from registry.commands import COMMANDS, CommandEnvelope, Outcome, command_type
from registry.events import VERSIONS
from registry.events.envelope import Envelope
from registry.events.message import CONTENT_TYPE, EVENT_ID_HEADER, OUTBOX_ID_HEADER
from registry.queries import QUERIES
from registry.subjects import Names

NAMES = Names()
SCHEMAS = "#/components/schemas/{model}"
PARAMETERS = {
    "project_id": {"description": "Id of the project, `-` where there is none; `*` subscribes to all."},
    "command_id": {"description": "Id of the command that is answered; `*` subscribes to all."},
}


def document(generator: type[GenerateJsonSchema]) -> dict[str, Any]:
    """The document for the default names (profile `imi`, prefix `imi`), complete in itself."""
    models: list[type[BaseModel]] = [Envelope, CommandEnvelope, Outcome, *COMMANDS.values()]
    models += [model for versions in VERSIONS.values() for model in versions]
    models += [query.request for query in QUERIES.values()]
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in models]
    modes += [(query.response, "serialization") for query in QUERIES.values()]
    _, definitions = models_json_schema(modes, ref_template=SCHEMAS, schema_generator=generator)
    parts = [_event(name) for name in VERSIONS] + [_command(name) for name in COMMANDS]
    parts += [_query(name) for name in QUERIES]
    return {
        "asyncapi": "3.0.0",
        "id": "urn:imi:registry",
        "info": {
            "title": "iMi Project Registry",
            "version": "1.0.0",
            "description": (
                "Changes of the registry as events, and commands to it, over NATS. Events are kept in the JetStream "
                f"stream {NAMES.event_stream}: exactly once, and in order for each row. Payloads are CloudEvents 1.0, "
                "JSON format, structured mode. The prefix of subjects and streams is a setting."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "nats": {
                "host": "localhost:4222",
                "protocol": "nats",
                "description": "NATS with JetStream; which of the ways to log in it takes is up to its operator.",
                "security": [
                    {"$ref": f"#/components/securitySchemes/{name}"} for name in ("user", "token", "nkey", "tls")
                ],
            }
        },
        "channels": {name: channel for part in parts for name, channel in part["channels"].items()},
        "operations": {name: operation for part in parts for name, operation in part["operations"].items()},
        "components": {
            "messages": {name: message for part in parts for name, message in part["messages"].items()},
            "messageTraits": {"event": {"headers": _headers()}},
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "user": {"type": "userPassword", "description": "User and password, or none on a trusted host."},
                "token": {"type": "apiKey", "in": "password", "description": "A token, given as part of the URL."},
                "nkey": {"type": "asymmetricEncryption", "description": "NKey or JWT credentials file."},
                "tls": {"type": "X509", "description": "Client certificate."},
            },
        },
    }


def _event(name: str) -> dict[str, dict[str, Any]]:
    """Channel, operation and messages of one event in all its versions; they share their subject."""
    entity, action = name.split(".")
    messages = {}
    for version, model in enumerate(VERSIONS[name], start=1):
        event_type, urn = NAMES.event_type(entity, action, version), NAMES.data_schema(entity, action, version)
        messages[event_type] = {
            "name": event_type,
            "title": f"{name} version {version}",
            "summary": _summary(model),
            "traits": [{"$ref": "#/components/messageTraits/event"}],
            "payload": _payload(Envelope, model, {"type": {"const": event_type}, "dataschema": {"const": urn}}),
        }
    channel = {
        "address": NAMES.event_subject(entity, action, "{project_id}"),
        "description": f"Stored in stream {NAMES.event_stream}.",
        "messages": _references(messages),
        "parameters": {"project_id": PARAMETERS["project_id"]},
        "x-jetstream": {"stream": NAMES.event_stream, "retention": "limits", "deduplication": EVENT_ID_HEADER},
    }
    operation: dict[str, Any] = {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": _summary(VERSIONS[name][-1]),
        "bindings": {"nats": {}},
    }
    return {"channels": {name: channel}, "operations": {f"publish.{name}": operation}, "messages": messages}


def _command(name: str) -> dict[str, dict[str, Any]]:
    """Channels, operation and messages of one command and the answer to it."""
    message_type, reply_type = command_type(name), f"{command_type(name)}.outcome"
    messages = {
        message_type: {
            "name": message_type,
            "title": name,
            "summary": _summary(COMMANDS[name]),
            "payload": _payload(CommandEnvelope, COMMANDS[name], {"type": {"const": message_type}}),
        },
        reply_type: {
            "name": reply_type,
            "title": f"outcome of {name}",
            "contentType": "application/json",
            "payload": {"$ref": SCHEMAS.format(model=Outcome.__name__)},
        },
    }
    channels = {
        name: {
            "address": NAMES.commands.command_subject(name),
            "description": f"Stored in stream {NAMES.commands.stream} until it is applied.",
            "messages": _references([message_type]),
            "x-jetstream": {"stream": NAMES.commands.stream, "retention": "workqueue"},
        },
        f"{name}.outcome": {
            "address": f"{NAMES.commands.reply_root}.{name}.{{command_id}}",
            "description": "Not stored; the same outcome goes to `replyto`, and stays as a `command` event.",
            "messages": _references([reply_type]),
            "parameters": {"command_id": PARAMETERS["command_id"]},
        },
    }
    operation = {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": _summary(COMMANDS[name]),
        "reply": {"channel": {"$ref": f"#/channels/{name}.outcome"}},
    }
    return {"channels": channels, "operations": {f"apply.{name}": operation}, "messages": messages}


def _query(name: str) -> dict[str, dict[str, Any]]:
    """Channel, operation and messages of one query; the answer comes on the reply subject of the request."""
    message_type = f"query.{name}"
    messages = {
        f"{message_type}.{part}": {
            "name": f"{message_type}.{part}",
            "title": f"{part} of {name}",
            "summary": _summary(model),
            "contentType": "application/json",
            "payload": {"$ref": SCHEMAS.format(model=model.__name__)},
        }
        for part, model in zip(("request", "response"), QUERIES[name], strict=True)
    }
    channel, answer = f"query.{name}", f"query.{name}.answer"
    channels = {
        channel: {
            "address": NAMES.query_subject(name),
            "description": f"Of the NATS micro service {NAMES.query_service}.",
            "messages": _references([f"{message_type}.request"]),
        },
        answer: {
            "address": None,
            "description": "The reply subject of the request.",
            "messages": _references([f"{message_type}.response"]),
        },
    }
    operation = {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": _summary(QUERIES[name].request),
        "reply": {"channel": {"$ref": f"#/channels/{answer}"}},
    }
    return {"channels": channels, "operations": {f"answer.{name}": operation}, "messages": messages}


def _summary(model: type[BaseModel]) -> str:
    """What it says of itself, as every version of Python has it: 3.13 takes the indentation away, others keep it."""
    return cleandoc(model.__doc__ or "")


def _payload(envelope: type[BaseModel], data: type[BaseModel], fixed: dict[str, Any]) -> dict[str, Any]:
    """An envelope with `fixed` attributes and this kind of data."""
    properties = fixed | {"data": {"$ref": SCHEMAS.format(model=data.__name__)}}
    return {"allOf": [{"$ref": SCHEMAS.format(model=envelope.__name__)}, {"type": "object", "properties": properties}]}


def _headers() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["content-type", EVENT_ID_HEADER, OUTBOX_ID_HEADER],
        "properties": {
            "content-type": {"const": CONTENT_TYPE},
            EVENT_ID_HEADER: {"type": "string", "format": "uuid", "description": "The event's id."},
            OUTBOX_ID_HEADER: {"type": "string", "pattern": "^[0-9]+$", "description": "Its place in the outbox."},
        },
    }


def _references(messages: Any) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
