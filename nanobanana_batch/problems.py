"""Everything wrong with a manifest is collected before anything is said, and the same mistake is told once.

Memory stays bounded however often a mistake was made, and the counts exact.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from nanobanana_batch.errors import ManifestError, Problem
from nanobanana_batch.wording import and_more, counted

_PLACES_NAMED = 200
_KINDS_SHOWN = 50
_KINDS_KEPT = 1000
_PROBLEMS_KEPT = 1000
_SEEN_REMEMBERED = 10_000
_PROBLEMS_HELD = 10_000


class Places:
    """Where the same mistake was made; neighbouring lines are one range, so that memory stays small."""

    def __init__(self, most: int = _PLACES_NAMED) -> None:
        self.total = 0
        self._most = most
        self._unnamed = 0
        self._runs: list[list[Any]] = []  # head, first and last line, column

    def add(self, source: str) -> None:
        """Take the place of one problem."""
        self.total += 1
        head, line, column = _parted(source)
        last = self._runs[-1] if self._runs else None
        if last and line and not column and last[0] == head and last[2] + 1 == line and not last[3]:
            last[2] = line
        elif len(self._runs) < self._most:
            self._runs.append([head, line, line, column])
        else:
            self._unnamed += 1

    @property
    def first(self) -> tuple[str, int, int]:
        """File, line and column of the first."""
        head, line, _, column = self._runs[0]
        return head.removesuffix(":"), line, column

    def __str__(self) -> str:
        texts, before = [], None
        for head, first, last, column in self._runs:
            lines = f"{first}-{last}" if first != last else f"{first or ''}"
            texts.append(("" if head == before else head) + lines + (f":{column}" if column else ""))
            before = head
        return ", ".join(texts) + and_more(self._unnamed)


def _parted(source: str) -> tuple[str, int, int]:
    """A place as what stands before its line, line and column; 0 for what it does not say."""
    found = re.fullmatch(r"(.*?(?::| row ))([1-9]\d{0,17})(?::(\d{1,18}))?", source, re.DOTALL)
    return (found[1], int(found[2]), int(found[3] or 0)) if found else (source, 0, 0)


FindPaths = Callable[[Sequence[Problem]], list[str]]
"""Problems -> for each the path inside of its document, where it is known."""


class ProblemLog:
    """Collects problems without stopping at the first, told once for each kind, and in bounded memory.

    `total` counts all of them, also those that are not kept. `subject` is what they are told of, and `paths`
    finds where in a document they stand.
    """

    def __init__(self, subject: str = "the manifest", paths: FindPaths | None = None) -> None:
        self.subject = subject
        self.paths = paths
        self.total = 0
        self._follows: Callable[[Problem], bool] | None = None
        self._seen: set[Problem] = set()
        self._kept: list[Problem] = []
        self._kinds: dict[tuple[object, ...], tuple[Problem, Places]] = {}
        self._unkept = 0

    def add(self, problem: Problem) -> None:
        """Take one problem; what was told already or only follows from others is left out."""
        if problem in self._seen or (self._follows and self._follows(problem)):
            return
        if len(self._seen) < _SEEN_REMEMBERED:
            self._seen.add(problem)
        self.total += 1
        if len(self._kept) < _PROBLEMS_KEPT:
            self._kept.append(problem)
        known = self._kinds.get(problem.kind)
        if known is None and len(self._kinds) >= _KINDS_KEPT:
            self._unkept += 1
            return
        if known is None:
            known = self._kinds[problem.kind] = problem, Places()
        known[1].add(problem.source)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Take several problems."""
        for problem in problems:
            self.add(problem)

    def leave_out(self, follows: Callable[[Problem], bool]) -> None:
        """Do not tell problems that only follow from others, of those taken before and of those to come."""
        self._follows = follows
        for kind, (problem, places) in list(self._kinds.items()):
            if follows(problem):
                self.total -= places.total
                del self._kinds[kind]
        self._kept = [problem for problem in self._kept if not follows(problem)]

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._located(self._kept))

    def __bool__(self) -> bool:
        return self.total > 0

    def raise_if_any(self) -> None:
        """Raise `ManifestError` when a problem was added."""
        if self:
            raise self.as_error()

    def as_error(self) -> ManifestError:
        """All of it as one error."""
        return ManifestError(tuple(self), self.total, self._text())

    def _located(self, problems: Iterable[Problem]) -> list[Problem]:
        listed = list(problems)
        if self.paths is None or not listed:
            return listed
        pairs = zip(listed, self.paths(listed), strict=True)
        return [replace(problem, path=problem.path or path) for problem, path in pairs]

    def _text(self) -> str:
        files = list(dict.fromkeys(places.first[0] for _, places in self._kinds.values()))
        order = {file: number for number, file in enumerate(files)}
        kinds = sorted(self._kinds.values(), key=lambda kind: (order[kind[1].first[0]], *kind[1].first[1:]))
        shown = kinds[:_KINDS_SHOWN]
        problems = self._located([problem for problem, _ in shown])
        lines = [self._heading()]
        for problem, (_, places) in zip(problems, shown, strict=True):
            lines += _told(problem, places)
        rest = self.total - sum(places.total for _, places in shown)
        if rest:
            lines.append(f"... and {rest:,} more; they are told when these are mended")
        return "\n".join(lines)

    def _heading(self) -> str:
        kinds = counted(len(self._kinds), "kind")
        of_kinds = (
            f" of {'more than ' if self._unkept else ''}{kinds}" if len(self._kinds) < self.total else ""
        )
        return f"{self.subject}: {counted(self.total, 'problem')}{of_kinds}; nothing was sent."


class HeldProblems(ProblemLog):
    """Keeps them in their order until it is their turn to be told to another log."""

    def __init__(self, log: ProblemLog) -> None:
        super().__init__()
        self._log = log
        self._held: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Take one problem; of very many the last are told before their turn, so that memory is bounded."""
        self.total += 1
        if len(self._held) < _PROBLEMS_HELD:
            self._held.append(problem)
        else:
            self._log.add(problem)

    def tell(self) -> None:
        """Their turn has come."""
        self._log.extend(self._held)
        self._held.clear()

    @property
    def are_waiting(self) -> bool:
        """Whether there are any."""
        return bool(self._held)


def _told(problem: Problem, places: Places) -> list[str]:
    if places.total == 1:
        return [str(problem)]
    what = replace(problem, path="").what
    return [what, textwrap.indent(textwrap.fill(str(places), 100, break_long_words=False), "  ")]
