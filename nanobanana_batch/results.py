"""What people read is derived from the state, whole, in manifest order; interruptions leave no trace in it.

No time stands in results.csv and nothing that depends on the order in which tasks happened to end,
so a run that was killed twenty times ends with the bytes of one that was not.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.collection.judgements import SAYS, Judgements, judgements_if_any
from nanobanana_batch.errors import UsageError
from nanobanana_batch.fidelity import unlike
from nanobanana_batch.files.disk import Disk, write_atomically
from nanobanana_batch.files.folder import (
    PREFERENCES_NAME,
    RATINGS_NAME,
    RESULTS_NAME,
    SPREADSHEET_NAME,
    Folder,
    find,
)
from nanobanana_batch.files.lock import is_held
from nanobanana_batch.files.standing import Files, Look, Stands
from nanobanana_batch.model import RowStatus
from nanobanana_batch.spreadsheets import harmless
from nanobanana_batch.state.last_run import LastRun, last_run
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.reports import BeingSent, Failure, RowReport, Waiting
from nanobanana_batch.state.scope import EVERY_ROW
from nanobanana_batch.waiting_lines import WaitingLines

if TYPE_CHECKING:
    import pandas

    from nanobanana_batch.collection.rated import Rated
    from nanobanana_batch.estimates import Cost
    from nanobanana_batch.live.snapshot import Live

_ROWS_AT_ONCE = 1000

BEFORE_VARIABLES = (
    "id",
    "status",
    "image",
    "prompt",
    "model",
    "aspect_ratio",
    "resolution",
    "images",
    "output_format",
    "web_search",
    "image_search",
    "thinking_level",
    "variant",
)
AFTER_VARIABLES = (
    "width",
    "height",
    "size_bytes",
    "sha256",
    "duplicate_of",
    "note",
    "credits",
    "task_id",
    "error_code",
    "error_message",
    "row_key",
    "other_images",
)
"""The columns of results.csv: these, with the manifest's own variables between the two."""
OF_RATINGS = SAYS
"""Behind these, where there is a ratings.csv."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an output folder stands."""

    folder: str
    manifest: str
    rows: int
    counts: dict[str, int]
    """Rows by status; those that are just being sent are none of these."""
    being_sent: int
    """Rows whose request a run is sending just now, or has no answer to yet."""
    left_manifest: dict[str, int]
    """Rows that are no longer in the manifest but were sent, by status."""
    credits_reserved: float
    credits_used: float
    credits_unknown: float
    """What requests without an answer may have cost, as far as their price is known."""
    credits_being_sent: float
    """The same of those that are just being sent."""
    is_running: bool
    """A run works on it just now."""
    last_run: LastRun | None
    """The one that is going on, or else the one before; None where no run is remembered."""
    credits_per_usd: float | None = None
    """None: what a credit costs is not known."""
    left: Cost | None = None
    """What the rows will cost that a run would still pay for; None: there are none, or they are too many."""
    is_left_free: bool = False
    """What is left are placeholders, drawn on this machine: nobody pays for them."""
    files: Files = field(default_factory=Files)
    """Images whose files are not as they were saved; a row whose file is gone counts as running."""
    asked: Mapping[str, int] | None = None
    """Rows that the last run was about, by status; None: all of them."""
    failures: Sequence[Failure] = ()
    """Why rows failed or were refused, the most frequent reason first."""
    ratings: Rated | None = None
    """What people said of its images; None: nothing."""
    live: Live | None = None
    """What the run that is going on says of itself; None: none is, or it says nothing."""
    untold: int = 0
    """Requests that are paid for, and in no sum: the provider has not said what they cost."""


