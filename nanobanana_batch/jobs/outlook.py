"""How an output folder stands, in money too, and what is left will cost; nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanobanana_batch import defaults
from nanobanana_batch.errors import FolderRefused, ProfileError
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.jobs.connection import CONNECTION, LAST, Connection, is_built_in, price_book, remembered
from nanobanana_batch.pricing.book import PriceBook
from nanobanana_batch.provider_names import credits_per_usd
from nanobanana_batch.results import Standing, standing
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.scope import EVERY_ROW

if TYPE_CHECKING:
    from collections import Counter

    from nanobanana_batch.estimates import Cost
    from nanobanana_batch.live.snapshot import Live
    from nanobanana_batch.state.prices import PriceClass

_LAST = Connection(LAST)
_MOST_ROWS = 100_000
"""To look at a million requests takes five seconds; `plan` does that, and `status` is asked often."""


def priced_standing(folder: Folder, now: Connection = _LAST, *, verify: bool = False) -> Standing:
    """How the folder stands; may be called while a run is going, and knows money where the profile does.

    `verify`: each image is read.

    Raises:
        UsageError, StateFailed: as `standing`.
    """
    found = standing(folder, verify=verify)
    with open_reader(folder.state, folder.told()) as reader:
        connection = _last_connection(reader, now)
        rows = reader.to_pay(EVERY_ROW, defaults.MAX_ATTEMPTS) if found.rows <= _MOST_ROWS else None
        if not rows and (connection is None or is_built_in(connection.provider)):
            money = _Money(credits_per_usd(connection.provider) if connection else None)
        else:
            money = _priced(reader, connection, rows)
    return replace(
        found,
        credits_per_usd=money.credits_per_usd,
        left=money.left,
        is_left_free=money.is_free,
        live=_live(folder, found),
    )


@dataclass(frozen=True, slots=True)
class _Money:
    """What a provider says of it."""

    credits_per_usd: float | None
    left: Cost | None = None
    is_free: bool = False


def _last_connection(reader: Reader, now: Connection) -> Connection | None:
    """To the provider of the last run, as far as it is built in or named; no standing needs it."""
    known = reader.meta(CONNECTION)
    if known is None:
        return None
    try:
        return remembered(known, now)
    except (ProfileError, FolderRefused):
        return None


def _priced(reader: Reader, connection: Connection | None, rows: Counter[PriceClass] | None) -> _Money:
    """With what these requests will cost; profiles and prices are read for it."""
    from nanobanana_batch.estimates import Prices, seen_by

    book, is_free = (PriceBook(), False) if connection is None else _book(connection)
    left = Prices(seen_by(reader), book).cost(rows) if rows else None
    return _Money(book.credits_per_usd, left, is_free and left is not None)


def _book(connection: Connection) -> tuple[PriceBook, bool]:
    """Its prices, and whether it draws placeholders on this machine."""
    from nanobanana_batch.providers.profile import load_profile

    try:
        profile = load_profile(connection.provider)
        book = price_book(profile, connection.base_url)
    except ProfileError:
        return PriceBook(), False
    return book, connection.is_embedded(profile)


def _live(folder: Folder, found: Standing) -> Live | None:
    if not found.is_running:
        return None
    from nanobanana_batch.live.file import read_live

    return read_live(folder.state_folder)
