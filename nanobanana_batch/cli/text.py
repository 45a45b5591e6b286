"""How things look on the screen; no decision is made here."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobanana_batch.cli.dress import Verbatim, width_of, wrapped
from nanobanana_batch.visible import visible_line
from nanobanana_batch.wording import amount, counted, cut, untold_text

if TYPE_CHECKING:
    import json

    from nanobanana_batch.catalog import ModelRules
    from nanobanana_batch.jobs.audit import Audit
    from nanobanana_batch.jobs.doctor import Diagnosis
    from nanobanana_batch.jobs.rebuild import Rebuilt

_WIDEST_CELL = 200
_PLACES_SHOWN = 6
NARROWEST = 24
"""A column of texts; else it takes what the others leave of the screen."""


def as_json(value: Any) -> str:
    """A dataclass, or a list of them, as indented JSON."""
    return Verbatim("".join(json_pieces(value)))


def json_pieces(value: Any, line: str = "\n") -> Iterator[str]:
    """The same bit by bit, each with whole texts only; `line` begins a line of where it stands."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and (told := _told(value)):
        for number, (name, each) in enumerate(told):
            yield f'{"," if number else "{"}{line}  "{name}": '
            yield from json_pieces(each, f"{line}  ")
        yield f"{line}}}"
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes) and value:
        for number, each in enumerate(value):
            yield f"{',' if number else '['}{line}  "
            yield from json_pieces(each, f"{line}  ")
        yield f"{line}]"
    else:
        text = _json().encode(_plain(value)).replace("\n", line)
        # A byte of a file's name that is no text: as such it would not be JSON any more.
        yield text if text.isascii() else re.sub("[\ud800-\udfff]", _as_unit, text)


@cache
def _json() -> json.JSONEncoder:
    import json  # pages of help need none of it, nor of the other libraries that are imported below

    return json.JSONEncoder(indent=2, ensure_ascii=False)


