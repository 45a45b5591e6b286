"""Rows of a table that differ from one that was found sound in their prompts, ids and variables only.

Nearly all rows of a large table are such, and nothing has to be found out about them. Whatever is not beyond
doubt at sight is left to `expand`, which alone says what is wrong with a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import cast

from nanobanana_batch.catalog import PROMPT_LIMIT, PromptFault, prompt_fault
from nanobanana_batch.file_names import is_plain_id
from nanobanana_batch.manifest.combine.grid import Grid
from nanobanana_batch.manifest.form.table_source import TableRows
from nanobanana_batch.manifest.read.delimited import TextTable
from nanobanana_batch.manifest.read.lines import TextLines
from nanobanana_batch.manifest.rows.settle import Settler
from nanobanana_batch.manifest.words.names import SETTINGS
from nanobanana_batch.manifest.words.template import Value
from nanobanana_batch.model import Around, PlainDraft, around

_KNOWN = 10_000
_MAY_BE = frozenset({"prompt", "id", *SETTINGS})
_NO_COLUMN = -1


class PlainRows:
    """Those of one block."""

    def __init__(self, source: TableRows, defaults: Mapping[str, Value], settler: Settler) -> None:
        columns = dict(source.columns)
        self._settler = settler
        self._defaults = defaults
        self._prompt = columns["prompt"]
        self._id = columns.get("id", _NO_COLUMN)
        self._names = [name for name in SETTINGS if name in columns]
        self._settings = _getter([columns[name] for name in self._names])
        self._variables: list[tuple[str, int]] = []
        self._known: dict[tuple[str, ...], Around | None] = {}
        self._may_be_lists = not isinstance(source.table, TextTable | TextLines)

    def carrying(self, variables: Sequence[str], columns: Mapping[str, int]) -> PlainRows:
        """With these variables, as far as there are columns for them."""
        self._variables = [(name, columns[name]) for name in variables if name in columns]
        return self

    def draft(self, source: str, found: Sequence[Value]) -> PlainDraft | None:
        """The row, if it is such a one."""
        if self._may_be_lists and not all(isinstance(cell, str) for cell in found):
            return None
        cells = cast(Sequence[str], found)
        prompt, id_ = cells[self._prompt], cells[self._id] if self._id >= 0 else ""
        if not _is_plain(prompt) or (id_ and not is_plain_id(id_)):
            return None
        settings = self._settings(cells)
        known = self._known[settings] if settings in self._known else self._learnt(settings)
        if known is None:
            return None
        variables = [(name, c) for name, at in self._variables if (c := cells[at]) and not c.isspace()]
        return PlainDraft(source, known, prompt, id_ or None, tuple(variables))

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


def _is_plain(prompt: str) -> bool:
    """Whether nothing is wrong with a prompt, and nothing in it that others fill in."""
    is_seen = " " < prompt[:1] < "\x7f" and len(prompt) <= PROMPT_LIMIT
    if not is_seen and prompt_fault(prompt) is not PromptFault.NONE:
        return False
    return "{" not in prompt and "__" not in prompt


def _getter(indexes: Sequence[int]) -> Callable[[Sequence[str]], tuple[str, ...]]:
    """The cells in these columns."""
    if not indexes:
        return lambda cells: ()
    if len(indexes) == 1:
        (only,) = indexes
        return lambda cells: (cells[only],)
    return itemgetter(*indexes)
