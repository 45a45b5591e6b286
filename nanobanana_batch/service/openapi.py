"""The API's one description, `openapi.yaml`: served, shown as a page, and what requests are checked by.

Nothing is charged that it does not allow: a request passes every check here, or the first thing wrong is an
`ApiError` of 400 or 404 that names its field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import yaml

from nanobanana_batch.service.contract import ApiError, Dialect, invalid
from nanobanana_batch.service.network import AddressRefused, target_of

Schema = Mapping[str, Any]

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
_MB = 1_000_000
_RATIO: dict[Dialect, str] = {"evolink": "size", "unified": "aspect_ratio"}
_RESOLUTION: dict[Dialect, str] = {"evolink": "quality", "unified": "resolution"}

# Needs nothing from the internet: no script, no font, no host.
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
h1{font-size:1.6rem} h2{font-size:1.05rem;margin:2.2rem 0 .4rem;font-family:ui-monospace,monospace}
.method{display:inline-block;min-width:3.6rem;padding:.05rem .5rem;margin-right:.6rem;border-radius:.3rem;
color:#fff;background:#2563a8;text-align:center;font-size:.85rem} .POST{background:#2f7d4f}
pre{background:#f4f6f9;border-radius:.4rem;padding:.7rem;overflow-x:auto;font-size:.82rem}
summary{cursor:pointer;color:#2563a8} code{font-size:.9em}
"""


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


@cache
def document() -> dict[str, Any]:
    """The description as it is served: every schema written out, no references."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = files("nanobanana_batch.service").joinpath("openapi.yaml").read_text("utf-8")
    described: dict[str, Any] = yaml.load(text, loader)
    del described["x-parts"]
    return described


@cache
def operation(operation_id: str) -> Schema:
    """One call by its `operationId`. Raises StopIteration where there is none."""
    items = (item for methods in document()["paths"].values() for item in methods.values())
    return next(item for item in items if item["operationId"] == operation_id)


@cache
def body_schema(operation_id: str, media_type: str = "application/json") -> Schema:
    """What the body of a call has to look like."""
    content = operation(operation_id)["requestBody"]["content"]
    return content[media_type]["schema"]  # type: ignore[no-any-return]


@cache
def models(dialect: Dialect) -> Mapping[str, Schema]:
    """What a submit may say, by the model that it names; the schema's title is the model's own name."""
    schemas = body_schema(f"submit_{dialect}")["oneOf"]
    return {name: schema for schema in schemas for name in schema["properties"]["model"]["enum"]}


def task_errors() -> tuple[str, ...]:
    """The codes by which a task may fail."""
    reply = operation("task_evolink")["responses"]["200"]["content"]["application/json"]["schema"]
    return tuple(reply["properties"]["error"]["properties"]["code"]["enum"])


def page() -> str:
    """The description as HTML."""
    info = document()["info"]
    title = escape(info["title"])
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(info["description"]))
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    machine = "<p>For programs: <a href=openapi.json>openapi.json</a></p>"
    return head + f"<h1>{title}</h1><p>{text}</p>{machine}" + "".join(_operations())


def _operations() -> Iterator[str]:
    for path, methods in document()["paths"].items():
        for method, item in methods.items():
            yield f"<h2><span class='method {method.upper()}'>{method.upper()}</span>{escape(path)}</h2>"
            yield f"<p>{escape(item['summary'])}</p>"
            yield from (f"<p><code>{one['name']}</code> in {one['in']}</p>" for one in item["parameters"])
            yield from _folded("Request body", item.get("requestBody", {}))
            for status, reply in sorted(item["responses"].items()):
                yield f"<p><code>{status}</code> {escape(reply['description'])}</p>"
                if status == "200":
                    yield from _folded("Reply", reply)


def _folded(title: str, described: Schema) -> Iterator[str]:
    for media_type, content in described.get("content", {}).items():
        text = escape(json.dumps(content["schema"], indent=2, ensure_ascii=False))
        yield f"<details><summary>{title}, {escape(media_type)}</summary><pre>{text}</pre></details>"


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
        raise invalid(f"{name} must be {schema.get('description', 'text like ' + schema['pattern'])}", name)
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
    schema = models(dialect).get(name)
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
    return tuple(models(dialect)[model]["properties"][_RATIO[dialect]]["enum"])


def parameter(call: str, dialect: Dialect, name: str, value: str) -> str:
    """A parameter's value, if it is what the description wants. Raises ApiError: 400."""
    parameters = operation(f"{call}_{dialect}")["parameters"]
    check(next(one["schema"] for one in parameters if one["name"] == name), value, name)
    return value


def body(call: str, dialect: Dialect, content: bytes) -> dict[str, Any]:
    """The JSON object that a call was sent, as the description wants it. Raises ApiError: 400."""
    values = json_object(content)
    fits(call, dialect, values)
    return values


def fits(call: str, dialect: Dialect, values: Any, media_type: str = "application/json") -> None:
    """Whether the values of a call's body are what the description wants. Raises ApiError: 400."""
    check(body_schema(f"{call}_{dialect}", media_type), values)


def query(call: str, dialect: Dialect, given: Mapping[str, str]) -> dict[str, Any]:
    """The query of a call by its parameters' names, defaults filled in. Raises ApiError: 400."""
    values: dict[str, Any] = {}
    for parameter in operation(f"{call}_{dialect}")["parameters"]:
        name, schema = parameter["name"], parameter["schema"]
        value: Any = given.get(name, schema.get("default", ""))
        if schema["type"] == "integer" and re.fullmatch("[0-9]{1,7}", str(value)):
            value = int(value)
        check(schema, value, name)
        values[name] = value
    return values
