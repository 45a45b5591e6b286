"""What a benchmark says: lines of one table, each with its target, its figure and whether that is met.

A benchmark is a function of a `Scale` that gives such lines one by one, as it finds them. Figures are told in
the unit of the line; a ratio has the unit "times".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Scale(StrEnum):
    """How large the work is."""

    FULL = "full"
    """The sizes that the targets are meant for."""
    QUICK = "quick"
    """As small as still gives a figure: shows that the benchmark works, and judges nothing."""


class Verdict(StrEnum):
    """What a figure says of its target."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"
    NO_TARGET = "no target"
    NOT_JUDGED = "too small to judge"


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    name: str
    target: str
    """In words; empty where there is none."""
    figure: float | None
    unit: str
    verdict: Verdict
    note: str = ""
    """How it was measured, or why it was not."""


Benchmark = Callable[[Scale], Iterable[Line]]


def at_most(name: str, bound: float, figure: float, unit: str, note: str = "") -> Line:
    """A figure that is to stay below a bound, or be it."""
    verdict = Verdict.MET if figure <= bound else Verdict.MISSED
    return Line(name, f"≤ {bound:g} {unit}", figure, unit, verdict, note)


def at_least(name: str, bound: float, figure: float, unit: str, note: str = "") -> Line:
    """A figure that is to reach a bound."""
    verdict = Verdict.MET if figure >= bound else Verdict.MISSED
    return Line(name, f"≥ {bound:g} {unit}", figure, unit, verdict, note)


def noted(name: str, figure: float, unit: str, note: str = "") -> Line:
    """A figure that nobody has set a target for."""
    return Line(name, "", figure, unit, Verdict.NO_TARGET, note)


def not_measured(name: str, why: str, target: str = "") -> Line:
    """A figure that is not there, and why."""
    return Line(name, target, None, "", Verdict.NOT_MEASURED, why)
