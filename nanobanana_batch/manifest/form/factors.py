"""Factors multiply rows; each of their values keeps its place, and a name that tells it from the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nanobanana_batch.catalog import Finding
from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.form.block import Column, Factor
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.form.ranges import RANGE_KEYS, NumberRange, read_range
from nanobanana_batch.manifest.form.value_lists import read_values
from nanobanana_batch.manifest.read.nodes import Map, Node, Scalar, Seq, place
from nanobanana_batch.manifest.words.ids import distinct_words
from nanobanana_batch.manifest.words.names import SETTINGS, as_name
from nanobanana_batch.wording import closest, counted, shown

MAX_FACTORS = 200
_LONGEST_SHOWN = 80
_RANGE_ELSEWHERE = {
    **dict.fromkeys(("start", "begin", "min", "first"), "from"),
    **dict.fromkeys(("stop", "end", "max", "last", "until"), "to"),
    **dict.fromkeys(("by", "increment"), "step"),
}
MAX_OF_SETTING = 100
"""Rows are counted by what their model, resolution and so on are, and by each combination of these."""
_SHAPES = "expected a list, {file: name.txt}, or a range such as {from: 1, to: 5}"


def read_factors(form: Form, entries: Entries) -> tuple[Factor, ...]:
    """The factors of a block, `zip` first."""
    zipped = list(_columns(form, "zip", entries))
    columns = list(_columns(form, "matrix", entries))
    names = {column.name for column in zipped}
    for column in columns:
        if column.name in names:
            message = "given by `zip` and by `matrix`; keep one"
            form.log.add(Problem(column.places[0], message, column.name))
    if len(columns) > MAX_FACTORS:
        form.note(
            entries["matrix"][0], f"{len(columns)} factors; at most {MAX_FACTORS} are possible", "matrix"
        )
    factors = [Factor((column,)) for column in columns[:MAX_FACTORS]]
    if zipped and _walks_side_by_side(form, zipped, entries["zip"][0]):
        factors.insert(0, Factor(tuple(zipped)))
    return tuple(factors)


def _columns(form: Form, key: str, entries: Entries) -> Iterator[Column]:
    if key not in entries:
        return
    for name, (pos, node) in form.map(key, entries[key][1]).entries.items():
        if name in ("id", "variants"):
            form.note(pos, f"{name!r} cannot be a factor", key)
        elif form.name(name, pos):
            column = _column(form, name, node, may_repeat=key == "zip")
            if column and name in SETTINGS and len(column.values) > MAX_OF_SETTING:
                form.note(pos, f"{len(column.values):,} values; no model allows so many", name)
            elif column:
                yield column


def _walks_side_by_side(form: Form, columns: list[Column], pos: int) -> bool:
    if len({len(column.values) for column in columns}) > 1:
        lengths = ", ".join(f"{column.name} has {len(column.values)}" for column in columns)
        message = f"lists that are walked side by side have the same length; {lengths}"
        form.finding(pos, Finding("zip", message, rests_on="zip"))
        return False
    if any(isinstance(column.values, NumberRange) for column in columns):
        return True
    first: dict[tuple[str, ...], int] = {}
    for level, texts in enumerate(zip(*(column.values for column in columns), strict=True)):
        if first.setdefault(texts, level) != level:
            message = f"{shown(', '.join(texts))} stands here twice; for repetitions use `variants`"
            form.log.add(Problem(columns[0].place(level), message, "zip"))
    return True


def _column(form: Form, name: str, node: Node, *, may_repeat: bool) -> Column | None:
    if isinstance(node, Map) and "file" not in node.entries:
        return _range_column(form, name, node)
    if isinstance(node, Map):
        items = _file_items(form, name, node, may_repeat)
    else:
        items = _listed_items(form, name, node, may_repeat)
    values = tuple(text for text, _ in items)
    return Column(name, values, tuple(at for _, at in items), distinct_words(values)) if values else None


def _range_column(form: Form, name: str, node: Map) -> Column | None:
    if node.entries.keys() & _RANGE_ELSEWHERE.keys():
        pairs = ((_RANGE_ELSEWHERE.get(key, key), item) for key, (_, item) in node.entries.items())
        said = ", ".join(f"{key}: {item.text}" for key, item in pairs if isinstance(item, Scalar))
        form.note(node.pos, f"a range has {', '.join(RANGE_KEYS)}", name, f"{{{said[:_LONGEST_SHOWN]}}}")
        return None
    if not node.entries.keys() & set(RANGE_KEYS):
        near = next(filter(None, (closest(key, ("file", *RANGE_KEYS)) for key in node.entries)), "")
        form.note(node.pos, _SHAPES, name, near)
        return None
    numbers = read_range(form, name, node)
    if numbers is None:
        return None
    return Column(name, numbers, (place(form.file, node.pos),), numbers)


def _listed_items(form: Form, name: str, node: Node, may_repeat: bool) -> list[tuple[str, str]]:
    if not isinstance(node, Seq) or not node.items:
        text = node.text if isinstance(node, Scalar) else None
        near = f"[{text}]" if text and len(text) <= _LONGEST_SHOWN else ""
        form.note(node.pos, f"{_SHAPES}; a list has at least one value", name, near)
        return []
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    repeated = 0
    for item in node.items:
        if not isinstance(item, Scalar):
            form.note(item.pos, "expected a text", name)
        elif item.text is None:
            form.note(item.pos, 'an empty entry; write "" for an empty text', name)
        elif item.text in seen and not may_repeat:
            repeated += 1
        else:
            seen.add(item.text)
            found.append((item.text, place(form.file, item.pos)))
    if repeated:
        values = f"{counted(repeated, 'value')} that {'stands' if repeated == 1 else 'stand'} there already"
        said = f"{values} {'is' if repeated == 1 else 'are'} left out; for repetitions use `variants`"
        form.warn(node.pos, said, name)
    return found


def _file_items(form: Form, name: str, node: Map, may_repeat: bool) -> list[tuple[str, str]]:
    target, column, sheet = node.get("file"), node.get("column"), node.get("sheet")
    if not set(node.entries) <= {"file", "column", "sheet"}:
        form.note(node.pos, _SHAPES, name)
        return []
    if not isinstance(target, Scalar) or not target.text or "\0" in target.text:
        form.note(node.pos, "expected the name of a file", name)
        return []
    for each in (column, sheet):
        if each is not None and not (isinstance(each, Scalar) and each.text):
            form.note(each.pos, "expected a text", name)
            return []
    if not form.is_there(name, target):
        return []
    found = read_values(
        form.folder / target.text,
        target.text,
        form.reach,
        called=name,
        column=as_name(column.text or "") if isinstance(column, Scalar) else "",
        sheet=sheet.text if isinstance(sheet, Scalar) else None,
        may_repeat=may_repeat,
    )
    if found.remark:
        form.reach.note(target.text, found.remark)
    form.log.extend(replace(problem, field=name) for problem in found.problems)
    form.warnings.extend(note for note in found.notes if note not in form.warnings)
    return found.items
