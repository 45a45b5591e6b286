"""The API's one description, `openapi.yaml`: served, shown as a page, and what requests are checked by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import yaml

from nanobanana_batch.service.contract import Dialect

Schema = Mapping[str, Any]

# Needs nothing from the internet: no script, no font, no host.
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
h1{font-size:1.6rem} h2{font-size:1.05rem;margin:2.2rem 0 .4rem;font-family:ui-monospace,monospace}
.method{display:inline-block;min-width:3.6rem;padding:.05rem .5rem;margin-right:.6rem;border-radius:.3rem;
color:#fff;background:#2563a8;text-align:center;font-size:.85rem} .POST{background:#2f7d4f}
pre{background:#f4f6f9;border-radius:.4rem;padding:.7rem;overflow-x:auto;font-size:.82rem}
summary{cursor:pointer;color:#2563a8} code{font-size:.9em}
"""


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
