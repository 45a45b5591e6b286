"""Rows of a table that differ from one that was found sound in their prompts, ids and variables only.

Nearly all rows of a large table are such, and nothing has to be found out about them. Whatever is not beyond
doubt at sight is left to `expand`, which alone says what is wrong with a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import cast

from nanobanana_batch.catalog import PROMPT_LIMIT, PromptFault, prompt_fault
from nanobanana_batch.file_names import are_plain_ids
from nanobanana_batch.manifest.combine.grid import Grid
from nanobanana_batch.manifest.form.table_source import TableRows
from nanobanana_batch.manifest.read.delimited import TextTable
from nanobanana_batch.manifest.read.lines import TextLines
from nanobanana_batch.manifest.rows.settle import Settler
from nanobanana_batch.manifest.words.names import SETTINGS
from nanobanana_batch.manifest.words.template import Value
from nanobanana_batch.model import Around, PlainDrafts, around, variables_as_json

_KNOWN = 10_000
_MAY_BE = frozenset({"prompt", "id", *SETTINGS})
_NO_COLUMN = -1

Odd = tuple[str, Sequence[Value]]
"""The place and the cells of a row."""


class PlainRows:
    """Those of one block."""

    def __init__(self, source: TableRows, defaults: Mapping[str, Value], settler: Settler) -> None:
        columns = dict(source.columns)
        self._settler = settler
        self._defaults = defaults
        self._prompt = columns["prompt"]
        self._id = columns.get("id", _NO_COLUMN)
        self._names = [name for name in SETTINGS if name in columns]
        self._settings = [columns[name] for name in self._names]
        self._variables: list[tuple[str, int]] = []
        self._known: dict[tuple[str, ...], Around | None] = {}
        self._may_be_lists = not isinstance(source.table, TextTable | TextLines)

    def carrying(self, variables: Sequence[str], columns: Mapping[str, int]) -> PlainRows:
        """With these variables, as far as there are columns for them."""
        self._variables = [(name, columns[name]) for name in variables if name in columns]
        marked = variables_as_json(tuple((name, "") for name, _ in self._variables)).replace("%", "%%")
        self._pairs = marked.replace('": ""', '": %s')
        return self

    def drafts(self, found: Sequence[Odd]) -> PlainDrafts | None:
        """The rows at these places, at least one, if all are such ones."""
        sources, rows = zip(*found, strict=True)
        if self._may_be_lists and not all(isinstance(cell, str) for row in rows for cell in row):
            return None
        columns = cast(Sequence[Sequence[str]], tuple(zip(*rows, strict=True)))
        prompts, ids = columns[self._prompt], columns[self._id] if self._id >= 0 else ("",) * len(found)
        if not _are_plain(prompts) or not are_plain_ids(filter(None, ids)):
            return None
        around = self._around(columns, len(found))
        if around is None:
            return None
        named = ids if all(ids) else [id_ or None for id_ in ids]
        return PlainDrafts(sources, around, prompts, named, self._written_variables(columns, len(found)))

    def parts(self, found: Sequence[Odd]) -> Iterator[PlainDrafts | Odd]:
        """Halved until what is no plain row stands alone."""
        if not found:
            return
        drafts = self.drafts(found)
        if drafts is not None:
            yield drafts
        elif len(found) == 1:
            yield found[0]
        else:
            middle = len(found) // 2
            yield from self.parts(found[:middle])
            yield from self.parts(found[middle:])

    def _around(self, columns: Sequence[Sequence[str]], rows: int) -> Sequence[Around] | None:
        if not self._settings:
            settings: Sequence[tuple[str, ...]] = [()] * rows
        else:
            settings = list(zip(*(columns[at] for at in self._settings), strict=True))
        known: dict[tuple[str, ...], Around] = {}
        for each in dict.fromkeys(settings):
            found = self._known[each] if each in self._known else self._learnt(each)
            if found is None:
                return None
            known[each] = found
        return [known[each] for each in settings]

    def _written_variables(self, columns: Sequence[Sequence[str]], rows: int) -> list[str]:
        if not self._variables:
            return ["{}"] * rows
        cells = [columns[at] for _, at in self._variables]
        if all(map(_are_given, cells)):
            written = (map(encode_basestring, column) for column in cells)
            return [self._pairs % texts for texts in zip(*written, strict=True)]
        names = [name for name, _ in self._variables]
        return [
            variables_as_json(
                tuple([(n, text) for n, text in zip(names, row, strict=True) if text and not text.isspace()])
            )
            for row in zip(*cells, strict=True)
        ]

    def _learnt(self, settings: tuple[str, ...]) -> Around | None:
        given = {n: c for n, c in zip(self._names, settings, strict=True) if c and not c.isspace()}
        request, findings = self._settler.settle({**self._defaults, **given}, "a prompt")
        if len(self._known) >= _KNOWN:
            self._known.clear()
        found = self._known[settings] = None if findings else around(request)
        return found


def plain_rows(grid: Grid, variables: Sequence[str], settler: Settler) -> PlainRows | None:
    """What tells them in a block; None where each row has to be looked at."""
    block, source = grid.block, grid.block.source
    if not isinstance(source, TableRows) or not grid.is_plain or block.templated or source.inner:
        return None
    if block.id_template or block.skip or block.styles or not block.defaults.keys() <= set(SETTINGS):
        return None
    columns = dict(source.columns)
    fields = columns.keys() - set(variables)
    if "prompt" not in columns or not fields <= _MAY_BE or settler.has_own(columns):
        return None
    defaults = {name: given.value for name, given in block.defaults.items()}
    return PlainRows(source, defaults, settler).carrying(variables, columns)


def _are_plain(prompts: Sequence[str]) -> bool:
    """Whether nothing is wrong with any of them, and nothing in them that others fill in."""
    # First and last in order, they say how all of them begin: with what is seen.
    are_seen = min(prompts)[:1] > " " and max(prompts)[:1] < "\x7f"
    are_seen = are_seen and max(map(len, prompts)) <= PROMPT_LIMIT
    if not are_seen and any(prompt_fault(prompt) is not PromptFault.NONE for prompt in prompts):
        return False
    together = "\n".join(prompts)
    return "{" not in together and "__" not in together


def _are_given(cells: Sequence[str]) -> bool:
    """Whether no cell is empty, or as good as."""
    return all(cells) and not any(map(str.isspace, cells))
