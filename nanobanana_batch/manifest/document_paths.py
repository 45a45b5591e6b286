"""Where something stands inside of a YAML document, as a person would say it: `blocks[1].matrix.style[0]`.

Nodes only know their line and column; paths are found by one walk, and only when something is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.nodes import Map, Node, Seq, path_text, place

Steps = tuple[str | int, ...]
"""Keys and positions, from the top."""


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
