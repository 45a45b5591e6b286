"""The entries of `exclude` and `include`: which names they may have, and in what shape."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from nanobanana_batch.catalog import Finding, closest, shown
from nanobanana_batch.manifest.block import Entry, Factor
from nanobanana_batch.manifest.forms import Entries, Form
from nanobanana_batch.manifest.names import ROW_NAMES
from nanobanana_batch.manifest.nodes import Map, Scalar, place

_MEANS_ALL = {
    "exclude": "an empty entry would take out every row",
    "include": "an empty entry names no combination",
}


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


def _entries(form: Form, key: str, entries: Entries, known: frozenset[str]) -> Iterator[tuple[Map, Entry]]:
    # Null takes back what stands beside `blocks`.
    listed = entries[key][1] if key in entries else None
    if listed is None or (isinstance(listed, Scalar) and listed.text is None):
        return
    allowed = (*sorted(known), *ROW_NAMES)
    for item in form.maps(key, listed):
        values: dict[str, str] = {}
        places: dict[str, str] = {}
        for name, (pos, node) in item.entries.items():
            if name not in allowed:
                near = closest(name, allowed)
                finding = Finding(key, f"no row has {shown(name)}", suggestion=near, rests_on=name)
                form.finding(pos, finding)
            elif isinstance(node, Scalar) and node.text is not None:
                values[name], places[name] = node.text, place(form.file, node.pos)
            else:
                form.note(node.pos, "expected a text", key)
        if len(values) == len(item.entries) > 0:
            yield item, Entry(place(form.file, item.pos), values, places)
        elif not item.entries:
            form.note(item.pos, _MEANS_ALL[key], key)
