"""The documentation page says what the checks do: its schemas are made from the same contract table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nanobanana_batch.service import contract
from nanobanana_batch.service.contract import ALIASES, NAMES, OFFERS, Dialect, Offer

Schema = dict[str, Any]

DESCRIPTION = """Both dialects of the Nanobanana image API: `evolink` at `/v1`, `unified` at `/unified/v1`.
Images are labelled placeholders. Every call but a link needs `Authorization: Bearer KEY`; any non-empty key
is an account of its own unless the service was started with a key file."""

_ERRORS = {
    400: "invalid_request, invalid_task_id",
    401: "unauthorized",
    402: "insufficient_quota",
    403: "model_access_denied, permission_denied",
    404: "task_not_found, model_not_found, not_found",
    409: "idempotency_conflict, paid_outcome_unknown",
    413: "request_too_large_error",
    429: "rate_limit_exceeded",
    500: "internal_error",
    502: "upstream_error, or HTML from a proxy, or nothing",
    503: "service_unavailable_error",
    504: "upstream_error",
}
_STRING: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_BOOLEAN: Schema = {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Operation:
    summary: str
    operation_id: str
    tag: str
    responses: dict[int | str, dict[str, Any]]
    extra: dict[str, Any] = field(default_factory=dict)


def _object(required: str = "", **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _enum(values: tuple[str, ...], default: str | None = None) -> Schema:
    schema: Schema = {"type": "string", "enum": list(values)}
    return schema | ({"default": default} if default else {})


_ERROR = _object(
    "error",
    error=_object(
        "code message type",
        code={"oneOf": [_STRING, _INTEGER]},
        message=_STRING,
        type=_STRING,
        param=_STRING,
        fallback_suggestion={"type": "string", "example": "retry after 60 seconds"},
    ),
)


def _responses(schema: Schema, *errors: int) -> dict[int | str, dict[str, Any]]:
    replies: dict[int | str, dict[str, Any]] = {
        200: {"description": "OK", "content": {"application/json": {"schema": schema}}}
    }
    for status in (*errors, 429, 500, 502, 503, 504):
        content = {"application/json": {"schema": _ERROR}}
        replies[status] = {"description": _ERRORS[status], "content": content}
    return replies


def _json_body(schema: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


_BEARER: Schema = {"name": "Authorization", "in": "header", "required": True, "schema": _STRING}
_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{16,96}$"},
}


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _model_schema(dialect: Dialect, model: str, offer: Offer) -> Schema:
    names = NAMES[dialect]
    spellings = (model, *(alias for alias, actual in ALIASES.items() if actual == model))
    url = {"type": "string", "format": "uri", "maxLength": contract.URL_MAX_CHARS}
    properties: Schema = {
        "model": _enum(spellings),
        "prompt": {"type": "string", "minLength": 1, "maxLength": contract.PROMPT_MAX_CHARS},
        names.ratio: _enum(offer.ratios, offer.default_ratio),
        "image_urls": _list(url) | {"maxItems": offer.max_images},
    }
    if offer.resolutions:
        properties[names.resolution] = _enum(offer.resolutions, offer.default_resolution)
    if names.callback:
        properties[names.callback] = url | {"pattern": "^https://"}
    for name, schema in _optional(names, offer).items():
        outer, _, inner = name.partition(".")
        if inner:
            nested = properties.setdefault(outer, _object() | {"additionalProperties": False})
            nested["properties"][inner] = schema
        else:
            properties[outer] = schema
    schema = _object("model prompt", **properties)
    return schema | {"title": model, "additionalProperties": False}


def _optional(names: contract.Names, offer: Offer) -> dict[str, Schema]:
    fields: list[tuple[str | None, bool, Schema]] = [
        (names.web_search, offer.web_search, _BOOLEAN),
        (names.image_search, offer.image_search, _BOOLEAN),
        (names.thinking_level, offer.thinking_level, _enum(contract.THINKING_LEVELS)),
        (names.output_format, offer.output_format, _enum(contract.OUTPUT_FORMATS, "png")),
    ]
    return {name: schema for name, offered, schema in fields if name and offered}


def _task_schema(dialect: Dialect) -> Schema:
    properties: Schema = {
        "created": _INTEGER,
        "id": {"type": "string", "pattern": "^task-unified-[0-9]+-[a-z0-9]{8}$"},
        "model": _enum(tuple(OFFERS[dialect])),
        "object": _enum(("image.generation.task",)),
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "status": _enum(contract.TASK_STATUSES),
        "task_info": _object("can_cancel estimated_time", can_cancel=_BOOLEAN, estimated_time=_INTEGER),
        "type": _enum(("image",)),
        "results": _list({"type": "string", "format": "uri"}),
        "result_data": _list(_object("image_url", image_url=_STRING)),
        "error": _object(
            "code message type",
            code=_enum(tuple(contract.TASK_ERRORS)),
            message=_STRING,
            type=_enum(("task_error",)),
        ),
    }
    if dialect == "evolink":
        properties["usage"] = _object(
            "billing_rule credits_reserved user_group",
            billing_rule=_enum(("per_call",)),
            credits_reserved=_NUMBER,
            user_group=_STRING,
            credits_used=_NUMBER,
            cost=_object("credits usd cny", credits=_NUMBER, usd=_NUMBER, cny=_NUMBER),
        )
    return _object("created id model object progress status task_info type", **properties)


def submit(dialect: Dialect) -> Operation:
    models = [_model_schema(dialect, model, offer) for model, offer in OFFERS[dialect].items()]
    return Operation(
        "Submit an image",
        f"submit_{dialect}",
        dialect,
        _responses(_task_schema(dialect), 400, 401, 402, 403, 404, 409, 413),
        {"parameters": [_BEARER, _KEY], "requestBody": _json_body({"oneOf": models})},
    )


def task(dialect: Dialect) -> Operation:
    path = {"name": "task_id", "in": "path", "required": True, "schema": _STRING}
    return Operation(
        "Read a task",
        f"task_{dialect}",
        dialect,
        _responses(_task_schema(dialect), 400, 401, 404),
        {"parameters": [path, _BEARER]},
    )


def batch(dialect: Dialect) -> Operation:
    ids = _list(_STRING) | {"minItems": 1, "maxItems": contract.BATCH_MAX_IDS}
    body = _object("task_ids", task_ids=ids) | {"additionalProperties": False}
    return Operation(
        "Read up to 50 tasks; unknown ids are absent",
        f"batch_{dialect}",
        dialect,
        _responses(_object("data", data=_list(_task_schema(dialect))), 400, 401, 404, 413),
        {"parameters": [_BEARER], "requestBody": _json_body(body)},
    )


def recent(dialect: Dialect) -> Operation:
    row = _object(
        "id model type status progress created_at has_results",
        id=_STRING,
        model=_STRING,
        type=_STRING,
        status=_enum(contract.TASK_STATUSES),
        progress=_INTEGER,
        created_at=_INTEGER,
        has_results=_BOOLEAN,
    )
    page = {"type": "integer", "minimum": 1, "default": 1}
    size = {
        "type": "integer",
        "minimum": 1,
        "maximum": contract.PAGE_SIZE_MAX,
        "default": contract.PAGE_SIZE_DEFAULT,
    }
    queries = [
        _query("status", _enum(contract.TASK_STATUSES)),
        _query("type", _STRING),
        _query("model", _STRING),
        _query("page", page),
        _query("page_size", size),
    ]
    reply = _object(
        "data total page page_size", data=_list(row), total=_INTEGER, page=_INTEGER, page_size=_INTEGER
    )
    return Operation(
        "Recent tasks, newest first",
        f"recent_{dialect}",
        dialect,
        _responses(reply, 400, 401, 404),
        {"parameters": [_BEARER, *queries]},
    )


def credits(dialect: Dialect) -> Operation:
    user = _object("remaining_credits used_credits", remaining_credits=_NUMBER, used_credits=_NUMBER)
    token = _object(
        "remaining_credits unlimited_credits used_credits",
        remaining_credits=_NUMBER,
        unlimited_credits=_BOOLEAN,
        used_credits=_NUMBER,
    )
    reply = _object(
        "data message success",
        data=_object("token user", token=token, user=user),
        message=_STRING,
        success=_BOOLEAN,
    )
    return Operation(
        "Credits left", f"credits_{dialect}", dialect, _responses(reply, 401), {"parameters": [_BEARER]}
    )


_BINARY = {"schema": {"type": "string", "format": "binary"}}
LINK = Operation(
    "An image, by its link",
    "link",
    "links",
    {
        200: {
            "description": "The image",
            "content": {f"image/{kind}": _BINARY for kind in ("png", "jpeg", "webp")},
        },
        404: {"description": "No such link", "content": {"text/html": {"schema": _STRING}}},
        410: {"description": "The link has expired", "content": {"application/json": {"schema": _ERROR}}},
    },
    {"parameters": [{"name": "name", "in": "path", "required": True, "schema": _STRING}]},
)
