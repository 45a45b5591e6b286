"""A text file with one prompt a line: the simplest table that people have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.read.encoding import Unusable, sound_lines
from nanobanana_batch.manifest.read.table import Header, most_lines, opened
from nanobanana_batch.manifest.words.names import field_written_otherwise
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import counted

_COLUMN = "prompt"
_JSON = re.compile(r"""\[\s*(["{].*)?$|\{\s*(".*)?$""")


class TextLines:
    """Each line is a prompt, without the blanks around it; empty ones and `#` lines are left out."""

    def __init__(self, path: Path, file: str) -> None:
        self.file = file
        self.row_prefix = f"{file}:"
        self._path = path
        self._of_lines = Remarks()
        self._first = ""

    def header(self) -> Header:
        """One column."""
        return Header((_COLUMN,), (self.file,))

    def rows(
        self, names: Sequence[str], log: ProblemLog, inner: Sequence[str] = ()
    ) -> Iterator[tuple[int, list[str]]]:
        """Each line that is a prompt."""
        self._of_lines, self._first = Remarks(), ""
        try:
            with opened(self._path) as stream:
                for number, line in sound_lines(stream, self.file, log.add):
                    if text := self._of_lines.bare(line):
                        self._first = self._first or text
                        yield number, [text]
        except Unusable as error:
            log.add(Problem(self.file, str(error)))
        except OSError as error:
            log.add(Problem(self.file, f"cannot be read: {error.strerror or error}"))

    def most_rows(self) -> int | None:
        """A number that they do not exceed, found faster than by reading them; None: it cannot be read."""
        return most_lines(self._path)

    def notes(self) -> Iterator[str]:
        """What was left out of lines, and whether they are probably something else."""
        if _JSON.match(self._first):
            message = "the lines seem to be JSON, and each is a prompt here"
            yield str(Problem(self.file, f"{message}; `--format json` (or jsonl) reads what is in them"))
        if _names_columns(self._first):
            message = "the first line seems to name columns, and is a prompt here, as every line is"
            yield str(Problem(self.file, f"{message}; `--format csv` (or tsv) reads it as a table"))
        if said := str(self._of_lines):
            yield str(Problem(self.file, said))


class Remarks:
    """What is left out of lines that people write by hand."""

    def __init__(self) -> None:
        self._comments = 0
        self._trimmed = 0

    def bare(self, line: str) -> str:
        """The text of a line; nothing where it is empty or a comment."""
        text = line.strip()
        if text.startswith("#"):
            self._comments += 1
            return ""
        self._trimmed += text != line.rstrip("\r\n") and bool(text)
        return text

    def __str__(self) -> str:
        said = []
        if self._comments:
            said.append(f"{counted(self._comments, 'line')} that begin{'s' * (self._comments == 1)} with #")
        if self._trimmed:
            said.append(f"blanks around {counted(self._trimmed, 'line')}")
        return f"left out: {', '.join(said)}" if said else ""


def _names_columns(line: str) -> bool:
    cells = [cell.strip().strip('"') for cell in re.split("[,;\t]", line)]
    return len(cells) > 1 and any(field_written_otherwise(cell) for cell in cells)
