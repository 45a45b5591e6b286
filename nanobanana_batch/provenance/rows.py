"""Records as rows of a manifest again: YAML or JSON as a whole manifest, JSONL or CSV as a table."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from nanobanana_batch.model import REQUEST_FIELDS
from nanobanana_batch.provenance.record import Record

FORMATS = ("yaml", "json", "jsonl", "csv")

Row = dict[str, object]
_ESCAPED = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
    r"|[^\w\x00-\x7f]{9,}"
)
"""What YAML takes only so, what turns round or hides text on a screen, and marks in heaps."""


_PLAIN = frozenset((*REQUEST_FIELDS, "id"))


def row_of(record: Record) -> Row:
    """The row of a record: `id`, the fields that were given, settings, variables."""
    given = record.request.given()
    settings = given.pop("extra", {})
    assert isinstance(settings, dict)
    return {**({"id": record.id} if record.id else {}), **given, **settings, **record.variables}


def as_manifest(records: Sequence[Record], format: str) -> str:
    """A text that `plan --format` reads, and in which each row has the key that it had."""
    rows = [row_of(record) for record in records]
    names = list(dict.fromkeys(name for record in records for name in record.variables))
    match format:
        case "csv":
            return _csv(rows)
        case "jsonl":
            return "".join(f"{_json(row)}\n" for row in rows)
        case "json":
            whole = {**({"variables": names} if names else {}), "rows": [_untemplated(row) for row in rows]}
            return _json(whole, indent=2) + "\n"
        case _:
            return _yaml(names, map(_untemplated, rows))


def not_kept(records: Sequence[Record], format: str) -> list[str]:
    """What this format cannot say of these rows."""
    if format in ("jsonl", "csv") or not any(record.request.prompt.endswith("\n") for record in records):
        return []
    return ["A prompt ends in an empty line, which a manifest leaves out: --format jsonl keeps it."]


def _untemplated(row: Mapping[str, object]) -> Row:
    """Fields of a manifest are templates, in which these stand for what they were made into."""
    written = dict(row)
    written["prompt"] = {"raw": row["prompt"]}
    if isinstance(images := row.get("images"), list):
        written["images"] = [str(image).replace("{", "{{").replace("}", "}}") for image in images]
    return written


def _yaml(names: Sequence[str], rows: Iterable[Row]) -> str:
    lines = [f"variables: {_json(names, in_yaml=True)}"] if names else []
    lines.append("rows:")
    for row in rows:
        mark = "-"
        for name, value in row.items():
            key = name if name in _PLAIN else _json(name, in_yaml=True)
            lines.append(f"  {mark} {key}: {_json(value, in_yaml=True)}")
            mark = " "
    return "\n".join(lines) + "\n"


def _json(value: object, *, indent: int | None = None, in_yaml: bool = False) -> str:
    """JSON is YAML but for characters behind the first 65,536: these it escapes in two halves."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)

    def escaped(found: re.Match[str]) -> str:
        far = "\\U{:08x}".format if in_yaml else chr
        return "".join(f"\\u{ord(char):04x}" if char <= "\uffff" else far(ord(char)) for char in found[0])

    return _ESCAPED.sub(escaped, text)


def _csv(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[_cell(row.get(name, "")) for name in names] for row in rows])
    return out.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, list):
        return "|".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
