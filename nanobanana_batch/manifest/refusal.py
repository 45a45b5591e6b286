"""A manifest whose form has problems is never let through, and told all that is wrong with it in one round.

What is sound of it is still read and checked row by row. What may only follow from a problem of its form (a
variable that is unknown because its factor was refused) is not told: it would hide what is to be mended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from nanobanana_batch.errors import ManifestError, Problem
from nanobanana_batch.model import Draft
from nanobanana_batch.problems import ProblemLog

ROWS_READ = 100_000
"""So many are checked, good or bad, although they cannot be sent."""

TakeAll = Callable[[Iterator[Draft], ProblemLog], None]
"""Takes rows, and reports what is wrong with them together, such as two with one id."""

_HOLD_NAMES = frozenset(
    {"rows", "table", "from", "columns", "defaults", "matrix", "zip", "include", "blocks", "<<"}
)


class _Follows:
    """Whether a problem may only follow from those of the form."""

    def __init__(self) -> None:
        self._causes: set[Problem] = set()
        self._touched: set[str] = set()
        self._names_are_lost = False

    def because_of(self, causes: Iterable[Problem]) -> None:
        """Take these as causes, too."""
        for problem in causes:
            self._causes.add(problem)
            last = re.sub(r"\[\d+\]$", "", problem.path).rpartition(".")[2]
            names = re.split(r"[.\[\]]+", problem.path)
            self._touched |= {problem.field, problem.suggestion, problem.rests_on, *names}
            # With one list of a zip the others go, too.
            self._names_are_lost |= last in _HOLD_NAMES or problem.suggestion in _HOLD_NAMES or "zip" in names

    def __call__(self, problem: Problem) -> bool:
        """True for what need not be told."""
        if not problem.rests_on or problem in self._causes:
            return False
        return self._names_are_lost or problem.rests_on in self._touched


def whole_refusal(
    form: ProblemLog, rows: Callable[[ProblemLog, int], Iterator[Draft]], take: TakeAll
) -> ManifestError:
    """The error that tells all that is wrong: with the form, and with the first rows of what is sound."""
    follows = _Follows()
    follows.because_of(problem for problem in form if not problem.rests_on)
    follows.because_of([p for p in form if p.rests_on in _HOLD_NAMES and not follows(p)])
    form.leave_out(follows)
    follows.because_of(form)
    take(rows(form, ROWS_READ), form)
    return form.as_error()


def read_all(drafts: Iterator[Draft], problems: ProblemLog) -> None:
    """Only read the rows."""
    for _ in drafts:
        pass