def _as_unit(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def as_json_line(value: Any) -> str:
    """The same on one line."""
    import json

    return json.dumps(json.loads(as_json(value)), ensure_ascii=True)


def unexpected_text(error: BaseException) -> str:
    """An error that nobody foresaw: its kind and where it arose; its words may hold a link or a key."""
    import traceback

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[-_PLACES_SHOWN:]]
    return (
        f"{type(error).__name__} in {' > '.join(places)}: this should not have happened; please report it."
        " Whatever was paid for is remembered: run the same command again to go on."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, numbers to the right; very long cells are cut."""
    cells = [[cut(cell, _WIDEST_CELL) for cell in row] for row in (header, *rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    signs = [">" if all(map(_is_number, column[1:])) else "<" for column in columns]
    return "\n".join(
        "  ".join(
            f"{cell:{sign}{width}}" for cell, sign, width in zip(row, signs, widths, strict=True)
        ).rstrip()
        for row in cells
    )


def rebuilt_text(rebuilt: Rebuilt | None) -> str:
    """What the new state knows, and how to go on."""
    if rebuilt is None:
        return "The state knows all that payments.jsonl tells; nothing was changed."
    counts = ", ".join(f"{count:,} {status}" for status, count in rebuilt.counts.items())
    lines = [
        f"A state was made of payments.jsonl: {counted(sum(rebuilt.counts.values()), 'request')} ({counts})."
    ]
    if rebuilt.before is not None:
        lines.append(f"The state of before is now {rebuilt.before}.")
    return "\n".join([*lines, "Run the same command as before: it takes the manifest anew, and goes on."])


def audit_lines(audit: Audit) -> Iterator[str]:
    """Totals, then every finding with what to do."""
    totals = audit.totals
    yield (
        f"{audit.folder}: {counted(totals.attempts, 'request')}, {counted(totals.accepted, 'task')},"
        f" {counted(totals.saved, 'image')} saved, {counted(totals.files, 'file')}"
    )
    yield (
        f"  credits reserved: {amount(totals.credits_reserved)}, used: {amount(totals.credits_used)},"
        f" refunded: {amount(totals.credits_refunded)}{untold_text(totals.untold)}"
    )
    for found in audit.findings:
        yield "  " + visible_line(f"{found.kind}: {found.what}: {found.detail}; {found.advice}")
    if audit.in_flight is not None:
        yield f"A run is going on: {counted(audit.in_flight, 'request')} in flight not looked at."
    yield f"{counted(len(audit.findings), 'finding')}." if audit.findings else "Everything is explained."


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """One paragraph a check; what is no ok also says what to do."""
    width = max(len(check.name) for check in diagnosis.checks)
    lines = []
    for check in diagnosis.checks:
        lines += _hanging(f"{check.verdict:<7}  {check.name:<{width}}  ", check.found)
        if check.advice:
            lines += _hanging(f"{'':<7}  {'':<{width}}  ", f"-> {check.advice}")
    problems = sum(check.verdict == "problem" for check in diagnosis.checks)
    return "\n".join([*lines, f"{counted(problems, 'problem')}." if problems else "All is well."])


def _hanging(first: str, text: str) -> list[str]:
    """The text behind its first words; no wider than the screen, where there is one."""
    width = width_of(sys.stdout)
    return wrapped(first + text, width and max(len(first) + NARROWEST, width)).split("\n")


def screen_width() -> int:
    """Characters in a line; a usual number where nobody is looking."""
    import shutil

    return shutil.get_terminal_size((120, 24)).columns


def models_text(models: Sequence[ModelRules]) -> str:
    """One paragraph for each model and kind of provider."""
    return "\n\n".join(_model_text(rules) for rules in models)


def _model_text(rules: ModelRules) -> str:
    title = f" ({rules.title})" if rules.title else ""
    lines = [f"{rules.name}{title}, as {rules.dialect} offers it"]
    lines += [f"  {name} is only another name; {rules.name} is sent" for name in rules.aliases]
    lines += [f"  {name} is its older name; rows that say it send it" for name in rules.older_names]
    if rules.retired_on:
        lines.append(
            f"  retired at its maker on {rules.retired_on} ({rules.maker}); still listed by this provider"
        )
    facts = {
        "aspect ratios": rules.aspect_ratios,
        "resolutions": rules.resolutions,
        "output formats": rules.output_formats,
        "thinking levels": rules.thinking_levels,
    }
    lines += [f"  {name}: {' '.join(values)}" for name, values in facts.items() if values]
    searches = [
        name for name, offered in (("web", rules.web_search), ("images", rules.image_search)) if offered
    ]
    if searches:
        lines.append(f"  searches: {' '.join(searches)}")
    if rules.max_images is not None:
        lines.append(f"  reference images: at most {rules.max_images}")
    lines += [f"  {name} is sent as {wire.said}" for name, wire in rules.fields.items() if wire]
    lines += [f"  {extra.name}: {extra.said_in_full}" for extra in rules.extra.values()]
    if rules.credits is not None:
        prices = ", ".join(f"{size} {amount(credits)}" for size, credits in rules.credits.items())
        lines.append(f"  credits: {prices} (as of {rules.credits_as_of or 'a day that is not told'})")
    told = [*lines, f"  from: {rules.source}"]
    return "\n".join(line[: len(line) - len(line.lstrip())] + visible_line(line) for line in told)


def _is_number(cell: str) -> bool:
    return cell in ("?", "") or cell.lstrip("$").replace(",", "").replace(".", "").isdigit()


def _told(value: Any) -> list[tuple[str, Any]]:
    """Names and values of a dataclass, as they are told."""
    from nanobanana_batch.model import AS

    return [
        (field.name, field.metadata.get(AS, lambda told: told)(getattr(value, field.name)))
        for field in dataclasses.fields(value)
    ]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(each) for name, each in _told(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | frozenset):
        return [_plain(item) for item in value]
    return value
