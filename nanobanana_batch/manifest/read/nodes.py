"""What a YAML document is made of, and where in it something stands: `blocks[1].matrix.style[0]`.

Nodes only know their line and column; paths are found by one walk, and only when something is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from nanobanana_batch.errors import Problem

_PLAIN_KEY = re.compile(r"[^\W\d][\w-]*|<<")
Steps = tuple[str | int, ...]
"""Keys and positions, from the top."""


@dataclass(slots=True)
class Scalar:
    """Text as it was written; `None` when nothing was given (empty, ~ or null)."""

    pos: int
    text: str | None
    plain: bool = False


@dataclass(slots=True)
class Seq:
    """A list."""

    pos: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Map:
    """Keys with their places and values, in order."""

    pos: int
    entries: dict[str, tuple[int, Node]] = field(default_factory=dict)

    def get(self, key: str) -> Node | None:
        """The value under this key."""
        entry = self.entries.get(key)
        return entry[1] if entry else None


Node = Scalar | Seq | Map


def place(file: str, pos: int) -> str:
    """A packed position as `file:line:column`."""
    return f"{file}:{pos >> 24}:{pos & 0xFFFFFF}"


def path_text(steps: Iterable[str | int]) -> str:
    """Keys and positions, from the top, as a person would write them: `blocks[1].matrix.style[0]`."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if _PLAIN_KEY.fullmatch(step) else json.dumps(step, ensure_ascii=False)
            text += f".{name}" if text else name
    return text


def find_paths(root: Map, file: str, problems: Sequence[Problem]) -> list[str]:
    """For each problem the path of the key or value at whose place it was found, or nothing.

    A problem of a whole row (`file:line`) has one where no other row begins in that line.
    """
    wanted = {problem.source for problem in problems}
    found: dict[str, list[Steps]] = {}
    for pos, steps in _walk(root, ()):
        at = place(file, pos)
        if at in wanted:
            found.setdefault(at, []).append(steps)
        line = at.rpartition(":")[0]
        if line in wanted and _is_row(steps):
            found.setdefault(line, []).append(steps)
    return [_chosen(found.get(problem.source, []), problem) for problem in problems]


def _chosen(candidates: list[Steps], problem: Problem) -> str:
    """A mapping and its first key begin at one place; what the problem is called tells them apart."""
    rows = [steps for steps in candidates if _is_row(steps)]
    if not candidates or len(rows) > 1:
        return ""
    named = [steps for steps in candidates if steps[-1] == problem.field]
    return path_text((named or candidates)[0])


def _is_row(steps: Steps) -> bool:
    return len(steps) > 1 and steps[-2] == "rows" and isinstance(steps[-1], int)


def _walk(node: Node, steps: Steps) -> Iterator[tuple[int, Steps]]:
    """Every position in the order of the document; what an alias or a merge repeats is left out."""
    if isinstance(node, Map):
        for key, (pos, value) in node.entries.items():
            if pos >= node.pos:
                yield pos, (*steps, key)
                yield from _inside(value, pos, (*steps, key))
    elif isinstance(node, Seq):
        for index, item in enumerate(node.items):
            yield from _inside(item, node.pos, (*steps, index))


def _inside(node: Node, after: int, steps: Steps) -> Iterator[tuple[int, Steps]]:
    if node.pos > after:
        yield node.pos, steps
        yield from _walk(node, steps)
