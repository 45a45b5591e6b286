"""Which benchmarks there are, in the order of the table, and how long each may take."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from benchmarks import adapters
from benchmarks.lines import Benchmark

_HOUR_S = 3600.0


@dataclass(frozen=True)
class Entry:
    """One benchmark: a function `lines` of a module, carried out in a process of its own."""

    name: str
    title: str
    longest_s: float = _HOUR_S
    """After so long it is ended, and has failed."""

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
    Entry("row", "the whole row, beside a loop without state"),
    Entry("slots", "wall time beside the ideal list schedule"),
    Entry("downloads", "downloads beside other programs"),
    Entry("throttled", "429 at random"),
    Entry("pace", "limits that a provider keeps"),
    Entry("polling", "reads of 1,000 tasks in flight"),
    Entry("manifest", "a million rows"),
    Entry("kinds", "planning each kind of file, beside pandas"),
    Entry("parti", "the real job, and again"),
    Entry("exports", "exports, beside cp and tar"),
    Entry("gallery", "the gallery"),
    Entry("checks", "checks of images"),
    Entry("memory", "memory and CPU of each command over a large folder"),
    Entry("soak", "memory over an hour of steady work", 2 * _HOUR_S),
    Entry("startup", "start-up"),
    Entry("simulate", "64 workers and an outage, in virtual time", 2 * _HOUR_S),
)


def entry(name: str) -> Entry:
    """The one of that name.

    Raises:
        KeyError: there is none.
    """
    return {each.name: each for each in ENTRIES}[name]
