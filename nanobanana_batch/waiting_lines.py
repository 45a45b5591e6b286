"""Lines of results.csv of rows for which nothing was sent, which most rows of a large manifest may be.

They differ in their id, prompt, variables and key only. What is written around these texts is made once for
many rows, by who writes any row; a row that is not beyond doubt such a one is left to him.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from nanobanana_batch.model import prompt_first
from nanobanana_batch.state.reports import RowReport, Waiting

_MARK = "\ue000"
"""Stands where a text belongs; of no use to people, so that hardly anything else has it."""
_PLACE = re.compile(f"{_MARK}([0-9]+){_MARK}")
_KEPT = 1000


class WaitingLines:
    """Those of one state; `written` is the line of any row."""

    def __init__(self, variables: Sequence[str], written: Callable[[RowReport], str]) -> None:
        self._variables = variables
        self._written = written
        self._frames: dict[tuple[str, int], str | None] = {}

    def line(self, row: Waiting) -> str:
        """The line of a row.

        Raises:
            StateFailed: the row is damaged.
        """
        try:
            found = self._framed(row)
        except (ValueError, TypeError, AttributeError, RecursionError):  # damaged: `report` tells that
            found = None
        return self._written(row.report()) if found is None else found

    def _framed(self, row: Waiting) -> str | None:
        prompt, behind = prompt_first(row.request)
        given = json.loads(row.variables)
        texts = (row.id, prompt, *[given.get(name, "") for name in self._variables], row.row_key)
        together = "".join(texts)
        if "\r" in together:
            return None
        if "," in together or '"' in together or "\n" in together:
            texts = tuple(map(_quoted, texts))
        kind = behind, row.variant
        frame = self._frames[kind] if kind in self._frames else self._frame(kind, row)
        return None if frame is None else frame % texts

    def _frame(self, kind: tuple[str, int], row: Waiting) -> str | None:
        places = [f"{_MARK}{number}{_MARK}" for number in range(len(self._variables) + 3)]
        id_, prompt, *texts, key = places
        report = row._replace(request=f'{{"prompt": "{prompt}"{kind[0]}').report()
        variables = dict(zip(self._variables, texts, strict=True))
        line = self._written(replace(report, id=id_, variables=variables, row_key=key))
        if len(self._frames) >= _KEPT:
            self._frames.clear()
        # A carriage return has all cells of its row quoted; a mark may be missing, or be somebody else's.
        is_sure = "\r" not in line and _PLACE.findall(line) == [str(n) for n in range(len(places))]
        self._frames[kind] = _PLACE.sub("%s", line.replace("%", "%%")) if is_sure else None
        return self._frames[kind]


def _quoted(text: str) -> str:
    """As `csv.writer` writes a cell in which no carriage return is."""
    if '"' in text:
        text = text.replace('"', '""')
        return f'"{text}"'
    return f'"{text}"' if "," in text or "\n" in text else text
