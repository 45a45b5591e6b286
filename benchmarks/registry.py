"""Which benchmarks there are, in the order of the table, and how long each may take."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from benchmarks import adapters
from benchmarks.lines import Benchmark

_MINUTE_S = 60.0


@dataclass(frozen=True)
class Entry:
    """One benchmark: a function `lines` of a module, carried out in a process of its own."""

    name: str
    title: str
    longest_s: float
    """After so long it is ended: the table has the lines that it had by then, and that it was cut off.

    Some twice what a quiet machine takes.
    """

    @property
    def module(self) -> str:
        """Where it is."""
        return f"benchmarks.{self.name}"

    def load(self) -> Benchmark:
        """Its function, or what makes lines of what the module gives.

        Raises:
            ModuleNotFoundError: it is not here, or something that it needs is not.
            AttributeError: nobody makes lines of it.
        """
        module = importlib.import_module(self.module)
        found: Benchmark = module.lines if hasattr(module, "lines") else getattr(adapters, self.name)
        return found


ENTRIES = (
    Entry("row", "the whole row, beside a loop without state", 10 * _MINUTE_S),
    Entry("slots", "wall time beside the ideal list schedule", 5 * _MINUTE_S),
    Entry("downloads", "downloads beside other programs", 7 * _MINUTE_S),
    Entry("throttled", "429 at random", 8 * _MINUTE_S),
    Entry("pace", "limits that a provider keeps", 7 * _MINUTE_S),
    Entry("polling", "reads of 1,000 tasks in flight", 8 * _MINUTE_S),
    Entry("manifest", "a million rows", 7 * _MINUTE_S),
    Entry("kinds", "planning each kind of file, beside pandas", 3 * _MINUTE_S),
    Entry("parti", "the real job, and again", 2 * _MINUTE_S),
    Entry("exports", "exports, beside cp and tar", 3 * _MINUTE_S),
    Entry("gallery", "the gallery", 4 * _MINUTE_S),
    Entry("checks", "checks of images", 3 * _MINUTE_S),
    Entry("memory", "memory and CPU of each command over a large folder", 6 * _MINUTE_S),
    Entry("soak", "memory over steady work", 6 * _MINUTE_S),
    Entry("startup", "start-up", 2 * _MINUTE_S),
    Entry("simulate", "64 workers and an outage, in virtual time", 9 * _MINUTE_S),
)

AT_MOST_S = sum(one.longest_s for one in ENTRIES)
"""What the whole table takes at most, however busy the machine is."""


def entry(name: str) -> Entry:
    """The one of that name.

    Raises:
        KeyError: there is none.
    """
    return {each.name: each for each in ENTRIES}[name]
