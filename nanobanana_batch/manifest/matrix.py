"""A matrix multiplies rows; each of its values keeps its place, and a name that tells it from the others."""

from __future__ import annotations

from collections.abc import Iterator

from nanobanana_batch.catalog import shown
from nanobanana_batch.manifest.block import Factor
from nanobanana_batch.manifest.forms import Entries, Form
from nanobanana_batch.manifest.ids import word
from nanobanana_batch.manifest.nodes import Map, Node, Scalar, Seq, place
from nanobanana_batch.manifest.sources import ValueFile


def read_factors(form: Form, entries: Entries) -> Iterator[Factor]:
    if "matrix" not in entries:
        return
    for name, (pos, node) in form.map("matrix", entries["matrix"][1]).entries.items():
        if name in ("id", "variants"):
            form.note(pos, f"{name!r} cannot be a factor", "matrix")
        elif form.name(name, pos):
            items = _factor_items(form, name, node)
            if items:
                texts = tuple(text for text, _ in items)
                yield Factor(name, texts, tuple(at for _, at in items), _words(texts))


def _factor_items(form: Form, name: str, node: Node) -> list[tuple[str, str]]:
    if isinstance(node, Map):
        return _value_file(form, name, node)
    if not isinstance(node, Seq) or not node.items:
        form.note(node.pos, "expected a list of values, with at least one", name)
        return []
    found: dict[str, str] = {}
    for item in node.items:
        if not isinstance(item, Scalar):
            form.note(item.pos, "expected a text", name)
        elif item.text is None:
            form.note(item.pos, 'an empty entry; write "" for an empty text', name)
        elif item.text in found:
            form.note(item.pos, f"{shown(item.text)} stands here twice; for repetitions use `variants`", name)
        else:
            found[item.text] = place(form.file, item.pos)
    return list(found.items())


def _value_file(form: Form, name: str, node: Map) -> list[tuple[str, str]]:
    target = node.get("file")
    if set(node.entries) != {"file"}:
        form.note(node.pos, "expected a list or {file: name.txt}; anything else is not supported yet", name)
        return []
    if not isinstance(target, Scalar) or not target.text or "\0" in target.text:
        form.note(node.pos, "expected the name of a text file", name)
        return []
    values = ValueFile(form.folder / target.text, target.text)
    items, problems = values.read()
    form.log.extend(problems)
    return items


def _words(values: tuple[str, ...]) -> tuple[str, ...]:
    """Names for the values of a factor that stay different from each other."""
    used: dict[str, int] = {}
    words = []
    for number, value in enumerate(values, 1):
        name = word(value) or str(number)
        if name in used:
            name = f"{name}-{number}"
        used[name] = number
        words.append(name)
    return tuple(words)
