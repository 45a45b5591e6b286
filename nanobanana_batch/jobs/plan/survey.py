"""A manifest's rows beside their output folder: what all that a plan says is read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import repeat

from nanobanana_batch import defaults
from nanobanana_batch.catalog import Catalog
from nanobanana_batch.estimates import Seen, seen_by
from nanobanana_batch.files.folder import Folder, refuse_amnesia, was_worked_on
from nanobanana_batch.jobs.connection import price_book, provider_name
from nanobanana_batch.jobs.order import (
    Order,
    expanded,
    folder_of,
    open_ordered,
    refuse_mixing,
    refuse_parents,
)
from nanobanana_batch.jobs.pilot import Pilot, choose_first, choose_pilot
from nanobanana_batch.jobs.shards import refuse_another_division, refuse_another_part
from nanobanana_batch.manifest import Manifest
from nanobanana_batch.pricing.book import PriceBook
from nanobanana_batch.state.comparison import Comparison, Prospect
from nanobanana_batch.state.prices import PriceClass
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.roster import Roster


@dataclass(frozen=True, slots=True)
class Terms:
    """How the run would be made."""

    concurrency: int = defaults.CONCURRENCY
    submits_per_min: float | None = None
    max_credits: float | None = None
    max_attempts: int = defaults.MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known before any row is read."""

    manifest: Manifest
    folder: Folder
    reader: Reader | None
    """None where there is no state yet."""
    seen: Seen
    catalog: Catalog
    dialect: str
    prices: PriceBook
    is_free: bool = False
    """The provider is a service on this machine."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The rows as well, each checked."""

    ground: Ground
    roster: Roster
    comparison: Comparison | None
    """None where there is no state yet."""
    pilot: Pilot | None = None
    """A part of the whole manifest that is to come first."""

    def prospects(self) -> Iterable[Prospect]:
        """How each row stands, in manifest order; without a state this does not end."""
        return repeat(Prospect.NEW) if self.comparison is None else self.comparison.prospects()

    def prospect(self, position: int) -> Prospect:
        """How one row stands."""
        return Prospect.NEW if self.comparison is None else self.comparison.prospect(position)

    def counts(self) -> Counter[Prospect]:
        """How many rows stand where."""
        if self.comparison is None:
            return Counter({Prospect.NEW: len(self.roster)})
        return self.comparison.counts()

    def to_pay(self) -> Counter[PriceClass]:
        """What a run would send paid requests for, by what they cost."""
        kinds = self.roster.kinds()
        return kinds if self.comparison is None else kinds - self.comparison.left_alone()


@contextmanager
def opened(order: Order) -> Iterator[Ground]:
    """The manifest's form and the folder; what a run would refuse is refused with the same words.

    Raises:
        UsageError: a run would refuse the order.
        StateFailed: the folder's state is gone or damaged.
    """
    from nanobanana_batch.providers.profile import catalog_for, load_profile

    manifest = open_ordered(order)
    folder = folder_of(order, manifest)
    refuse_another_division(folder.path, order.shard)
    refuse_amnesia(folder, worked_on=was_worked_on(folder.path))
    with ExitStack() as stack:
        state = open_reader(folder.state, folder.told())
        reader = stack.enter_context(state) if folder.state.is_file() else None
        if reader is not None or manifest.parents:
            name = provider_name(order.connection)
            refuse_mixing(folder.path, reader.providers() if reader else (), name)
            refuse_parents(manifest, folder, name)
        if reader is not None:
            refuse_another_part(folder.path, reader, order.shard)
        profile = load_profile(order.connection.provider)
        catalog, dialect = catalog_for(profile), profile.dialect
        prices = price_book(profile, order.connection.base_url)
        seen = seen_by(reader) if reader else Seen()
        is_free = order.connection.is_embedded(profile)
        yield Ground(manifest, folder, reader, seen, catalog, dialect, prices, is_free)


@contextmanager
def surveyed(
    order: Order, terms: Terms, pilot: int | None = None, limit: int | None = None
) -> Iterator[Survey]:
    """All rows of the order, beside what the folder knows of them; and which of them come first.

    Raises:
        TooManyRows: a run does not take so many.
        UsageError: a run would refuse the order.
        StateFailed: the folder's state is gone or damaged.
    """
    with opened(order) as ground, expanded(ground.manifest, apart=order.shard is None) as roster:
        reader = ground.reader
        first = _first(ground, roster, pilot, limit)
        if order.shard is not None:
            roster.keep(order.shard)
        yield Survey(ground, roster, reader.compare(roster, terms.max_attempts) if reader else None, first)


def _first(ground: Ground, roster: Roster, pilot: int | None, limit: int | None) -> Pilot | None:
    """Chosen of the whole manifest, so that all shards together make what one run would."""
    if pilot is not None:
        return choose_pilot(roster, ground.manifest.factor_names, pilot)
    return None if limit is None else choose_first(roster, limit)
