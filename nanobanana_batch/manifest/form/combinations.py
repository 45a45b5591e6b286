"""The entries of `exclude` and `include`: which names they may have, and in what shape."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from nanobanana_batch.catalog import Finding
from nanobanana_batch.manifest.form.block import Entry, Factor, Sample
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.read.nodes import Map, Node, Scalar, Seq, place
from nanobanana_batch.manifest.words.names import ROW_NAMES
from nanobanana_batch.wording import closest, shown

_MEANS_ALL = {
    "exclude": "an empty entry would take out every row",
    "include": "an empty entry names no combination",
}
_EXPECTED = {
    "exclude": "expected a text, or a list of texts",
    "include": "expected one text; write one entry for each value",
}
SAMPLE_KEYS = ("n", "seed")
MAX_SAMPLE = 10_000_000
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def read_excludes(form: Form, entries: Entries, known: frozenset[str]) -> tuple[Entry, ...]:
    """The combinations that a block takes out."""
    return tuple(entry for _, entry in _entries(form, "exclude", entries, known))


def read_includes(
    form: Form,
    entries: Entries,
    known: frozenset[str],
    factors: tuple[Factor, ...],
    row_names: Collection[str],
) -> tuple[Entry, ...]:
    """The combinations that a block adds."""
    found = []
    for item, entry in _entries(form, "include", entries, known):
        refused = [name for name in ("id", "variants") if name in entry.values and name not in row_names]
        for name in refused:
            form.note(item.entries[name][0], f"{name!r} cannot be set by an entry", "include")
        lacking = [name for factor in factors for name in _lacking(factor.names, entry)]
        if lacking:
            message = f"an entry that sets a name of `zip` sets all of them; it lacks {', '.join(lacking)}"
            form.note(item.pos, message, "include")
        if not refused and not lacking:
            found.append(entry)
    return tuple(found)


def _lacking(names: tuple[str, ...], entry: Entry) -> list[str]:
    lacking = [name for name in names if name not in entry.values]
    return lacking if len(lacking) < len(names) else []


def _texts(node: Node, *, may_be_several: bool) -> tuple[str, ...]:
    """The value, or those of a list; nothing when it is neither."""
    items = node.items if isinstance(node, Seq) and may_be_several else [node]
    texts = [item.text for item in items if isinstance(item, Scalar) and item.text is not None]
    return tuple(texts) if len(texts) == len(items) else ()


def _entries(form: Form, key: str, entries: Entries, known: frozenset[str]) -> Iterator[tuple[Map, Entry]]:
    # Null takes back what stands beside `blocks`.
    listed = entries[key][1] if key in entries else None
    if listed is None or (isinstance(listed, Scalar) and listed.text is None):
        return
    allowed = (*sorted(known), *ROW_NAMES)
    for item in form.maps(key, listed):
        values: dict[str, tuple[str, ...]] = {}
        places: dict[str, str] = {}
        for name, (pos, node) in item.entries.items():
            if name not in allowed:
                near = closest(name, allowed)
                finding = Finding(key, f"no row has {shown(name)}", suggestion=near, rests_on=name)
                form.finding(pos, finding)
            elif texts := _texts(node, may_be_several=key == "exclude"):
                values[name], places[name] = texts, place(form.file, node.pos)
            else:
                form.note(node.pos, _EXPECTED[key], key)
        if len(values) == len(item.entries) > 0:
            yield item, Entry(place(form.file, item.pos), values, places)
        elif not item.entries:
            form.note(item.pos, _MEANS_ALL[key], key)


def read_sample(form: Form, entries: Entries) -> Sample | None:
    """What `sample` of a block asks for."""
    if "sample" not in entries:
        return None
    pos, node = entries["sample"]
    if isinstance(node, Scalar) and node.text is None:
        return None
    if not isinstance(node, Map):
        form.note(node.pos, "expected {n: 200}, or {n: 200, seed: 1}", "sample")
        return None
    for key, (at, _) in node.entries.items():
        if key not in SAMPLE_KEYS:
            form.note(at, f"unknown key {shown(key)}", "sample", closest(key, SAMPLE_KEYS))
    if "n" not in node.entries:
        form.note(node.pos, "`n` says how many combinations are drawn, as in {n: 200}", "sample")
        return None
    count, seed = _number(form, node, "n", 1, MAX_SAMPLE), _number(form, node, "seed", 0, None)
    return None if count is None or seed is None else Sample(place(form.file, pos), count, seed)


def _number(form: Form, node: Map, key: str, least: int, most: int | None) -> int | None:
    value = node.get(key)
    if value is None:
        return 0
    text = value.text if isinstance(value, Scalar) else None
    if text is not None and _WHOLE_NUMBER.fullmatch(text):
        number = int(text)
        if number >= least and (most is None or number <= most):
            return number
    wanted = f"a whole number from {least}" + (f" to {most}" if most else " on")
    form.note(value.pos, f"`{key}` is {wanted}", "sample")
    return None
