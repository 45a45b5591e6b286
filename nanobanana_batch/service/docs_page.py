"""The API's description as one page that needs nothing from the internet: no script, no font, no host."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
h1{font-size:1.6rem} h2{font-size:1.05rem;margin:2.2rem 0 .4rem;font-family:ui-monospace,monospace}
.method{display:inline-block;min-width:3.6rem;padding:.05rem .5rem;margin-right:.6rem;border-radius:.3rem;
color:#fff;background:#2563a8;text-align:center;font-size:.85rem} .POST{background:#2f7d4f}
table{border-collapse:collapse;margin:.5rem 0} th{font-weight:600;color:#5a6475}
td,th{text-align:left;padding:.15rem .9rem .15rem 0;vertical-align:top}
pre{background:#f4f6f9;border-radius:.4rem;padding:.7rem;overflow-x:auto;font-size:.82rem}
details{margin:.4rem 0} summary{cursor:pointer;color:#2563a8} code{font-size:.9em}
"""


def page(description: Mapping[str, Any]) -> str:
    """An OpenAPI description as HTML."""
    info = description["info"]
    title = escape(info["title"])
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(info.get("description", "")))
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    machine = "<p>For programs: <a href=openapi.json>openapi.json</a></p>"
    return head + f"<h1>{title}</h1><p>{text}</p>{machine}" + "".join(_operations(description["paths"]))


def _operations(paths: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield _operation(method.upper(), path, operation)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f"<h2><span class='method {method}'>{method}</span>{escape(path)}</h2>",
        f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>",
        _parameters(operation.get("parameters", [])),
        _body(operation.get("requestBody", {})),
        _responses(operation.get("responses", {})),
    ]
    return "".join(parts)


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}"
        f"<td>{escape(one.get('description', ''))}"
        for one in parameters
    ]
    return f"<table><tr><th>parameter<th>in<th>{''.join(rows)}</table>" if rows else ""


def _body(body: Mapping[str, Any]) -> str:
    contents = body.get("content", {})
    return "".join(_folded("Request body", content.get("schema", {})) for content in contents.values())


def _responses(responses: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(status)}</code><td>{escape(reply.get('description', ''))}"
        for status, reply in responses.items()
    ]
    schemas = [
        _folded(f"Reply {status}", content["schema"])
        for status, reply in responses.items()
        for content in reply.get("content", {}).values()
        if status.startswith("2") and content.get("schema")
    ]
    return f"<table><tr><th>status<th>meaning{''.join(rows)}</table>{''.join(schemas)}"


def _folded(title: str, schema: Mapping[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return f"<details><summary>{escape(title)}</summary><pre>{text}</pre></details>"
