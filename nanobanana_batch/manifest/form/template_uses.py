"""What templates ask for, against what rows give: nobody pays for requests that differ in nothing.

A factor that no template uses makes the same request once for each of its values. These are warnings, since
a variable may also be there just to be carried to the results.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.form.block import Given
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.read.nodes import Map, Node, Scalar, Seq, place
from nanobanana_batch.manifest.words.names import FIELD_SET, ROW_NAMES, as_name, not_sent, one_slip
from nanobanana_batch.manifest.words.template import MAX_CHARS, WILDCARD, Template, TemplateFault, texts_of
from nanobanana_batch.wording import closest

_TEMPLATED = ("prompt", "images")
_SLOT = re.compile(r"\{\{|\}\}|(\{[^{}]*\})")
_DOUBLED = re.compile(r"(?<!\{)\{\{([^{}]+)\}\}(?!\})")
_COMPARISONS = 1_000_000
"""Nobody has more names than that by hand, and reading a manifest must not take forever."""

_Text = tuple[str, str, str | int]
"""A field, a text of it that is read as a template, and where it is: a place, or a position in the file."""


class TemplateUses:
    """Collects what the templates of a manifest's blocks use, and warns of what is probably not meant."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._unused_defaults: dict[tuple[str, str], str] = {}
        self._used_defaults: set[tuple[str, str]] = set()
        self._said: set[tuple[str, str]] = set()

    def add(self, entries: Entries, defaults: Mapping[str, Given], names: Iterable[str]) -> None:
        """Take one block; `names` are those that its rows give themselves."""
        own = frozenset(names)
        known = own | set(defaults) | set(_factors(entries))
        used, has_prompts = _Used(known), False
        for field, text, at in templates_of(entries, defaults):
            used.add(text)
            if field == "prompt":
                has_prompts = True
                self._warn_of_habits(text, at, known)
        self._warn_of_factors(entries, used.names)
        self._form.templated |= used.names
        everywhere = used.names | _matched(entries)
        if has_prompts:
            self._compare_defaults(defaults, everywhere)
        self._warn_of_slips(entries, own, everywhere)
        self._warn_of_settings(entries, defaults, known - everywhere - set(_factors(entries, ("where",))))

    def finish(self) -> None:
        """Warn of defaults that no block uses; to be called when all blocks were added."""
        for (name, at), near in self._unused_defaults.items():
            if (name, at) not in self._used_defaults:
                self._warn(at, "no template uses it", name, near)

    def _compare_defaults(self, defaults: Mapping[str, Given], used: set[str]) -> None:
        for name, given in defaults.items():
            if name in used:
                self._used_defaults.add((name, given.place))
            elif name not in ROW_NAMES and name not in self._form.extras and not self._setting_fault(name):
                self._unused_defaults[name, given.place] = closest(name, used)

    def _warn_of_factors(self, entries: Entries, used: set[str]) -> None:
        matrix = [{name: at} for name, at in _factors(entries, ("matrix",)).items()]
        for together in [*matrix, _factors(entries, ("zip",))]:
            if any(name in used or name in FIELD_SET or name in self._form.extras for name in together):
                continue
            for name, (pos, node) in together.items():
                if isinstance(node, Seq) and len(node.items) < 2:
                    continue
                message = (
                    "no prompt, images or id uses it: its values make equal requests, and each is paid for"
                )
                self._warn(pos, message, name, closest(name, used))

    def _warn_of_slips(self, entries: Entries, names: frozenset[str], used: set[str]) -> None:
        unused = names - used - set(ROW_NAMES) - self._form.extras
        if len(unused) * len(used) > _COMPARISONS:
            return
        for name in sorted(unused):
            near = [other for other in sorted(used) if _is_slip(name, other)]
            if near and not name.startswith("row."):
                self._warn(_position(name, entries), "no template uses it", name, near[0])

    def _warn_of_settings(
        self, entries: Entries, defaults: Mapping[str, Given], unused: Iterable[str]
    ) -> None:
        factors = _factors(entries)
        for name in sorted(unused):
            fault = self._setting_fault(name)
            # Rows of another run were warned of there.
            if fault and (name in factors or name in defaults or "from" not in entries):
                at = factors[name][0] if name in factors else _position(name, entries)
                self._warn(defaults[name].place if name in defaults else at, fault, name)

    def _setting_fault(self, name: str) -> str:
        return "" if name in self._form.declared else not_sent(name, self._form.extras)

    def _warn_of_habits(self, text: str, at: str | int, known: frozenset[str]) -> None:
        if len(text) > MAX_CHARS:  # it is refused where templates are read
            return
        for found in _DOUBLED.findall(text) if "{{" in text else ():
            inner = as_name(found.strip())
            name = re.split("[|:]", inner, maxsplit=1)[0].rstrip()
            if name in known:
                message = f"'{{{{{inner}}}}}' stands for braces with {inner!r} between them, not for a value"
                self._warn(at, message, "prompt", f"{{{name}}}")
        for path in WILDCARD.findall(text) if "__" in text else ():
            name = path.rpartition("/")[2]
            message = (
                f"'__{path}__' is sent as it stands; to take it from a list, write {{{name}}} and"
                f" `matrix: {{{name}: {{file: {path}.txt}}}}`, with `sample` for a random choice"
            )
            self._warn(at, message, "prompt")

    def _warn(self, at: str | int, message: str, name: str, near: str = "") -> None:
        if (name, message) not in self._said:
            self._said.add((name, message))
            where = at if isinstance(at, str) else place(self._form.file, at)
            self._form.warnings.append(str(Problem(where, message, name, suggestion=near)))


