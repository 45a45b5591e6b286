"""The documentation page says what the checks do: its schemas are made from the same contract table."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from nanobanana_batch.service import contract
from nanobanana_batch.service.contract import ALIASES, NAMES, OFFERS, Dialect, Offer
from nanobanana_batch.service.schema import (
    BINARY,
    BOOLEAN,
    ERROR,
    INTEGER,
    NUMBER,
    SECURITY_NAME,
    STRING,
    TOO_LARGE,
    UNAUTHORIZED,
    Operation,
    Schema,
    array,
    in_path,
    in_query,
    json_content,
    one_of,
    record,
    responses,
    secured,
    text,
)

DESCRIPTION = """Both dialects of the Nanobanana image API: `evolink` at `/v1`, `unified` at `/unified/v1`.
The files API is at `/api/v1/files`, and once more under `/unified`. Images are labelled placeholders. Every
call but a link needs `Authorization: Bearer KEY`; any non-empty key is an account of its own unless the
service was started with a key file."""


def described(app: FastAPI) -> dict[str, Any]:
    """The schema of the application, with what FastAPI cannot know of it."""
    schema = FastAPI.openapi(app)
    scheme = {"type": "http", "scheme": "bearer"}
    schema.setdefault("components", {})["securitySchemes"] = {SECURITY_NAME: scheme}
    return schema


_HTTPS = "^[Hh][Tt][Tt][Pp][Ss]://"
_CALLBACK = """Told by a POST of what a read of the task replies, once the task is completed, failed or
cancelled and billing is confirmed. HTTPS only, never to an internal address: not in any spelling, and not
by a name that resolves to one. 10 s for an answer, any 2xx is success; otherwise at most 3 retries, 1, 2
and 4 s apart, and no redirect is followed. Not signed: take it as a hint, and read the task."""
_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": text("^[A-Za-z0-9._-]{16,96}$"),
}


_PROMPT = {"type": "string", "minLength": 1, "maxLength": contract.PROMPT_MAX_CHARS, "pattern": r"\S"}
_TASK_ID = text("^task-unified-[0-9]{1,12}-[a-z0-9]{8}$")


def _model_schema(dialect: Dialect, model: str, offer: Offer) -> Schema:
    names = NAMES[dialect]
    spellings = (model, *(alias for alias, actual in ALIASES.items() if actual == model))
    image = text(contract.IMAGE_URL, contract.URL_MAX_CHARS) | {"format": "image-url"}
    properties: Schema = {
        "model": one_of(spellings),
        "prompt": _PROMPT,
        names.ratio: one_of(offer.ratios, offer.default_ratio),
        "image_urls": array(image) | {"maxItems": offer.max_images},
    }
    if offer.resolutions:
        properties[names.resolution] = one_of(offer.resolutions, offer.default_resolution)
    if names.callback:
        url = text(_HTTPS, contract.URL_MAX_CHARS) | {"format": "callback-url"}
        properties[names.callback] = url | {"description": _CALLBACK}
    for name, schema in _optional(names, offer).items():
        outer, _, inner = name.partition(".")
        if inner:
            properties.setdefault(outer, record())["properties"][inner] = schema
        else:
            properties[outer] = schema
    schema = record("model prompt", **properties) | {"title": model}
    return schema | (_needs_image(names.ratio) if "match_input_image" in offer.ratios else {})


def _needs_image(ratio: str) -> Schema:
    asked = {"properties": {ratio: {"const": "match_input_image"}}, "required": [ratio]}
    return {"if": asked, "then": {"properties": {"image_urls": {"minItems": 1}}, "required": ["image_urls"]}}


def _optional(names: contract.Names, offer: Offer) -> dict[str, Schema]:
    fields: list[tuple[str | None, bool, Schema]] = [
        (names.web_search, offer.web_search, BOOLEAN),
        (names.image_search, offer.image_search, BOOLEAN),
        (names.thinking_level, offer.thinking_level, one_of(contract.THINKING_LEVELS)),
        (names.output_format, offer.output_format, one_of(contract.OUTPUT_FORMATS, "png")),
    ]
    return {name: schema for name, offered, schema in fields if name and offered}


# An account sees its tasks under both roots, whichever it made them under.
_MODELS = tuple(dict.fromkeys(model for offers in OFFERS.values() for model in offers))


def _task_schema(dialect: Dialect) -> Schema:
    properties: Schema = {
        "created": INTEGER,
        "id": _TASK_ID,
        "model": one_of(_MODELS),
        "object": one_of(("image.generation.task",)),
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "status": one_of(contract.TASK_STATUSES),
        "task_info": record("can_cancel estimated_time", can_cancel=BOOLEAN, estimated_time=INTEGER),
        "type": one_of(("image",)),
        "results": array({"type": "string", "format": "uri"}),
        "result_data": array(record("image_url", image_url=STRING)),
        "error": record(
            "code message type",
            code=one_of(tuple(contract.TASK_ERRORS)),
            message=STRING,
            type=one_of(("task_error",)),
        ),
    }
    if dialect == "evolink":
        properties["usage"] = record(
            "billing_rule credits_reserved user_group",
            billing_rule=one_of(("per_call",)),
            credits_reserved=NUMBER,
            user_group=STRING,
            credits_used=NUMBER,
            cost=record("credits usd cny", credits=NUMBER, usd=NUMBER, cny=NUMBER),
        )
    return record("created id model object progress status task_info type", **properties)


_SUBMIT_ERRORS = {
    400: "invalid_request",
    **UNAUTHORIZED,
    402: "insufficient_quota, insufficient_token_quota, token_daily_quota_exceeded, quota_exceeded",
    403: "model_access_denied, permission_denied",
    404: "model_not_found",
    409: "idempotency_conflict, paid_outcome_unknown",
    **TOO_LARGE,
}


def submit(dialect: Dialect) -> Operation:
    models = [_model_schema(dialect, model, offer) for model, offer in OFFERS[dialect].items()]
    return Operation(
        "Submit an image",
        f"submit_{dialect}",
        dialect,
        responses(_task_schema(dialect), _SUBMIT_ERRORS),
        secured(_KEY, body=json_content({"oneOf": models})),
    )


def task(dialect: Dialect) -> Operation:
    return Operation(
        "Read a task",
        f"task_{dialect}",
        dialect,
        responses(_task_schema(dialect), {400: "invalid_task_id", **UNAUTHORIZED, 404: "task_not_found"}),
        secured(in_path("task_id", _TASK_ID)),
    )


_SWITCHED_OFF = {400: "invalid_request", **UNAUTHORIZED, 404: "not_found: the service was started without it"}


def batch(dialect: Dialect) -> Operation:
    ids = array(STRING) | {"minItems": 1, "maxItems": contract.BATCH_MAX_IDS}
    body = record("task_ids", task_ids=ids)
    return Operation(
        "Read up to 50 tasks; unknown ids are absent",
        f"batch_{dialect}",
        dialect,
        responses(record("data", data=array(_task_schema(dialect))), {**_SWITCHED_OFF, **TOO_LARGE}),
        secured(body=json_content(body)),
    )


def recent(dialect: Dialect) -> Operation:
    row = record(
        "id model type status progress created_at has_results",
        id=STRING,
        model=STRING,
        type=STRING,
        status=one_of(contract.TASK_STATUSES),
        progress=INTEGER,
        created_at=INTEGER,
        has_results=BOOLEAN,
    )
    page = {"type": "integer", "minimum": 1, "maximum": contract.PAGE_MAX, "default": 1}
    size = {
        "type": "integer",
        "minimum": 1,
        "maximum": contract.PAGE_SIZE_MAX,
        "default": contract.PAGE_SIZE_DEFAULT,
    }
    queries = [
        in_query("status", one_of(("", *contract.TASK_STATUSES))),
        in_query("type", STRING),
        in_query("model", STRING),
        in_query("page", page),
        in_query("page_size", size),
    ]
    reply = record(
        "data total page page_size", data=array(row), total=INTEGER, page=INTEGER, page_size=INTEGER
    )
    return Operation(
        "Recent tasks, newest first",
        f"recent_{dialect}",
        dialect,
        responses(reply, _SWITCHED_OFF),
        secured(*queries),
    )


def credits(dialect: Dialect) -> Operation:
    user = record("remaining_credits used_credits", remaining_credits=NUMBER, used_credits=NUMBER)
    token = record(
        "remaining_credits unlimited_credits used_credits",
        remaining_credits=NUMBER,
        unlimited_credits=BOOLEAN,
        used_credits=NUMBER,
    )
    reply = record(
        "data message success",
        data=record("token user", token=token, user=user),
        message=STRING,
        success=BOOLEAN,
    )
    return Operation("Credits left", f"credits_{dialect}", dialect, responses(reply, UNAUTHORIZED), secured())


_IMAGE_KINDS = ("png", "jpeg", "webp")
LINK = Operation(
    "An image, by its link",
    "link",
    "links",
    responses(STRING, {})
    | {
        200: {"description": "The image", "content": {f"image/{kind}": BINARY for kind in _IMAGE_KINDS}},
        404: {"description": "No such link", "content": {"text/html": {"schema": STRING}}},
        410: {
            "description": "The link has expired",
            "content": json_content(ERROR) | {"text/html": {"schema": STRING}},
        },
    },
    {"parameters": [in_path("name", STRING)]},
)
