"""Reads the state for people, also while a run is writing it; changes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from nanobanana_batch.commands import command, rebuild_hint
from nanobanana_batch.errors import StateFailed, UsageError
from nanobanana_batch.fidelity import unlike
from nanobanana_batch.file_names import is_image_path
from nanobanana_batch.model import Request, RowStatus
from nanobanana_batch.state.comparison import REPEATED, Comparison
from nanobanana_batch.state.journal import has_journal
from nanobanana_batch.state.ledger import LastTold, refuse_less_known
from nanobanana_batch.state.lifecycle import (
    FAILURES,
    GIVEN_UP,
    PAID,
    RUNNING,
    UNANSWERED,
    ImagePhase,
    Phase,
    in_sql,
)
from nanobanana_batch.state.opening import refuse_foreign_journal, unusable
from nanobanana_batch.state.prices import (
    ATTEMPTS,
    BY_KIND,
    KIND,
    PRICES,
    SHARE,
    SHARES,
    SPENT,
    UNTOLD,
    PriceClass,
    Share,
    by_kind,
    counted,
)
from nanobanana_batch.state.reports import (
    FIELDS,
    AttemptReport,
    BeingSent,
    Credits,
    Failure,
    ImageFile,
    Known,
    RowReport,
    SavedImage,
    Waiting,
    image_files,
    sound_row,
    status_of,
)
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.schema import APPLICATION_ID, VERSION, refuse_foreign_parts, see_as_current
from nanobanana_batch.state.scope import EVERY_ROW, Scope
from nanobanana_batch.state.shards import shard_of_folder
from nanobanana_batch.state.soundness import blamed_on_state, texts, understood
from nanobanana_batch.state.twins import HAS_TWINS, Twins, legacy_twins

KEPT_IMAGES = "kept images"
"""Under which they are remembered."""


_EACH = Share("each", "paid")


def _cost_of(share: Share) -> str:
    """What one attempt has cost its row, as SQL."""
    return (
        f"CASE WHEN {share.paid}.task_id IS NOT NULL AND NOT {share.counts} THEN 0"
        f" ELSE coalesce({share.used}, {share.reserved}) END"
    )


# A first attempt that is the latest is all that there is, and most are: its request is at hand.
_COST = f"""
CASE WHEN attempts.number = 1 THEN {_cost_of(SHARE)}
     ELSE (SELECT sum({_cost_of(_EACH)})
           FROM attempts AS each JOIN requests AS paid USING (request) LEFT JOIN shares USING (request)
           WHERE each.row = rows.row) END
"""
_LATEST = """
rows LEFT JOIN attempts ON attempts.attempt = rows.attempt
LEFT JOIN requests ON requests.request = attempts.request
LEFT JOIN shares ON shares.request = attempts.request
LEFT JOIN images ON images.attempt = attempts.attempt AND images.number = 1
"""
_OTHER_FILES = f"""
(SELECT json_group_array(json_array(number, path, size_bytes, sha256, file_time)) FROM images AS file
 WHERE file.attempt = attempts.attempt AND file.number > 1 AND file.phase = '{ImagePhase.SAVED}')
"""
# What was sent leads to its rows: most rows of a large manifest may have nothing, and need not be looked at.
_LATEST_SENT = "attempts CROSS JOIN rows ON rows.row = attempts.row AND rows.attempt = attempts.attempt"
_SAVED_MAIN = f"""
FROM {_LATEST_SENT}
CROSS JOIN images ON images.attempt = attempts.attempt AND images.number = 1
WHERE rows.position IS NOT NULL AND attempts.phase = '{Phase.SAVED}'
"""
# The bytes that several rows share are few, and found once: asked for row by row this takes quadratic time.
# Which bytes there are more than once, in whatever images, an index tells alone.
_SHARED = f"""
doubled AS MATERIALIZED (
    SELECT sha256 FROM images WHERE sha256 IS NOT NULL GROUP BY sha256 HAVING count(*) > 1
),
shared AS MATERIALIZED (
    SELECT images.sha256 AS sha256, min(rows.position) AS first, count(*) AS images
    FROM doubled CROSS JOIN images ON images.sha256 = doubled.sha256 AND images.number = 1
    CROSS JOIN attempts ON attempts.attempt = images.attempt AND attempts.phase = '{Phase.SAVED}'
    CROSS JOIN rows ON rows.row = attempts.row AND rows.attempt = attempts.attempt
    WHERE rows.position IS NOT NULL GROUP BY images.sha256 HAVING count(*) > 1
)
"""
_REPORT = f"""
SELECT rows.id, rows.row_key, attempts.phase, rows.request, rows.variant, rows.variables, rows.source,
       images.path, images.width, images.height, images.size_bytes, images.sha256,
       {_COST}, requests.task_id,
       attempts.error_code, attempts.error_message,
       {{duplicate_of}},
       images.file_time, {_OTHER_FILES}