def names_asked_for(entries: Entries, defaults: Mapping[str, Given]) -> set[str]:
    """The names that templates and entries of a block ask for, and that only its rows can give."""
    given = {*defaults, *_factors(entries)}
    used = _Used(frozenset(given))
    for _, text, _ in templates_of(entries, defaults):
        used.add(text)
    return (used.names | _matched(entries)) - given


class _Used:
    """The names that templates ask for; one that asks for nothing new is not read again."""

    def __init__(self, known: frozenset[str]) -> None:
        self.names: set[str] = set()
        self._known = known
        self._slots: set[str] = set()

    def add(self, text: str) -> None:
        slots = _SLOT.findall(text) if "{" in text else ()
        if self._slots.issuperset(slots):
            return
        self._slots.update(slots)
        with suppress(TemplateFault):  # it is told where templates are read
            self.names.update(Template(text, self._known).names)


def templates_of(entries: Entries, defaults: Mapping[str, Given]) -> Iterator[_Text]:
    """Every text of a block that is read as a template."""
    for name in _TEMPLATED:
        if name in defaults:
            yield from ((name, text, defaults[name].place) for text in texts_of(defaults[name].value))
    rows = [item.entries for key in ("rows", "include") for item in _maps(entries, key)]
    for row in (_factors(entries), *rows):
        for name in _TEMPLATED:
            if name in row:
                yield from _texts(name, row[name][1])
    if "id" in entries:
        yield from _texts("id", entries["id"][1])


def _texts(field: str, node: Node) -> Iterator[_Text]:
    for item in node.items if isinstance(node, Seq) else (node,):
        if isinstance(item, Scalar) and item.text:
            yield field, item.text, item.pos


def _position(name: str, entries: Entries) -> int:
    """Where rows give this name first, or where they come from."""
    for item in _maps(entries, "rows"):
        if name in item.entries:
            return item.entries[name][0]
    return next((entries[key][0] for key in ("table", "from") if key in entries), 0)


def _factors(entries: Entries, keys: Iterable[str] = ("matrix", "zip")) -> Entries:
    found: Entries = {}
    for key in keys:
        node = entries[key][1] if key in entries else None
        if isinstance(node, Map):
            found.update(node.entries)
    return found


def _maps(entries: Entries, key: str) -> Iterator[Map]:
    node = entries[key][1] if key in entries else None
    if isinstance(node, Seq):
        yield from (item for item in node.items if isinstance(item, Map))


def _matched(entries: Entries) -> set[str]:
    """The names that pick combinations."""
    return {name for key in ("exclude", "include") for item in _maps(entries, key) for name in item.entries}


def _is_slip(name: str, other: str) -> bool:
    """Whether one is probably the other misspelt; `view1` and `view2` are two names."""
    shorter, longer = sorted((len(name), len(other)))
    # Of three letters each, `cat` and `car` are two words.
    if shorter < 3 or longer < 4 or name.rstrip("0123456789") == other.rstrip("0123456789"):
        return False
    return one_slip(name.casefold(), other.casefold())