def write_results(
    folder: Folder,
    disk: Disk,
    look: Look | None = None,
    say: Callable[[str], None] | None = None,
    see: Callable[[bytes], None] = lambda piece: None,
) -> Path:
    """Write results.csv from the state and return its path; an unchanged file keeps its time stamp.

    `look`: with what the images are looked at. `say`: is told why it has no ratings where ratings.csv
    cannot be read; without it that is an error. `see`: is shown what is written, piece by piece.

    Raises:
        UsageError: a folder is in the way, the state knows no manifest, or ratings.csv cannot be read.
        StateFailed: the state cannot be read.
        DiskFailed: the file cannot be written; the old one is untouched.
    """
    path = _place_for(folder, RESULTS_NAME)
    with open_reader(folder.state, folder.told()) as reader:
        _refuse_without_manifest(reader, path)
        pieces = csv_pieces(reader, look or Look(folder.path), _judgements(folder, say))
        write_atomically(disk, path, _shown(pieces, see))
    return path


def _shown(pieces: Iterable[bytes], see: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        see(piece)
        yield piece


def _judgements(folder: Folder, say: Callable[[str], None] | None = None) -> Judgements | None:
    try:
        return judgements_if_any(folder.path)
    except UsageError as error:
        if say is None:
            raise
        say(f"{error} results.csv is without ratings until that is mended.")
        return None


def _refuse_without_manifest(reader: Reader, path: Path) -> None:
    if reader.meta("manifest") is None:
        raise UsageError(
            f"The state of {path.parent} was made anew, and has no manifest yet; {path.name} stays as it is.",
            hint="Run the same command as before first: it takes the manifest, and goes on.",
        )


def write_for_spreadsheets(folder: Folder, disk: Disk, look: Look | None = None) -> Path:
    """The same for a program that takes a cell that begins with `=` for a formula; returns its path.

    Raises:
        UsageError, StateFailed, DiskFailed: as `write_results`.
    """
    path = _place_for(folder, SPREADSHEET_NAME)
    with open_reader(folder.state, folder.told()) as reader:
        _refuse_without_manifest(reader, path)
        look = look or Look(folder.path)
        pieces = csv_pieces(reader, look, _judgements(folder), is_for_spreadsheets=True)
        write_atomically(disk, path, itertools.chain([codecs.BOM_UTF8], pieces))
    return path


def _place_for(folder: Folder, name: str) -> Path:
    path = folder.path / name
    if path.is_dir():
        raise UsageError(f"{path} is a folder, where the results belong.", hint="Move it away.")
    return path


def csv_pieces(
    reader: Reader, look: Look, judgements: Judgements | None = None, *, is_for_spreadsheets: bool = False
) -> Iterator[bytes]:
    """results.csv as UTF-8 in pieces of many rows; RFC 4180 quoting, `\\n` line ends."""
    look.kept = reader.kept_images()
    variables = reader.variables()

    def cells(row: RowReport) -> Sequence[object]:
        return [*cells_of(row, variables, stands(row, look)), *ratings_of(row, judgements)]

    names = column_names(variables, () if judgements is None else OF_RATINGS)
    if is_for_spreadsheets:
        lines: Iterator[Sequence[object]] = itertools.chain([names], map(cells, reader.rows()))
        while piece := list(itertools.islice(lines, _ROWS_AT_ONCE)):
            yield written_harmless(piece)
        return
    rows, before = reader.rows_as_kept(), written([names])
    waiting = WaitingLines(variables, lambda row: written([cells(row)]).decode())
    while found := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        yield before + b"".join(_pieces(found, cells, waiting))
        before = b""
    if before:
        yield before


def _pieces(
    rows: Iterable[RowReport | Waiting],
    cells: Callable[[RowReport], Sequence[object]],
    waiting: WaitingLines,
) -> Iterator[bytes]:
    """Neighbours for which nothing was sent, and neighbours for which something was, are written at once."""
    for kind, found in itertools.groupby(rows, type):
        if kind is Waiting:
            yield "".join([waiting.line(row) for row in found if isinstance(row, Waiting)]).encode()
        else:
            yield written([cells(row) for row in found if isinstance(row, RowReport)])


def column_names(variables: list[str], at_the_end: Sequence[str] = ()) -> list[str]:
    """The header; a variable with the name of a fixed column is called `var_<name>`."""
    fixed = {*BEFORE_VARIABLES, *AFTER_VARIABLES, *at_the_end}
    taken = fixed | set(variables)
    names = []
    for name in variables:
        column = name
        while name in fixed and column in taken:
            column = f"var_{column}"
        taken.add(column)
        names.append(column)
    return [*BEFORE_VARIABLES, *names, *AFTER_VARIABLES, *at_the_end]


def ratings_of(row: RowReport, judgements: Judgements | None) -> list[object]:
    """What a person said of a row's first image, under `OF_RATINGS`; without ratings.csv no cell."""
    if judgements is None:
        return []
    said = None
    if row.status is RowStatus.COMPLETED:
        said = judgements.of(row.row_key, str(row.sha256), row.id, str(row.path))
    return [said.rating, said.verdict, said.note or None] if said else [None, None, None]


def stands(row: RowReport, look: Look) -> Stands:
    """The files of a completed row: as the first of them that is not as it was saved; else there are none."""
    if row.status is not RowStatus.COMPLETED:
        return Stands.AS_SAVED
    first = look.at(str(row.path), row.size_bytes or 0, str(row.sha256), row.file_time)
    if not row.other_images:
        return first
    stands = [first, *(look.at(*file) for file in row.other_images)]
    if Stands.MISSING in stands:
        return Stands.MISSING
    return next((one for one in stands if one is not Stands.AS_SAVED), Stands.AS_SAVED)


def standing(folder: Folder, *, verify: bool = False) -> Standing:
    """How the folder stands now; may be called while a run is going. `verify`: each image is read."""
    was_running = is_held(folder.path)
    look, gone_ones = Look(folder.path, verify=verify), set[int]()
    with open_reader(folder.state, folder.told()) as reader, reader.one_moment():
        counts, credits, last = reader.counts(), reader.credits(), last_run(reader)
        is_running = was_running or is_held(folder.path)
        sent = (
            reader.being_sent(last.attempts_before) if is_running and last and not last.ended else BeingSent()
        )
        look.kept = reader.kept_images()
        for image in reader.saved_images():
            found = look.at(image.path, image.size_bytes, image.sha256, image.file_time)
            if image.is_current and found is Stands.MISSING:
                gone_ones.add(image.attempt)
        gone = len(gone_ones)
        counts[RowStatus.COMPLETED] -= gone
        counts[RowStatus.RUNNING] += gone  # what the next run makes of them
        return Standing(
            folder=str(folder.path),
            manifest=reader.meta("manifest") or "",
            rows=sum(counts.values()),
            counts={
                status.value: count - (sent.rows if status is RowStatus.UNKNOWN else 0)
                for status, count in counts.items()
            },
            being_sent=sent.rows,
            left_manifest={status.value: count for status, count in reader.left_counts().items() if count},
            credits_reserved=credits.reserved,
            credits_used=credits.used,
            credits_unknown=credits.unknown - sent.credits,
            credits_being_sent=sent.credits,
            is_running=is_running,
            last_run=last,
            files=look.files,
            asked=_asked(reader, last),
            failures=reader.failures(EVERY_ROW),
            ratings=_rated(folder, reader),
            untold=credits.untold,
        )


def _rated(folder: Folder, reader: Reader) -> Rated | None:
    """Most folders were not judged: what reads judgements and pictures is not even loaded for them."""
    if not any(os.path.lexists(folder.path / name) for name in (RATINGS_NAME, PREFERENCES_NAME)):
        return None
    from nanobanana_batch.collection.rated import rated

    return rated(folder.path, reader)


def _asked(reader: Reader, last: LastRun | None) -> dict[str, int] | None:
    if last is None or last.scope == EVERY_ROW:
        return None
    return {status.value: count for status, count in reader.counts(last.scope).items() if count}


def read_results(folder: Path | str) -> pandas.DataFrame:
    """results.csv as a DataFrame that keeps every text as it is.

    Text columns are strings, also a prompt such as "null"; an empty cell is an empty string. The
    counts (width, height, size_bytes, variant) are nullable integers, credits floats.

    Raises:
        UsageError: there is no such folder, or it has no results.csv.
    """
    import pandas

    path = Path(folder) / RESULTS_NAME
    if not path.is_file():
        raise UsageError(_no_results(path.parent))
    return _typed(pandas.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8"))


def results_now(folder: Folder) -> pandas.DataFrame:
    """The same as the state knows it now, also while a run is going on; no results.csv is needed.

    Raises:
        UsageError: the folder has no state.
        StateFailed: the state cannot be read.
    """
    import pandas

    with open_reader(folder.state, folder.told()) as reader:
        text = io.BytesIO(b"".join(csv_pieces(reader, Look(folder.path), _judgements(folder))))
    return _typed(pandas.read_csv(text, dtype=str, keep_default_na=False, encoding="utf-8"))


def _typed(frame: pandas.DataFrame) -> pandas.DataFrame:
    import pandas

    for name in ("variant", "width", "height", "size_bytes"):
        frame[name] = pandas.to_numeric(frame[name].replace("", None)).astype("Int64")
    if "rating" in frame.columns[-len(OF_RATINGS) :]:
        frame["rating"] = pandas.to_numeric(frame["rating"].replace("", None)).astype("Int64")
    frame["credits"] = pandas.to_numeric(frame["credits"].replace("", None)).astype("Float64")
    return frame


def _no_results(folder: Path) -> str:
    if not folder.is_dir():
        return f"There is no folder {folder}; results are in the output folder of a run."
    if not find(folder).state.is_file():
        return f"{folder} has no {RESULTS_NAME}: no run was made in this folder."
    return f"{folder} has no {RESULTS_NAME} yet: it is written when a run ends."


def cells_of(row: RowReport, variables: list[str], file: Stands = Stands.AS_SAVED) -> list[object]:
    """What results.csv says of a row, under `column_names`; nothing is None or an empty text.

    `file`: how that of its image stands. Without it no row is called completed: it is told as what the next
    run makes of it.
    """
    request = row.request
    is_gone = file is Stands.MISSING
    done = row.status is RowStatus.COMPLETED and not is_gone
    return [
        row.id,
        str(RowStatus.RUNNING if is_gone else row.status),
        row.path if done else None,
        request.prompt,
        request.model,
        request.aspect_ratio,
        request.resolution,
        "|".join(request.images),
        request.output_format,
        _truth(request.web_search),
        _truth(request.image_search),
        request.thinking_level,
        row.variant,
        *(row.variables.get(name, "") for name in variables),
        row.width,
        row.height,
        row.size_bytes,
        row.sha256,
        row.duplicate_of,
        _note(row, file) if done or is_gone else None,
        _number(row.credits),
        row.task_id,
        None if done else row.error_code,
        None if done else row.error_message,
        row.row_key,
        "|".join(file.path for file in row.other_images) if done else None,
    ]


_FILE_NOTES = {
    Stands.MISSING: "the file is gone: the next run fetches it again while the provider has it",
    Stands.CHANGED: "the file was changed: width, height, size_bytes and sha256 are of the image as saved",
    Stands.KEPT: "the file was changed: width, height, size_bytes and sha256 are of the image as saved",
    Stands.NOT_A_FILE: "a folder, a link or the like stands in the place of the file",
    Stands.UNREADABLE: "this user may not read the file",
}


def _note(row: RowReport, file: Stands) -> str | None:
    """What a person should know of an image beside its numbers."""
    notes = [_FILE_NOTES.get(file, "")]
    if row.width is not None and row.height is not None:
        notes.append(unlike(row.request, row.width, row.height))
    return "; ".join(filter(None, notes)) or None


def written(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows as lines of CSV, in UTF-8."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows(rows)
    if "\r" in buffer.getvalue():
        # Before Python 3.13 the writer leaves a lone carriage return unquoted, and readers end the row there.
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\n")
        quoting = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            (quoting if _has_return(row) else writer).writerow(row)
    return buffer.getvalue().encode()


def written_harmless(rows: Sequence[Sequence[object]]) -> bytes:
    """The same with nothing that a spreadsheet takes for a formula."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return buffer.getvalue().encode()


def _has_return(cells: Iterable[object]) -> bool:
    return any(isinstance(cell, str) and "\r" in cell for cell in cells)


def _truth(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _number(value: float | None) -> str | None:
    """The shortest text of a number: 4, not 4.0."""
    return None if value is None else f"{value:.10g}"