FROM {_LATEST}
"""
_DUPLICATE_OF = """
(SELECT earlier.id FROM shared JOIN rows AS earlier ON earlier.position = shared.first
 WHERE shared.sha256 = images.sha256 AND shared.first < rows.position)
"""
_ROWS = f"""
{SHARES}, {_SHARED}
{_REPORT.format(duplicate_of=_DUPLICATE_OF)} WHERE rows.position IS NOT NULL
ORDER BY rows.position
"""
# Of a large manifest most rows may have nothing: what may be known of them is not looked for.
_WAITING = """
SELECT position, id, row_key, request, variant, variables, source FROM rows
WHERE position IS NOT NULL AND attempt IS NULL ORDER BY position
"""
_SENT = _ROWS.replace("SELECT rows.id", "SELECT rows.position, rows.id").replace(
    "IS NOT NULL\nORDER BY rows.position", "IS NOT NULL AND rows.attempt IS NOT NULL\nORDER BY rows.position"
)
_ROW = f"{SHARES} {_REPORT.format(duplicate_of='NULL')} WHERE rows.position = ?"
_ATTEMPTS = f"""
{SHARES}
SELECT attempts.attempt, rows.row_key, rows.id, attempts.phase,
       images.path, images.sha256, images.size_bytes, images.file_time, images.width, images.height,
       requests.task_id, requests.sent,
       {SHARE.reserved}, {SHARE.used}, requests.accepted_at IS NOT NULL, {SPENT},
       attempts.error_code, attempts.error_message, rows.request, rows.position IS NULL,
       images.phase = '{ImagePhase.SAVED}', {_OTHER_FILES}
FROM {ATTEMPTS} JOIN rows USING (row)
LEFT JOIN images ON images.attempt = attempts.attempt AND images.number = 1
WHERE {{condition}} ORDER BY attempts.attempt
"""
_PAID_KEYS = f"""
{SHARES}
SELECT rows.row_key, rows.id, total(coalesce({SHARE.used}, {SHARE.reserved}, {SHARE.expected})),
       group_concat(DISTINCT requests.idempotency_key)
FROM {ATTEMPTS} JOIN rows USING (row) WHERE attempts.phase IN ({in_sql(PAID | UNANSWERED)})
GROUP BY rows.row_key ORDER BY rows.row_key
"""
_SAVED = f"""
SELECT images.path, images.size_bytes, images.sha256, images.file_time, images.attempt,
       rows.attempt = attempts.attempt AND rows.position IS NOT NULL AND attempts.phase = '{Phase.SAVED}'
FROM images JOIN attempts USING (attempt) JOIN rows USING (row) WHERE images.phase = '{ImagePhase.SAVED}'
"""
_PHASES = f"""
SELECT attempts.phase, count(*) FROM {_LATEST_SENT}
WHERE rows.position IS NOT NULL AND {{scope}} GROUP BY attempts.phase
"""
_NOTHING_SENT = """
SELECT count(*) FROM rows WHERE rows.position IS NOT NULL AND rows.attempt IS NULL AND {scope}
"""
# How many rows a manifest has an index tells alone; to ask each whether something was sent takes far longer.
_LISTED_PHASES = f"""
SELECT attempts.phase, count(rows.position) FROM {_LATEST_SENT} GROUP BY attempts.phase
"""
_LISTED = "SELECT count(*) FROM rows WHERE position IS NOT NULL"
_IS_GIVEN_UP = f"attempts.error_code = '{GIVEN_UP}'"
_CREDITS = f"""
{SHARES}
SELECT total(iif(attempts.phase IN ({in_sql(RUNNING)}), {SHARE.reserved}, NULL)),
       total(iif({SPENT}, coalesce({SHARE.used}, {SHARE.reserved}), NULL)),
       total(CASE WHEN attempts.phase IN ({in_sql(UNANSWERED)}) OR (accepted_at IS NULL AND {_IS_GIVEN_UP})
                  THEN sent * {SHARE.expected}
                  WHEN accepted_at IS NOT NULL
                  THEN (sent - 1) * coalesce({SHARE.expected}, {SHARE.reserved}) END),
       coalesce(sum({UNTOLD}), 0)
