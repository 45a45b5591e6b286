"""What a manifest draws in from other files: the columns of a table, the lines of a list."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.catalog import Finding
from nanobanana_batch.errors import Problem
from nanobanana_batch.files.plain import reading
from nanobanana_batch.manifest.encoding import sound_lines
from nanobanana_batch.manifest.names import IN_A_MAPPED_TABLE, as_name, name_fault
from nanobanana_batch.manifest.nodes import Scalar
from nanobanana_batch.wording import closest, shown

MAX_LIST_BYTES = 16 * 1024 * 1024


def table_columns(
    header: Sequence[str],
    mapping: Mapping[str, Scalar],
    declared: Collection[str],
    others: Collection[int] = (),
    if_meant: str = IN_A_MAPPED_TABLE,
) -> tuple[dict[str, int], list[tuple[Finding, Scalar | int]]]:
    """Our names with the columns that give them, in header order; `others` are columns that give nothing.

    And what is wrong: each finding with the entry of the mapping, or the column, that it is about.
    """
    findings: list[tuple[Finding, Scalar | int]] = []
    places = {name: index for index, name in enumerate(header) if index not in others}
    pairs: list[tuple[int, str]] = []
    for name, item in mapping.items():
        column = as_name(item.text or "")
        if column in places:
            pairs.append((places[column], name))
        else:
            finding = Finding("columns", f"no column {shown(column)}", tuple(header), closest(column, header))
            findings.append((finding, item))
    mapped = {as_name(item.text or "") for item in mapping.values()}
    for index, name in enumerate(header):
        if name in mapped or index in others:
            continue
        if name in mapping:
            message = f"{name!r} is a column of the table, and another is mapped to this name; map it too"
            findings.append((Finding("columns", message), mapping[name]))
        fault = name_fault(name, declared, if_meant)
        if fault:
            findings.append((fault, index))
        else:
            pairs.append((index, name))
    return {name: index for index, name in sorted(pairs, key=lambda pair: pair[0])}, findings


@dataclass(frozen=True, slots=True)
class ValueFile:
    """A list of values, one a line; empty lines and lines that begin with # are left out."""

    path: Path
    file: str

    def read(self, *, may_repeat: bool = False) -> tuple[list[tuple[str, str]], list[Problem]]:
        """The values with their places."""
        try:
            with reading(self.path) as stream:
                data = stream.read(MAX_LIST_BYTES + 1)
        except OSError as error:
            return [], [Problem(self.file, f"cannot be read: {error.strerror or error}")]
        if len(data) > MAX_LIST_BYTES:
            return [], [Problem(self.file, f"larger than {MAX_LIST_BYTES >> 20} MiB")]
        return self._values(data, may_repeat)

    def _values(self, data: bytes, may_repeat: bool) -> tuple[list[tuple[str, str]], list[Problem]]:
        found: list[tuple[str, str]] = []
        first: dict[str, str] = {}
        problems: list[Problem] = []
        for number, line in sound_lines(io.BytesIO(data), self.file, problems.append):
            text, source = line.strip(), f"{self.file}:{number}"
            if not text or text.startswith("#"):
                continue
            if text in first and not may_repeat:
                problems.append(Problem(source, f"{shown(text)} stands here twice (first at {first[text]})"))
            elif not text.isprintable() and any(ord(c) < 32 for c in text):
                problems.append(Problem(source, "a control character is not allowed"))
            else:
                first.setdefault(text, source)
                found.append((text, source))
        if not found and not problems:
            problems.append(Problem(self.file, "the list is empty"))
        return found, problems
