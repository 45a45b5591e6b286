"""From YAML nodes to blocks: all that can be wrong with the form of a manifest is found, at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from nanobanana_batch.catalog import Finding
from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.form.block import Block, Factor, Given, ListedRows, Source, node_value
from nanobanana_batch.manifest.form.combinations import read_excludes, read_includes, read_sample
from nanobanana_batch.manifest.form.factors import read_factors
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.form.parent_source import read_parent
from nanobanana_batch.manifest.form.skips import read_skip
from nanobanana_batch.manifest.form.styles import STYLE, read_styles
from nanobanana_batch.manifest.form.table_source import read_table
from nanobanana_batch.manifest.form.template_uses import TemplateUses
from nanobanana_batch.manifest.read.nodes import Map, Scalar, place
from nanobanana_batch.manifest.words.names import (
    BLOCK_KEYS,
    FIELD_SET,
    HOLDS_NO_KEY,
    NO_SETTING,
    ROW_NAMES,
    as_name,
    field_elsewhere,
    is_secret,
)
from nanobanana_batch.manifest.words.template import Template, texts_of
from nanobanana_batch.wording import closest, shown

_PROVIDER = "the provider is chosen when it is run: `--provider`"
_OUTPUT = "the output folder is outputs/<name>, or said when it is run: `--out`"
_SAID_ELSEWHERE = {
    "provider": _PROVIDER,
    "output": _OUTPUT,
    "outputs": _OUTPUT,
    "out": _OUTPUT,
    "output_dir": _OUTPUT,
    "name": "`name` stands at the top only: it names the output folder of all blocks",
}
_SOURCES = ("rows", "table", "images_from", "from")
_NULL = 'null gives nothing, so that the default holds; write "" for an empty text'


class BlockReader:
    """Reads the blocks of one YAML manifest."""

    def __init__(self, root: Map, form: Form) -> None:
        self._root = root
        self._form = form
        self._uses = TemplateUses(form)

    def blocks(self) -> list[Block]:
        """The blocks in order; a manifest without `blocks` is one block."""
        top = dict(self._root.entries)
        top.pop("name", None)
        parts = top.pop("blocks", None)
        self._known_keys(top, (*BLOCK_KEYS, "name", "blocks"))
        blocks = []
        for item in self._form.maps("blocks", parts[1]) if parts else ():
            self._known_keys(item.entries, BLOCK_KEYS)
            blocks.append(self._block(item.pos, [top, item.entries]))
        if parts is None:
            blocks.append(self._block(self._root.pos, [top]))
        self._uses.finish()
        return blocks

    def _known_keys(self, entries: Entries, allowed: tuple[str, ...]) -> None:
        for key, (pos, _) in entries.items():
            if key in allowed:
                continue
            if key in FIELD_SET or key in self._form.extras:
                what = "a request field" if key in FIELD_SET else "a setting of some models"
                self._form.note(pos, f"{key!r} is {what}; it belongs under `defaults`", key)
            else:
                self._unknown_key(key, pos, allowed)

    def _unknown_key(self, key: str, pos: int, allowed: tuple[str, ...]) -> None:
        if is_secret(key):
            self._form.note(pos, HOLDS_NO_KEY, key)
            return
        if key in _SAID_ELSEWHERE:
            self._form.note(pos, f"unknown key {shown(key)}; {_SAID_ELSEWHERE[key]}")
            return
        meant = field_elsewhere(key)
        if meant is not None:
            way = f"the field is `{meant}`, under `defaults`" if meant else NO_SETTING
            self._form.note(pos, f"unknown key {shown(key)}; {way}", key)
            return
        near = closest(key, allowed)
        message = f"unknown key {shown(key)}" + ("" if near else "; variables stand in `defaults` or rows")
        self._form.finding(pos, Finding("", message, allowed, near))

    def _block(self, pos: int, levels: list[Entries]) -> Block:
        for level in levels:
            self._declare(level)
        entries = _effective(levels)
        defaults: dict[str, Given] = {}
        for level in levels:
            defaults.update(self._defaults(level, defaults))
        source, names = self._source(pos, entries, defaults)
        factors = read_factors(self._form, entries)
        styles = read_styles(self._form, entries)
        if styles:
            if any(STYLE in factor.names for factor in factors):
                message = f"`styles` gives {STYLE!r}, and so does a factor; keep one"
                self._form.note(entries["styles"][0], message, "styles")
            factors = (*factors, styles.factor)
        sample = read_sample(self._form, entries)
        if names is None:
            # What a damaged table would give is not known, so nothing is said about what it lacks.
            return Block(source, defaults, factors=factors, row_names=frozenset(ROW_NAMES))
        self._refuse_overlap(
            factors, names, can_rename=not {"table", "images_from", "from"}.isdisjoint(entries)
        )
        fixed = {name for factor in factors for name in factor.names} | set(defaults)
        known = frozenset(name for name in {*names, *fixed} if name not in ROW_NAMES)
        renamed = _renamed(entries)
        for field in ("prompt", "images"):
            for text in texts_of(defaults[field].value) if field in defaults else ():
                self._form.template(text, defaults[field].place, field, known, renamed)
        self._uses.add(entries, defaults, names)
        id_template, id_place = self._id_template(entries, known, renamed)
        exclude = read_excludes(self._form, entries, known)
        include = read_includes(self._form, entries, known, factors, names)
        combined = (factors, exclude, include, sample)
        own = frozenset(names)
        return Block(
            source,
            defaults,
            True,
            *combined,
            id_template,
            id_place,
            known,
            own,
            read_skip(self._form, entries),
            renamed,
            styles.texts if styles else {},
        )

    def _declare(self, level: Entries) -> None:
        for item in self._form.scalars("variables", level):
            name = as_name(item.text or "")
            if name in ROW_NAMES:
                self._form.note(item.pos, f"{name!r} is a field and cannot be a variable", "variables")
            elif name:
                self._form.declared.add(name)

    def _defaults(self, level: Entries, above: Mapping[str, Given]) -> dict[str, Given]:
        found = {}
        under = level.get("defaults")
        entries = dict(self._form.map("defaults", under[1]).entries) if under else {}
        for key in ("prompt", "images", "variants"):
            if key in level and key in entries:
                self._form.note(
                    entries[key][0], f"{key!r} stands here and at the level above; keep one", "defaults"
                )
            if key in level:
                entries[key] = level[key]
        for name, (pos, node) in entries.items():
            if name == "id":
                self._form.note(
                    pos, "an id belongs to one row; for a pattern use `id:` beside `defaults`", "defaults"
                )
            elif self._form.name(name, pos) and self._form.is_value(name, node):
                value = node_value(node)
                if value is not None:
                    found[name] = Given(value, place(self._form.file, node.pos))
                elif name in above:
                    self._form.warn(node.pos, _NULL, name)
        return found

    def _source(
        self, pos: int, entries: Entries, defaults: Mapping[str, Given]
    ) -> tuple[Source, list[str] | None]:
        given = [key for key in _SOURCES if key in entries]
        if len(given) > 1:
            self._form.note(
                entries[given[1]][0], f"`{given[0]}` and `{given[1]}` in one block; use `blocks` for both"
            )
        if "table" in entries or "images_from" in entries:
            return read_table(self._form, entries, defaults)
        if "from" in entries:
            return read_parent(self._form, entries, defaults)
        for key in ("columns", "where", "sheet"):
            if key in entries:
                self._form.note(entries[key][0], f"`{key}` needs a `table`, `images_from` or `from`", key)
        if "rows" not in entries:
            return ListedRows(self._form.file, (Map(pos),)), []
        items = tuple(self._form.maps("rows", entries["rows"][1]))
        names = dict.fromkeys(key for item in items for key in self._row_names(item))
        self._warn_of_nulls(items, defaults)
        return ListedRows(self._form.file, items), list(names)

    def _row_names(self, row: Map) -> Iterator[str]:
        for name, (pos, node) in row.entries.items():
            if self._form.name(name, pos) and (type(node) is Scalar or self._form.is_value(name, node)):
                yield name

    def _warn_of_nulls(self, items: Iterable[Map], defaults: Mapping[str, Given]) -> None:
        """The first null in rows over each default: who means nothing there pays for the default."""
        for name in defaults:
            nodes = (item.get(name) for item in items)
            first = next((node for node in nodes if isinstance(node, Scalar) and node.text is None), None)
            if first is not None:
                self._form.warn(first.pos, _NULL, name)

    def _refuse_overlap(self, factors: tuple[Factor, ...], names: Iterable[str], *, can_rename: bool) -> None:
        both = set(names)
        others = {name: "the matrix" if len(f.names) == 1 else "`zip`" for f in factors for name in f.names}
        for column in (column for factor in factors for column in factor.columns):
            if column.name in both:
                message = f"given by the rows and by {others[column.name]}; keep one"
                if can_rename:
                    message += (
                        f", or rename that of the rows (`columns: {{own_{column.name}: {column.name}}}`)"
                    )
                self._form.log.add(Problem(column.places[0], message, column.name))

    def _id_template(
        self, entries: Entries, known: frozenset[str], renamed: Mapping[str, str]
    ) -> tuple[Template | None, str]:
        if "id" not in entries:
            return None, ""
        node = entries["id"][1]
        if not isinstance(node, Scalar) or not node.text:
            self._form.note(node.pos, 'expected a template such as "{city}-{style}"', "id")
            return None, ""
        at = place(self._form.file, node.pos)
        return self._form.template(node.text, at, "id", known, renamed), at


def _renamed(entries: Entries) -> dict[str, str]:
    node = entries["columns"][1] if "columns" in entries else None
    pairs = node.entries.items() if isinstance(node, Map) else ()
    return {as_name(item.text or ""): ours for ours, (_, item) in pairs if isinstance(item, Scalar)}


def _effective(levels: list[Entries]) -> Entries:
    top, own = levels[0], levels[-1]
    if top is own:
        return top
    entries = dict(top)
    if any(key in own for key in _SOURCES):
        for key in (*_SOURCES, *(() if "rows" not in own else ("columns", "where"))):
            entries.pop(key, None)
    return {**entries, **own}
