"""How an output folder stands, in money too, and what is left will cost; nothing is sent."""

from __future__ import annotations

from dataclasses import replace

from nanobanana_batch import defaults
from nanobanana_batch.errors import FolderRefused, ProfileError
from nanobanana_batch.estimates import Prices, seen_by
from nanobanana_batch.files.folder import Folder
from nanobanana_batch.jobs.connection import CONNECTION, LAST, Connection, price_book, remembered
from nanobanana_batch.live.file import read_live
from nanobanana_batch.pricing.book import PriceBook
from nanobanana_batch.results import Standing, standing
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.scope import EVERY_ROW

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
        book = _book(reader, now)
        rows = reader.to_pay(EVERY_ROW, defaults.MAX_ATTEMPTS) if found.rows <= _MOST_ROWS else None
        left = Prices(seen_by(reader), book).cost(rows) if rows else None
    live = read_live(folder.state_folder) if found.is_running else None
    return replace(found, credits_per_usd=book.credits_per_usd, left=left, live=live)


def _book(reader: Reader, now: Connection) -> PriceBook:
    """Of the provider of the last run, as far as it is built in or named; no standing needs it."""
    from nanobanana_batch.providers.profile import load_profile

    known = reader.meta(CONNECTION)
    if known is None:
        return PriceBook()
    try:
        connection = remembered(known, now)
        return price_book(load_profile(connection.provider), connection.base_url)
    except (ProfileError, FolderRefused):
        return PriceBook()
