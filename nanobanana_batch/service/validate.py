"""Nothing is charged that the description does not allow: a request passes every check here or is a 400/404.

Pure functions from bytes and words to facts; the first thing wrong is an `ApiError` naming its field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from nanobanana_batch.service import openapi
from nanobanana_batch.service.contract import ApiError, Dialect, invalid
from nanobanana_batch.service.network import AddressRefused, target_of
from nanobanana_batch.service.openapi import Schema

_KEY_FORM = re.compile(r"[A-Za-z0-9._-]{16,96}")
_TASK_ID_FORM = re.compile(r"task-unified-[0-9]{1,12}-[a-z0-9]{8}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
_MB = 1_000_000
_RATIO: dict[Dialect, str] = {"evolink": "size", "unified": "aspect_ratio"}
_RESOLUTION: dict[Dialect, str] = {"evolink": "quality", "unified": "resolution"}


@dataclass(frozen=True, slots=True)
class Checked:
    """A submit that may be charged, in the service's own words."""

    model: str
    prompt: str
    ratio: str
    resolution: str
    images: tuple[str, ...]
    output_format: str
    image_bytes: int
    """The most that one reference image may have."""
    callback_url: str | None = None


def json_object(body: bytes) -> dict[str, Any]:
    """The object that a body is. Raises ApiError: 400, also for what two readers could read differently."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as exc:
        raise invalid("The body is not valid JSON.") from exc
    if not isinstance(value, dict):
        raise invalid("The body must be a JSON object.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a field is named twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def check(schema: Schema, value: Any, name: str = "") -> None:
    """Whether a value fits a schema of the description, as far as the description uses JSON Schema.

    Raises:
        ApiError: 400, of the field that does not fit; `name` is that of the value itself.
    """
    kind = schema["type"]
    if not _is(kind, value):
        raise invalid(f"{name or 'The body'} must be of type {kind}.", name or None)
    if kind == "object":
        _check_object(schema, value, name)
    elif kind == "array":
        if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
            raise invalid(f"{name}: {schema.get('minItems', 0)} to {schema['maxItems']} of them.", name)
        for number, item in enumerate(value):
            check(schema["items"], item, f"{name}[{number}]")
    elif kind == "integer":
        if not schema["minimum"] <= value <= schema["maximum"]:
            raise invalid(f"{name} must be from {schema['minimum']} to {schema['maximum']}.", name)
    elif kind == "string":
        _check_text(schema, value, name)


def _is(kind: str, value: Any) -> bool:
    """By JSON's types: there, true is no number."""
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _check_object(schema: Schema, value: dict[str, Any], name: str) -> None:
    before = f"{name}." if name else ""
    for field in schema.get("required", ()):
        if field not in value:
            raise invalid(f"{before}{field} is required.", f"{before}{field}")
    for field, inner in value.items():
        if field not in schema["properties"]:
            inmost = ".".join([f"{before}{field}", *(list(inner)[:1] if isinstance(inner, dict) else ())])
            raise invalid(f"{inmost} is no field that is offered here.", inmost)
        check(schema["properties"][field], inner, f"{before}{field}")


def _check_text(schema: Schema, text: str, name: str) -> None:
    if "enum" in schema and text not in schema["enum"]:
        raise invalid(f"{name} must be one of: {', '.join(schema['enum'])}.", name)
    if len(text) > schema.get("maxLength", len(text)):
        raise invalid(f"{name} is longer than {schema['maxLength']} characters.", name)
    if "pattern" in schema and not _pattern(schema["pattern"]).search(text):
        raise invalid(f"{name} must be text like {schema['pattern']}", name)
    if not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text):
        raise invalid(f"{name} contains a lone surrogate.", name)


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    """As it is meant: in JSON Schema `$` is the very end, in Python also before a last line end."""
    return re.compile(re.sub(r"\$$", r"\\Z", pattern))


def submit(dialect: Dialect, values: Mapping[str, Any], *, allow_loopback_callbacks: bool = False) -> Checked:
    """What a submit asks for, defaults filled in.

    Raises:
        ApiError: 400 for a field that the model does not take, 404 for an unknown model.
    """
    name = values.get("model")
    if not isinstance(name, str):
        raise invalid("model is required, and a string.", "model")
    schema = openapi.models(dialect).get(name)
    if schema is None:
        raise ApiError(404, "model_not_found", f"Model {name[:100]!r} not found.", "model")
    offered, given = schema["properties"], dict(values)
    callback = None
    if "callback_url" in offered and "callback_url" in given:
        callback = _callback(given.pop("callback_url"), allow_loopback_callbacks)
    check(schema, given)
    images, most = given.get("image_urls", ()), offered["image_urls"]["maxItems"]
    ratio = given.get(_RATIO[dialect], offered[_RATIO[dialect]]["default"])
    if ratio == "match_input_image" and not images:
        raise invalid("match_input_image needs an image in image_urls.", _RATIO[dialect])
    return Checked(
        model=schema["title"],
        prompt=given["prompt"],
        ratio=ratio,
        resolution=given.get(_RESOLUTION[dialect]) or _default(offered, _RESOLUTION[dialect], "1K"),
        images=tuple(images),
        output_format=given.get("output_format", "png"),
        image_bytes=(20 if most == 14 else 10) * _MB,
        callback_url=callback,
    )


def _default(offered: Schema, name: str, otherwise: str) -> str:
    return str(offered.get(name, {}).get("default", otherwise))


def _callback(url: Any, allow_loopback: bool) -> str:
    """Names are not resolved here: what they lead to is judged when the callback is sent."""
    try:
        target_of(url, allow_loopback=allow_loopback)
    except AddressRefused as refused:
        raise invalid(f"callback_url {refused}", "callback_url") from refused
    return str(url)


def ratios(dialect: Dialect, model: str) -> tuple[str, ...]:
    """Those that a model offers."""
    return tuple(openapi.models(dialect)[model]["properties"][_RATIO[dialect]]["enum"])


def idempotency_key(value: str) -> str:
    """A key that may be used. Raises ApiError: 400."""
    if not _KEY_FORM.fullmatch(value):
        raise invalid("Idempotency-Key must be 16 to 96 characters of A-Z a-z 0-9 . _ -", "Idempotency-Key")
    return value


def task_id(value: str) -> str:
    """An id that may be a task's. Raises ApiError: 400."""
    if not _TASK_ID_FORM.fullmatch(value):
        raise ApiError(400, "invalid_task_id", "The task id is not well formed.", "task_id")
    return value


def body(call: str, dialect: Dialect, content: bytes) -> dict[str, Any]:
    """The JSON object that a call was sent, as the description wants it. Raises ApiError: 400."""
    values = json_object(content)
    fits(call, dialect, values)
    return values


def fits(call: str, dialect: Dialect, values: Any, media_type: str = "application/json") -> None:
    """Whether the values of a call's body are what the description wants. Raises ApiError: 400."""
    check(openapi.body_schema(f"{call}_{dialect}", media_type), values)


def query(call: str, dialect: Dialect, given: Mapping[str, str]) -> dict[str, Any]:
    """The query of a call by its parameters' names, defaults filled in. Raises ApiError: 400."""
    values: dict[str, Any] = {}
    for parameter in openapi.operation(f"{call}_{dialect}")["parameters"]:
        name, schema = parameter["name"], parameter["schema"]
        value: Any = given.get(name, schema.get("default", ""))
        if schema["type"] == "integer" and re.fullmatch("[0-9]{1,7}", str(value)):
            value = int(value)
        check(schema, value, name)
        values[name] = value
    return values