FROM {ATTEMPTS}
"""
_BEING_SENT = f"""
{SHARES}
SELECT count(rows.position), total({SHARE.expected})
FROM {ATTEMPTS} JOIN rows ON rows.attempt = attempts.attempt
WHERE attempts.phase = '{Phase.INTENT}' AND attempts.attempt > ?
"""
_SAME_BYTES = f"WITH {_SHARED} SELECT coalesce(sum(images - 1), 0) FROM shared"
_SIZES = f"""
SELECT json_extract(rows.request, '$.resolution'), json_extract(rows.request, '$.aspect_ratio'),
       images.width, images.height, count(*) {_SAVED_MAIN} GROUP BY 1, 2, 3, 4
"""
_KNOWN = f"""
{SHARES}
SELECT iif(attempts.phase = '{Phase.SAVED}', images.path, NULL), requests.task_id, {_COST},
       attempts.error_code, attempts.error_message
FROM {_LATEST} WHERE rows.row_key = ?
"""
_FAILURES = f"""
SELECT attempts.phase, coalesce(attempts.error_code, ''), count(*), rows.id, attempts.error_message,
       min(rows.position)
FROM {_LATEST_SENT}
WHERE attempts.phase != '{Phase.SAVED}' AND attempts.phase IN ({in_sql(FAILURES)}) AND {{scope}}
GROUP BY attempts.phase, attempts.error_code ORDER BY count(*) DESC, min(rows.position)
"""
_TO_PAY = f"""
SELECT {KIND}, count(*) FROM rows LEFT JOIN attempts ON attempts.attempt = rows.attempt
WHERE {{scope}} AND (attempts.phase IS NULL OR attempts.phase = '{Phase.NOT_SENT}' OR {REPEATED})
{BY_KIND}
"""
_LATENCY = """
WITH latest AS (
    SELECT saved_at - intended_at AS took_s FROM requests JOIN images ON images.attempt = requests.request
    WHERE number = 1 AND saved_at > intended_at ORDER BY request DESC LIMIT 10000
)
SELECT took_s FROM latest ORDER BY took_s LIMIT 1 OFFSET (SELECT count(*) / 2 FROM latest)
"""
_UPLOAD = """
SELECT url FROM uploads WHERE provider = ? AND sha256 = ? AND deleted_at IS NULL AND missed_at IS NULL
AND expires_at > ? ORDER BY expires_at DESC LIMIT 1
"""
_LEFT = f"""
SELECT attempts.phase, count(*) FROM {_LATEST_SENT} WHERE rows.position IS NULL GROUP BY attempts.phase
"""


class Reader:
    """Queries over one state file, all from one consistent moment each."""

    def __init__(self, db: sqlite3.Connection, version: int) -> None:
        self._db = db
        self._version = version
        see_as_current(db, version)

    def checked_version(self) -> int:
        """The version of the file, each page of which is in order.

        Raises:
            StateFailed: it is damaged.
        """
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StateFailed(f"The state file is damaged ({verdict}).")
        return self._version

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """Everything that is asked inside of this is answered from the same moment of a run that goes on."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.rollback()

    def rows(self) -> Iterator[RowReport]:
        """Every row of the current manifest, in its order, streamed.

        Raises:
            StateFailed: a row is damaged.
        """
        for found in self._db.execute(_ROWS):
            yield sound_row(found)

    def rows_with(self, more: str) -> Iterator[tuple[RowReport, tuple[Any, ...]]]:
        """The same, each with further columns of the same tables: as SQL, from the same walk.

        Raises:
            StateFailed: a row is damaged.
        """
        for found in self._db.execute(_ROWS.replace("SELECT rows.id", f"SELECT {more}, rows.id")):
            yield sound_row(found[-FIELDS:]), found[:-FIELDS]

    def rows_as_kept(self) -> Iterator[RowReport | Waiting]:
        """The same, with those for which nothing was sent as they are stored.

        Raises:
            StateFailed: a row that was sent is damaged.
        """
        with nullcontext() if self._db.in_transaction else self.one_moment():
            sent = self._db.execute(_SENT)
            following = next(sent, None)
            for place, *stored in self._db.execute(_WAITING):
                while following is not None and following[0] < place:
                    yield sound_row(following[1:])
                    following = next(sent, None)
                yield Waiting(*stored)
            while following is not None:
                yield sound_row(following[1:])
                following = next(sent, None)

    def row(self, id_: str) -> RowReport | None:
        """One row of the current manifest, without what it has in common with others; None: there is none.

        Raises:
            StateFailed: it is damaged.
        """
        position = self.positions([id_]).get(id_)
        found = None if position is None else self._db.execute(_ROW, (position,)).fetchone()
        return None if found is None else sound_row(found)

    def providers(self) -> list[str]:
        """The names of all providers to which something was sent."""
        return [str(found[0]) for found in self._db.execute("SELECT DISTINCT provider FROM requests")]

    def attempts(self, condition: str = "TRUE") -> Iterator[AttemptReport]:
        """Every attempt for which this SQL holds, in the order of their intents, streamed.

        Raises:
            StateFailed: one of them is damaged, or names an image as no run does.
        """
        with understood("images"):
            query = _ATTEMPTS.format(condition=condition)
            for attempt, row_key, id_, phase, *rest, is_saved, others in self._db.execute(query):
                path, sha256, size_bytes, file_time, *_ = rest
                if path is not None and not is_image_path(path):
                    raise StateFailed(f"The state file names an image {path!r}, as no run does.")
                first = (ImageFile(path, size_bytes, sha256, file_time),) if is_saved else ()
                values: Any = (*rest[:10], *map(bool, rest[10:12]), *rest[12:], first + image_files(others))
                yield AttemptReport(attempt, row_key, id_, Phase(phase), *values)

    def saved_images(self) -> Iterator[SavedImage]:
        """Every image that the state counts on, streamed.

        Raises:
            StateFailed: one of them has a name that no run gives.
        """
        for path, size_bytes, sha256, file_time, attempt, is_current in self._db.execute(_SAVED):
            if not is_image_path(str(path)):
                raise StateFailed(f"The state file names an image {path!r}, as no run does.")
            yield SavedImage(path, size_bytes, sha256, file_time, attempt, bool(is_current))

    def variables(self) -> list[str]:
        """Names of the manifest's variables, in its order.

        Raises:
            StateFailed: they are damaged.
        """
        with understood("meta"):
            return list(texts(self.meta("variables") or "[]"))

    def meta(self, name: str) -> str | None:
        """A remembered value, or None."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def kept_images(self) -> frozenset[str]:
        """Paths of images that somebody has changed, and that a repair could not fetch anew.

        Raises:
            StateFailed: they are damaged.
        """
        with understood("meta"):
            return frozenset(texts(self.meta(KEPT_IMAGES) or "[]"))

    def counts(self, scope: Scope = EVERY_ROW) -> dict[RowStatus, int]:
        """Rows of the current manifest by status."""
        if scope == EVERY_ROW:
            return self._counts_of_all()
        counts = dict.fromkeys(RowStatus, 0)
        for phase, count in self._db.execute(_PHASES.format(scope=scope.condition), (scope.value,)):
            counts[status_of(phase)] += count
        query = _NOTHING_SENT.format(scope=scope.condition)
        counts[RowStatus.PENDING] += self._db.execute(query, (scope.value,)).fetchone()[0]
        return counts

    def _counts_of_all(self) -> dict[RowStatus, int]:
        counts = dict.fromkeys(RowStatus, 0)
        (unsent,) = self._db.execute(_LISTED).fetchone()
        for phase, sent in self._db.execute(_LISTED_PHASES):
            counts[status_of(phase)] += sent
            unsent -= sent
        counts[RowStatus.PENDING] += unsent
        return counts

    def positions(self, ids: Iterable[str]) -> dict[str, int]:
        """Where rows of these ids stand in the current manifest; without those that are not in it."""
        query = "SELECT id, position FROM rows WHERE position IS NOT NULL AND id = ?"
        speakable = [id_ for id_ in ids if id_ == id_.encode("utf-8", "replace").decode()]
        return dict(found for id_ in speakable for found in self._db.execute(query, (id_,)))

    def left_counts(self) -> dict[RowStatus, int]:
        """Rows that left the manifest after something was sent for them, by status."""
        counts = dict.fromkeys(RowStatus, 0)
        for phase, count in self._db.execute(_LEFT):
            counts[status_of(phase)] += count
        return counts

    def same_bytes(self) -> int:
        """How many images of the current manifest have the same bytes as an earlier row's."""
        (count,) = self._db.execute(_SAME_BYTES).fetchone()
        return int(count)

    def not_as_asked(self) -> int:
        """How many images of the current manifest have another size or ratio than their row asks for."""
        return sum(
            count
            for resolution, ratio, width, height, count in self._db.execute(_SIZES)
            if unlike(Request("", "", aspect_ratio=ratio, resolution=resolution), width, height)
        )

    def credits(self) -> Credits:
        """Sums over all attempts."""
        reserved, used, unknown, untold = self._db.execute(_CREDITS).fetchone()
        return Credits(reserved=reserved, used=used, unknown=unknown, untold=untold)

    def being_sent(self, after: int) -> BeingSent:
        """What a run is sending that began after that attempt; what an older one has left is not in it."""
        found = self._db.execute(_BEING_SENT, (after,)).fetchone()
        return BeingSent(int(found[0]), float(found[1]))

    def prices(self) -> dict[PriceClass, float]:
        """The most that was ever reserved or used for each kind of request."""
        return by_kind(self._db.execute(PRICES))

    def to_pay(self, scope: Scope, max_attempts: int) -> Counter[PriceClass]:
        """What a run over these rows of the current manifest sends paid requests for, by what they cost."""
        query = _TO_PAY.format(scope=scope.condition)
        return counted(self._db.execute(query, (scope.value, max_attempts)))

    def latency_s(self) -> float | None:
        """How long a row took from its request to its image, the median of the latest; None: none did yet."""
        found = self._db.execute(_LATENCY).fetchone()
        return None if found is None else float(found[0])

    def failures(self, scope: Scope) -> list[Failure]:
        """Why rows of the current manifest failed or were refused, the most frequent reason first."""
        query = _FAILURES.format(scope=scope.condition)
        return [
            Failure(status_of(phase), code, count, id_, message or "")
            for phase, code, count, id_, message, _ in self._db.execute(query, (scope.value,))
        ]

    def known(self, row_key: str) -> Known | None:
        """What the folder knows of a row; None for a row that it does not know."""
        found = self._db.execute(_KNOWN, (row_key,)).fetchone()
        return None if found is None else Known(*found)

    def upload_url(self, provider: str, sha256: str, now: float) -> str | None:
        """Where the provider holds a local image with this content, if it does at `now` (Unix seconds)."""
        if self._version < 2:
            return None
        found = self._db.execute(_UPLOAD, (provider, sha256, now)).fetchone()
        return None if found is None else str(found[0])

    def compare(self, roster: Roster, max_attempts: int) -> Comparison:
        """How the rows of a manifest stand in this folder; the one made last can be asked."""
        legacy = None if self.meta(HAS_TWINS) is not None else legacy_twins(self._db)
        roster.follow(Twins(self._ask, legacy))
        roster.keep_ids(self._ask)
        return Comparison(self._db, roster, max_attempts)

    def positions_in_order(self) -> Iterator[int]:
        """The place in the manifest of each of `rows`, streamed."""
        query = "SELECT position FROM rows WHERE position IS NOT NULL ORDER BY position"
        for (position,) in self._db.execute(query):
            yield int(position)

    def paid_keys(self) -> Iterator[tuple[str, str, float, frozenset[str]]]:
        """Rows that were paid for, or may have been, in the order of their keys.

        Key, id, credits, and what the requests were known by: nobody else's are.
        """
        for key, id_, credits, requests in self._db.execute(_PAID_KEYS):
            yield str(key), str(id_), float(credits), frozenset(str(requests).split(","))

    def has_sent(self) -> bool:
        """Whether anything was ever sent for the folder."""
        return bool(self._ask("SELECT 1 FROM requests LIMIT 1"))

    def each(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """What a query of this room's other readers finds, streamed; `values`: for its places."""
        return self._db.execute(query, values)

    def keep_beside(self, table: str, paths: Iterable[bytes]) -> int:
        """Paths as a temporary table of this name, which queries see beside the state's; says how many."""
        self._db.execute(f"CREATE TEMP TABLE {table} (path BLOB NOT NULL)")
        query = f"INSERT INTO temp.{table} VALUES (?)"
        return self._db.executemany(query, ((path,) for path in paths)).rowcount

    def _ask(self, query: str, *values: object) -> list[Any]:
        return self._db.execute(query, values).fetchall()


def _shards_hint(home: Path) -> str:
    """What to name where a run in several processes was made there, or shards beside each other."""
    names = os.listdir(home) if home.is_dir() else []
    found = sorted((shard.of, shard.number, name) for name in names if (shard := shard_of_folder(name)))
    if not found:
        return ""
    together = command("merge", *(home / name for _, _, name in found))
    return f"It holds the folders of shards: {together} tells how all stand; other commands take one of them."


@contextmanager
def open_reader(path: Path, told: LastTold | None = None) -> Iterator[Reader]:
    """A state file, read-only; nothing is left beside it, and it may stand where this user cannot write.

    `told`: how much was sent, as the folder's witness tells (asked before this, since a run may go on).

    Raises:
        UsageError: there is none, or this user may not look.
        StateFailed: the file is damaged, too new or not ours.
    """
    try:
        is_there = path.is_file()
    except OSError as error:
        raise UsageError(f"{path.parent} cannot be read: {error.strerror}.") from error
    if told is not None and not (is_there and path.stat().st_size):
        raise StateFailed(
            f"{told[3]} has no state file {path}, or an empty one, and payments.jsonl tells of {told[2]:,}"
            " paid requests.",
            hint=rebuild_hint(told[3]),
        )
    if not is_there:
        message = f"{path.parent} is not an output folder of this program: it has no {path.name}."
        raise UsageError(message, hint=_shards_hint(path.parent))
    # SQLite wants to write beside what it reads; where it cannot, nobody else is expected to write either.
    is_fixed = not os.access(path.parent, os.W_OK) and not _log_bytes(path)
    mode = "ro&immutable=1" if is_fixed else "ro"
    before = path.stat().st_mtime_ns
    refuse_foreign_journal(path)
    try:
        with closing(_connected(path, mode)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (owner,) = db.execute("PRAGMA application_id").fetchone()
            if owner != APPLICATION_ID:
                raise StateFailed(f"{path} was not written by this program.")
            if not 0 < version <= VERSION:
                hint = f"Use that one: the file has version {version}, this program knows {VERSION}."
                raise StateFailed(f"{path} was written by a newer version of this program.", hint=hint)
            refuse_foreign_parts(db, version)
            refuse_less_known(db, version, told)
            with blamed_on_state(db):
                yield Reader(db, version)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise unusable(path, error) from error
    finally:
        _tidy(path)
    if is_fixed and (_log_bytes(path) or path.stat().st_mtime_ns != before):
        raise StateFailed(f"A run has begun to write {path} while it was read; try again.")


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    # Whoever reads row by row may go on in another thread, as servers do.
    return sqlite3.connect(uri, uri=True, timeout=30, check_same_thread=False)


def _log_bytes(path: Path) -> int | None:
    """The size of the file's write-ahead log; None if there is none."""
    try:
        return os.stat(f"{path}-wal").st_size
    except OSError:
        return None


def _tidy(path: Path) -> None:
    """Take away the empty log that reading makes; SQLite itself does it, and only if nobody else is there.

    Where a journal stands beside it, opening it for writing would change it.
    """
    if _log_bytes(path) == 0 and not has_journal(path):
        with suppress(sqlite3.Error), closing(_connected(path, "rw")) as db:
            db.execute("PRAGMA user_version").fetchone()
