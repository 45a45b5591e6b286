"""What an audit asks of all paid requests and all files of a folder, answered by SQLite.

Sums, what belongs together and what is not explained are found by indexes and by sorting, in bounded
memory and a private temporary file: a folder of a million rows takes no more memory than a small one. Images
come one by one, in the order of their requests; of all else only what is not explained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.file_names import is_image_path
from nanobanana_batch.state.lifecycle import (
    GIVEN_UP,
    PAID,
    RUNNING,
    UNANSWERED,
    ImagePhase,
    Phase,
    in_sql,
)
from nanobanana_batch.state.prices import ATTEMPTS, SHARE, SHARES, SPENT, UNTOLD
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.reports import AttemptReport, ImageFile
from nanobanana_batch.state.soundness import foreign, understood

ORPHANS = RUNNING | {Phase.EXPIRED}
"""Paid for, without an image."""
IN_FLIGHT = RUNNING | {Phase.INTENT}
"""A run that goes on is at work on it."""
_AT_ONCE = 250


class Sums(NamedTuple):
    """Over all attempts; credits as the provider told them."""

    attempts: int
    accepted: int
    saved: int
    in_flight: int
    credits_reserved: float
    """Of all that were accepted."""
    credits_used: float
    """Of those that ended and were not refunded; what was reserved where nobody told what was used."""
    credits_refunded: float
    """What was reserved for those that were."""
    untold: int
    """Of how many that are paid for nobody has said what they cost."""


class Shape(NamedTuple):
    """A saved image, and what was asked for."""

    id: str
    resolution: str | None
    aspect_ratio: str | None
    width: int
    height: int


_ENDED = f"attempts.phase IN ({in_sql((Phase.FAILED, Phase.REFUSED))})"
_SUMS = f"""
{SHARES}
SELECT count(*), count(accepted_at), coalesce(sum(attempts.phase = '{Phase.SAVED}'), 0),
       coalesce(sum(attempts.phase IN ({in_sql(IN_FLIGHT)})), 0),
       total(iif(accepted_at IS NOT NULL, {SHARE.reserved}, NULL)),
       total(iif(accepted_at IS NOT NULL AND {SPENT}, coalesce({SHARE.used}, {SHARE.reserved}), NULL)),
       total(iif(accepted_at IS NOT NULL AND {_ENDED} AND NOT {SPENT}, {SHARE.reserved}, NULL)),
       coalesce(sum({UNTOLD}), 0), coalesce(sum(attempts.phase NOT IN ({in_sql(Phase)})), 0)
FROM {ATTEMPTS} JOIN rows USING (row)
"""
# Which rows have several attempts an index tells alone.
_SEVERAL = f"""
WITH several AS MATERIALIZED (SELECT DISTINCT row FROM attempts WHERE number > 1),
paid AS MATERIALIZED (
    SELECT attempts.row AS row, min(attempts.attempt) AS first
    FROM several CROSS JOIN attempts USING (row)
    WHERE attempts.phase IN ({in_sql(PAID)}) GROUP BY attempts.row HAVING count(*) > 1
)
SELECT paid.first, rows.id, task_id
FROM paid CROSS JOIN rows USING (row)
CROSS JOIN attempts ON attempts.row = paid.row AND attempts.phase IN ({in_sql(PAID)})
CROSS JOIN requests ON requests.request = attempts.request
ORDER BY paid.first, attempts.attempt
"""
_UNEXPLAINED = (
    f"(attempts.phase IN ({in_sql(ORPHANS | UNANSWERED)}) OR requests.sent > 1"
    f" OR (attempts.phase = '{Phase.FAILED}' AND attempts.error_code = '{GIVEN_UP}'))"
)
_FILES = """
SELECT images.attempt, images.number, images.path, images.size_bytes, images.sha256, images.file_time,
       images.phase = '{saved}', rows.id
FROM images JOIN attempts USING (attempt) JOIN rows USING (row)
WHERE images.attempt >= {after} AND (images.attempt, images.number) > ({after}, {number})
  AND (images.path IS NOT NULL OR images.phase = '{saved}')
