"""From YAML nodes to blocks: all that can be wrong with the form of a manifest is found, at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from nanobanana_batch.catalog import Finding, closest, shown
from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.block import Block, Factor, Given, ListedRows, Source, TableRows, node_value
from nanobanana_batch.manifest.expand import unknown_name
from nanobanana_batch.manifest.forms import Entries, Form
from nanobanana_batch.manifest.matrix import read_factors
from nanobanana_batch.manifest.names import FIELD_SET, HOLDS_NO_KEY, ROW_NAMES, is_secret
from nanobanana_batch.manifest.nodes import Map, Scalar, place
from nanobanana_batch.manifest.sources import table_columns
from nanobanana_batch.manifest.tables import ENDINGS, Table
from nanobanana_batch.manifest.template import Template, TemplateFault

BLOCK_KEYS = (
    "defaults",
    "prompt",
    "variants",
    "variables",
    "rows",
    "table",
    "columns",
    "where",
    "matrix",
    "exclude",
    "id",
)
LATER_KEYS = ("from", "include", "zip", "sample")
_SOURCES = ("rows", "table", "from")


class BlockReader:
    """Reads the blocks of one YAML manifest."""

    def __init__(self, root: Map, form: Form) -> None:
        self._root = root
        self._form = form

    def blocks(self) -> list[Block]:
        """The blocks in order; a manifest without `blocks` is one block."""
        top = dict(self._root.entries)
        top.pop("name", None)
        parts = top.pop("blocks", None)
        self._known_keys(top, (*BLOCK_KEYS, "name", "blocks"))
        if parts is None:
            return [self._block(self._root.pos, [top])]
        blocks = []
        for item in self._form.maps("blocks", parts[1]):
            self._known_keys(item.entries, BLOCK_KEYS)
            blocks.append(self._block(item.pos, [top, item.entries]))
        return blocks

    def _known_keys(self, entries: Entries, allowed: tuple[str, ...]) -> None:
        for key, (pos, _) in entries.items():
            if key in LATER_KEYS:
                self._form.note(pos, "not supported yet", key)
            elif key in allowed:
                continue
            elif key in FIELD_SET:
                self._form.note(pos, f"{key!r} is a request field; it belongs under `defaults`", key)
            else:
                self._unknown_key(key, pos, allowed)

    def _unknown_key(self, key: str, pos: int, allowed: tuple[str, ...]) -> None:
        if is_secret(key):
            self._form.note(pos, HOLDS_NO_KEY, key)
            return
        self._form.finding(pos, Finding("", f"unknown key {shown(key)}", allowed, closest(key, allowed)))

    def _block(self, pos: int, levels: list[Entries]) -> Block:
        for level in levels:
            self._declare(level)
        entries = _effective(levels)
        defaults = {name: given for level in levels for name, given in self._defaults(level)}
        source, names = self._source(pos, entries, defaults)
        factors = tuple(read_factors(self._form, entries))
        if names is None:
            # What a damaged table would give is not known, so nothing is said about what it lacks.
            return Block(source, defaults, factors=factors, row_names=frozenset(ROW_NAMES))
        self._refuse_overlap(factors, names)
        fixed = {factor.name for factor in factors} | set(defaults)
        known = frozenset(name for name in {*names, *fixed} if name not in ROW_NAMES)
        if "prompt" in defaults:
            self._check_template(str(defaults["prompt"].value), defaults["prompt"].place, "prompt", known)
        id_template, id_place = self._id_template(entries, known)
        exclude = tuple(self._matches("exclude", entries, known))
        return Block(source, defaults, True, factors, exclude, id_template, id_place, known, frozenset(names))

    def _declare(self, level: Entries) -> None:
        for item in self._form.scalars("variables", level):
            if item.text in ROW_NAMES:
                self._form.note(item.pos, f"{item.text!r} is a field and cannot be a variable", "variables")
            elif item.text:
                self._form.declared.add(item.text)

    def _defaults(self, level: Entries) -> Iterator[tuple[str, Given]]:
        under = level.get("defaults")
        entries = dict(self._form.map("defaults", under[1]).entries) if under else {}
        for key in ("prompt", "variants"):
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
                    yield name, Given(value, place(self._form.file, node.pos))

    def _source(
        self, pos: int, entries: Entries, defaults: Mapping[str, Given]
    ) -> tuple[Source, list[str] | None]:
        given = [key for key in _SOURCES if key in entries]
        if len(given) > 1:
            self._form.note(
                entries[given[1]][0], f"`{given[0]}` and `{given[1]}` in one block; use `blocks` for both"
            )
        if "table" in entries:
            return self._table(entries, defaults)
        for key in ("columns", "where"):
            if key in entries and "from" not in entries:
                self._form.note(entries[key][0], f"`{key}` needs a `table`", key)
        if "rows" not in entries:
            return ListedRows(self._form.file, (Map(pos),)), []
        items = tuple(self._form.maps("rows", entries["rows"][1]))
        names = dict.fromkeys(key for item in items for key in self._row_names(item))
        return ListedRows(self._form.file, items), list(names)

    def _row_names(self, row: Map) -> Iterator[str]:
        for name, (pos, node) in row.entries.items():
            if self._form.name(name, pos) and (type(node) is Scalar or self._form.is_value(name, node)):
                yield name

    def _table(self, entries: Entries, defaults: Mapping[str, Given]) -> tuple[Source, list[str] | None]:
        pos, node = entries["table"]
        empty = ListedRows(self._form.file, ())
        file = node.text if isinstance(node, Scalar) else None
        if not file or "\0" in file:
            self._form.note(pos, "expected the path of a CSV or TSV file", "table")
            return empty, None
        if not file.lower().endswith(ENDINGS):
            message = f"{shown(file)} is no table that is supported yet; they end in {' '.join(ENDINGS)}"
            self._form.note(node.pos, message, "table")
            return empty, None
        table = Table(self._form.folder / file, file)
        header, problems = table.header()
        self._form.log.extend(problems)
        mapping = {
            name: item
            for name, item in self._form.texts("columns", entries).items()
            if self._form.sound_name(name, item.pos)
        }
        if problems:
            return empty, None
        columns, findings = table_columns(header, mapping, self._form.declared)
        for finding, at in findings:
            self._form.finding(at or node.pos, finding)
        for index, name in enumerate(columns):
            self._form.name(name, node.pos, index)
        if "prompt" in columns and "prompt" in defaults:
            message = "the table gives prompts, and so does a template; map the column to another name:"
            example = '`columns: {text: prompt}` with `prompt: "{text}, in ink"`'
            self._form.note(pos, f"{message} {example}", "prompt")
        where = self._where(entries, header, columns)
        return TableRows(table, tuple(header), tuple(columns.items()), where), list(columns)

    def _where(
        self, entries: Entries, header: list[str], columns: Mapping[str, int]
    ) -> tuple[tuple[int, str], ...]:
        places = {**{name: index for index, name in enumerate(header)}, **columns}
        found = []
        for name, item in self._form.texts("where", entries).items():
            if name in places:
                found.append((places[name], item.text or ""))
            else:
                finding = Finding("where", f"no column {shown(name)}", tuple(places), closest(name, places))
                self._form.finding(item.pos, finding)
        return tuple(found)

    def _refuse_overlap(self, factors: tuple[Factor, ...], names: Iterable[str]) -> None:
        both = set(names)
        for factor in factors:
            if factor.name in both:
                message = "given by the rows and by the matrix; keep one"
                self._form.log.add(Problem(factor.places[0], message, factor.name))

    def _check_template(self, text: str, at: str, field: str, known: frozenset[str]) -> Template | None:
        try:
            template = Template(text)
        except TemplateFault as error:
            self._form.log.add(Problem(at, str(error), field))
            return None
        for name in template.names:
            fault = unknown_name(name, known, field)
            if fault:
                self._form.log.add(Problem(at, fault.message, field, fault.allowed, fault.suggestion))
        return template

    def _id_template(self, entries: Entries, known: frozenset[str]) -> tuple[Template | None, str]:
        if "id" not in entries:
            return None, ""
        node = entries["id"][1]
        if not isinstance(node, Scalar) or not node.text:
            self._form.note(node.pos, 'expected a template such as "{city}-{style}"', "id")
            return None, ""
        at = place(self._form.file, node.pos)
        return self._check_template(node.text, at, "id", known), at

    def _matches(self, key: str, entries: Entries, known: frozenset[str]) -> Iterator[dict[str, str]]:
        if key not in entries:
            return
        allowed = (*sorted(known), *ROW_NAMES)
        for item in self._form.maps(key, entries[key][1]):
            match: dict[str, str] = {}
            for name, (pos, node) in item.entries.items():
                if name not in allowed:
                    finding = Finding(key, f"no row has {shown(name)}", suggestion=closest(name, allowed))
                    self._form.finding(pos, finding)
                elif isinstance(node, Scalar) and node.text is not None:
                    match[name] = node.text
                else:
                    self._form.note(node.pos, "expected a text", key)
            if match:
                yield match
            elif not item.entries:
                self._form.note(item.pos, "an empty entry would take out every row", key)


def _effective(levels: list[Entries]) -> Entries:
    top, own = levels[0], levels[-1]
    if top is own:
        return top
    entries = dict(top)
    if any(key in own for key in _SOURCES):
        for key in (*_SOURCES, *(() if "table" in own else ("columns", "where"))):
            entries.pop(key, None)
    return {**entries, **own}
