"""The building blocks of the published schema: an object has the fields that it names, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
BINARY: Schema = {"schema": {"type": "string", "format": "binary"}}

SECURITY_NAME = "key"
_IN_TROUBLE = {
    429: "rate_limit_exceeded",
    500: "internal_error",
    502: "upstream_error, or HTML from a proxy, or nothing",
    503: "service_unavailable_error",
    504: "upstream_error",
}


@dataclass(frozen=True, slots=True)
class Operation:
    summary: str
    operation_id: str
    tag: str
    responses: dict[int | str, dict[str, Any]]
    extra: dict[str, Any] = field(default_factory=dict)


def record(required: str = "", **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required.split()} if required else {})


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def one_of(values: tuple[str, ...], default: str | None = None) -> Schema:
    schema: Schema = {"type": "string", "enum": list(values)}
    return schema | ({"default": default} if default else {})


def text(pattern: str, most: int | None = None) -> Schema:
    schema: Schema = {"type": "string", "pattern": pattern}
    return schema | ({"maxLength": most} if most else {})


UNAUTHORIZED = {401: "unauthorized"}
TOO_LARGE = {413: "request_too_large_error"}
ERROR = record(
    "error",
    error=record(
        "code message type",
        code={"oneOf": [STRING, INTEGER]},
        message=STRING,
        type=STRING,
        param=STRING,
        fallback_suggestion={"type": "string", "example": "retry after 60 seconds"},
    ),
)


def json_content(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def responses(schema: Schema, errors: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """The reply that is hoped for, the errors with their codes, and those of a service in trouble."""
    replies: dict[int | str, dict[str, Any]] = {200: {"description": "OK", "content": json_content(schema)}}
    for status, codes in {**errors, **_IN_TROUBLE}.items():
        replies[status] = {"description": codes, "content": json_content(ERROR)}
    replies[502]["content"] |= {"text/html": {"schema": STRING}}
    return replies


def secured(*parameters: Schema, body: Schema | None = None) -> dict[str, Any]:
    """What a call needs beside its key; `body` by media type."""
    extra: dict[str, Any] = {"security": [{SECURITY_NAME: []}], "parameters": list(parameters)}
    return extra | ({"requestBody": {"required": True, "content": body}} if body else {})


def in_path(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def in_query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema}
