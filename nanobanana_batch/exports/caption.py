"""The text that a trainer learns for a picture: its prompt, a column, or a template of columns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import Formatter

from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.columns import Column
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.wording import closest, shown

_SPACE = re.compile(r"\s+")


class Caption:
    """`--caption`: the name of a column, or a text with `{column}` in it; without it the prompt.

    A trigger word is a template: `--caption 'sks style, {prompt}'`.

    Raises:
        UsageError: it names a column that there is not.
    """

    def __init__(self, text: str | None, columns: Iterable[Column]) -> None:
        self._columns = {column.name: column for column in columns}
        self._parts = [("", "prompt")] if text is None else self._read(text)

    def of(self, sample: Sample) -> str:
        """That of one sample, as it stands."""
        return "".join(before + (self._value(name, sample) if name else "") for before, name in self._parts)

    def on_one_line(self, sample: Sample) -> str:
        """That of one sample for trainers that read one line: whatever breaks lines becomes a space."""
        return _SPACE.sub(" ", self.of(sample)).strip()

    def _read(self, text: str) -> list[tuple[str, str]]:
        if text in self._columns:
            return [("", text)]
        try:
            parts = [(before, name or "", how, spec) for before, name, how, spec in Formatter().parse(text)]
        except ValueError as error:
            raise _no_caption(text, f"{error}; a brace that is meant is written twice") from error
        for _, name, how, spec in parts:
            if how or spec or (name and name not in self._columns):
                near = closest(name, self._columns)
                raise _no_caption(text, f"there is no column {shown(name)}", near or "")
        if not any(name for _, name, _, _ in parts):
            near = closest(text, self._columns)
            raise _no_caption(text, "it names no column, so all would have the same", near or "")
        return [(before, name) for before, name, _, _ in parts]

    def _value(self, name: str, sample: Sample) -> str:
        value = sample.prompt if name == "prompt" else self._columns[name].of(sample)
        return "" if value is None else str(value)


def _no_caption(text: str, why: str, near: str = "") -> UsageError:
    return UsageError(
        f"--caption {shown(text)}: {why}.",
        hint=f"Did you mean {near}?" if near else "For example --caption 'sks style, {prompt}'.",
    )