ORDER BY images.attempt, images.number LIMIT {limit}
"""
# Which bytes there are more than once, in whatever images, an index tells alone.
_SAME_BYTES = f"""
WITH doubled AS MATERIALIZED (
    SELECT sha256 FROM images WHERE sha256 IS NOT NULL GROUP BY sha256 HAVING count(*) > 1
),
alike AS MATERIALIZED (
    SELECT images.sha256 AS sha256, attempts.attempt AS attempt, attempts.row AS row,
           min(attempts.attempt) OVER (PARTITION BY images.sha256) AS first
    FROM doubled CROSS JOIN images ON images.sha256 = doubled.sha256 AND images.number = 1
    CROSS JOIN attempts ON attempts.attempt = images.attempt AND attempts.phase = '{Phase.SAVED}'
)
SELECT rows.id, its.id
FROM alike JOIN rows USING (row) JOIN attempts AS earlier ON earlier.attempt = alike.first
JOIN rows AS its ON its.row = earlier.row
WHERE alike.row != earlier.row ORDER BY alike.attempt
"""
_SHAPES = f"""
SELECT rows.id, json_extract(rows.request, '$.resolution'), json_extract(rows.request, '$.aspect_ratio'),
       images.width, images.height,
       json_type(rows.request, '$.prompt') = 'text' AND json_type(rows.request, '$.model') = 'text'
FROM attempts JOIN images ON images.attempt = attempts.attempt AND images.number = 1 JOIN rows USING (row)
WHERE attempts.phase = '{Phase.SAVED}' AND images.width IS NOT NULL AND images.height IS NOT NULL
ORDER BY attempts.attempt
"""
# Names of files may be no text: both sides are compared as bytes.
_STRAYS = f"""
SELECT path FROM found EXCEPT SELECT CAST(path AS BLOB) FROM images WHERE phase = '{ImagePhase.SAVED}'
ORDER BY 1
"""


def sums(reader: Reader) -> Sums:
    """What all attempts add up to.

    Raises:
        StateFailed: one of them is in a phase that there is not.
    """
    *values, unheard_of = next(reader.each(_SUMS))
    if unheard_of:
        raise foreign("attempts")
    return Sums(*values)


def paid_several_times(reader: Reader) -> Iterator[tuple[str, list[str]]]:
    """Rows with several paid attempts, by the first of these: the row's id, and its tasks."""
    current, id_, tasks = None, "", list[str]()
    for first, found, task in reader.each(_SEVERAL):
        if first != current and tasks:
            yield id_, tasks
        if first != current:
            current, id_, tasks = first, found, []
        tasks.append(str(task))
    if tasks:
        yield id_, tasks


def unexplained(reader: Reader) -> Iterator[AttemptReport]:
    """Attempts that are, or may have been, paid for and have nothing to show for it, in their order.

    Raises:
        StateFailed: one of them is damaged.
    """
    return reader.attempts(_UNEXPLAINED)


def same_bytes(reader: Reader) -> Iterator[tuple[str, str]]:
    """Rows whose first image has the very bytes of an earlier saved one of another row: both ids."""
    return ((str(id_), str(other)) for id_, other in reader.each(_SAME_BYTES))


def shapes(reader: Reader) -> Iterator[Shape]:
    """The sizes of all saved rows' first images, in the order of their attempts.

    Raises:
        StateFailed: what was asked for one of them is no request.
    """
    for *shape, is_request in reader.each(_SHAPES):
        if not is_request:
            raise foreign("rows")
        yield Shape(*shape)


def saved_files(reader: Reader) -> Iterator[tuple[str, ImageFile]]:
    """Every saved image in the order of the attempts, with the id of its row.

    They are asked for some at a time: whoever reads each file holds up nobody who writes to the state.

    Raises:
        StateFailed: an image has a name that no run gives.
    """
    after = (0, 0)
    while True:
        query = _FILES.format(saved=ImagePhase.SAVED, after=after[0], number=after[1], limit=_AT_ONCE)
        found = list(reader.each(query))
        for _, _, path, size_bytes, sha256, file_time, is_saved, id_ in found:
            with understood("images"):
                if not is_image_path(path):
                    raise StateFailed(f"The state file names an image {path!r}, as no run does.")
            if is_saved:
                yield id_, ImageFile(path, size_bytes, sha256, file_time)
        if len(found) < _AT_ONCE:
            return
        with understood("images"):
            after = (int(found[-1][0]), int(found[-1][1]))


class FilesFound:
    """The files that there are in a folder, kept beside the state until it is known whose they are."""

    def __init__(self, reader: Reader, paths: Iterable[str]) -> None:
        """Take them; each path with `/`, as images have it."""
        self._reader = reader
        self.count = reader.keep_beside("found", (path.encode("utf-8", "surrogatepass") for path in paths))

    def strays(self) -> Iterator[str]:
        """Those that the state owns none of, sorted."""
        return (path.decode("utf-8", "surrogatepass") for (path,) in self._reader.each(_STRAYS))
