"""What a manifest draws in from other files: the columns of a table, the lines of a list."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.catalog import Finding, closest, shown
from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.names import name_fault
from nanobanana_batch.manifest.nodes import Scalar

MAX_LIST_BYTES = 16 * 1024 * 1024


def table_columns(
    header: list[str], mapping: Mapping[str, Scalar], declared: Collection[str]
) -> tuple[dict[str, int], list[tuple[Finding, int]]]:
    """Our names with the columns that give them, in header order; what is wrong, each with a place or 0."""
    findings: list[tuple[Finding, int]] = []
    pairs: list[tuple[int, str]] = []
    mapped: set[str] = set()
    for name, item in mapping.items():
        column = item.text or ""
        mapped.add(column)
        if column in header:
            pairs.append((header.index(column), name))
        else:
            finding = Finding("columns", f"no column {shown(column)}", tuple(header), closest(column, header))
            findings.append((finding, item.pos))
    for index, name in enumerate(header):
        if name in mapped:
            continue
        if name in mapping:
            message = f"{name!r} is a column of the table, and another is mapped to this name; map it too"
            findings.append((Finding("columns", message), mapping[name].pos))
        fault = name_fault(name, declared)
        if fault:
            findings.append((fault, 0))
        else:
            pairs.append((index, name))
    return {name: index for index, name in sorted(pairs, key=lambda pair: pair[0])}, findings


@dataclass(frozen=True, slots=True)
class ValueFile:
    """A list of values, one a line; empty lines and lines that begin with # are left out."""

    path: Path
    file: str

    def read(self) -> tuple[list[tuple[str, str]], list[Problem]]:
        """The values with their places."""
        try:
            with self.path.open("rb") as stream:
                data = stream.read(MAX_LIST_BYTES + 1)
        except OSError as error:
            return [], [Problem(self.file, f"cannot be read: {error.strerror or error}")]
        if len(data) > MAX_LIST_BYTES:
            return [], [Problem(self.file, f"larger than {MAX_LIST_BYTES >> 20} MiB")]
        try:
            lines = data.decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            return [], [Problem(f"{self.file}:{line}", "not UTF-8 text; save the file as UTF-8")]
        return self._values(lines)

    def _values(self, lines: list[str]) -> tuple[list[tuple[str, str]], list[Problem]]:
        found: dict[str, str] = {}
        problems = []
        for number, line in enumerate(lines, 1):
            text, source = line.strip(), f"{self.file}:{number}"
            if not text or text.startswith("#"):
                continue
            if text in found:
                problems.append(Problem(source, f"{shown(text)} stands here twice (first at {found[text]})"))
            elif not text.isprintable() and any(ord(c) < 32 for c in text):
                problems.append(Problem(source, "a control character is not allowed"))
            else:
                found[text] = source
        if not found and not problems:
            problems.append(Problem(self.file, "the list is empty"))
        return list(found.items()), problems
