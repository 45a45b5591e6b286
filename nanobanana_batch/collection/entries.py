"""Rows of one or many output folders with everything that is known of them, streamed in manifest order.

The gallery, exports and checks all begin here, so that they agree on what a completed row is, which of its
pictures there are, and what people said of them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from nanobanana_batch.collection.judgements import Judgement, Judgements, read_judgements
from nanobanana_batch.collection.measures import Measures, measured, read_measures
from nanobanana_batch.fidelity import unlike
from nanobanana_batch.files.folder import Folder, find
from nanobanana_batch.files.standing import Look, Stands
from nanobanana_batch.model import Request, RowStatus
from nanobanana_batch.provider_names import is_practice
from nanobanana_batch.state.made import Made, SavedPicture, made
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.reports import RowReport


@dataclass(frozen=True, slots=True)
class Picture:
    """One image file of a row."""

    number: int
    """1: the row's image; the others were made beside it by the same request."""
    path: str
    """Relative to the output folder, with `/`."""
    folder: Path
    """The output folder."""
    media_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    """As it was saved; of one that has changed since, `stands` says so."""
    stands: Stands
    saved_at: float | None
    """Unix seconds."""
    judgement: Judgement | None = None
    """What a person said of it."""
    measures: Mapping[str, str] = field(default_factory=dict)
    """What `check` found, by column of checks.csv; empty: it was not checked."""

    @property
    def file(self) -> Path:
        """Where it is: made only for who opens it, as that takes longer than all else here."""
        return self.folder / self.path

    @property
    def is_there(self) -> bool:
        """Whether there is a file, whatever has become of it."""
        return self.stands not in (Stands.MISSING, Stands.NOT_A_FILE, Stands.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a folder's manifest, and what has come of it; None where a thing is not known."""

    folder: Path
    folder_name: str
    """Tells it from the other folders; the last parts of its path."""
    id: str
    row_key: str
    status: RowStatus
    """A completed row whose image is gone is running: the next run fetches it."""
    request: Request
    variables: Mapping[str, str]
    variant: int
    source: str
    """Where the row stands in its manifest."""
    pictures: tuple[Picture, ...]
    """Of a completed row, whose files are there; else none."""
    credits: float | None
    """Of all attempts."""
    task_id: str | None
    error_code: str | None
    error_message: str | None
    duplicate_of: str | None
    """The id of the first row of its folder whose image has the same bytes."""
    note: str
    """What a person should know of the image: its file was changed, it has another size than asked for."""
    provider: str | None
    attempts: int
    intended_at: float | None
    """All times in Unix seconds."""
    accepted_at: float | None
    answered_at: float | None
    ended_at: float | None

    @property
    def is_practice(self) -> bool:
        """A service on this machine drew a placeholder."""
        return self.provider is not None and is_practice(self.provider)

    @property
    def saved_at(self) -> float | None:
        """When its last picture was there."""
        return max((one.saved_at for one in self.pictures if one.saved_at is not None), default=None)


class Collection:
    """Output folders as one; each look is of the moment when it begins, and changes nothing.

    `by_content`: files whose time does not tell are read, so that none that was changed passes.
    """

    def __init__(self, folders: Sequence[Path], *, by_content: bool = False) -> None:
        """Look at all of them first.

        Raises:
            UsageError: one is no output folder.
            FolderRefused: it holds links or other things that no run makes.
            StateFailed: its state is gone or damaged, or of a newer version.
        """
        self._by_content = by_content
        once: dict[Path, Path] = {}
        for path in folders:
            once.setdefault(path.resolve(), path)
        self.folders: tuple[Folder, ...] = tuple(map(find, once.values()))
        self.names = names_of([folder.path for folder in self.folders])
        self.variables: tuple[str, ...] = ()
        """Of all manifests, in their order."""
        self.rows = 0
        """How many there are."""
        self.manifests: tuple[str, ...] = ()
        """Their names, folder by folder; empty where a folder's is not known."""
        variables: dict[str, None] = {}
        manifests = []
        for folder in self.folders:
            with open_reader(folder.state, folder.told()) as reader, reader.one_moment():
                variables.update(dict.fromkeys(reader.variables()))
                self.rows += sum(reader.counts().values())
                manifests.append(reader.meta("manifest") or "")
        self.variables, self.manifests = tuple(variables), tuple(manifests)

    @property
    def checks(self) -> tuple[str, ...]:
        """What was measured in any of them.

        Raises:
            UsageError: checks.csv of a folder cannot be read.
        """
        columns = itertools.chain.from_iterable(map(measured, (folder.path for folder in self.folders)))
        return tuple(dict.fromkeys(columns))

    def entries(self) -> Iterator[Entry]:
        """Every row, folder by folder, in the order of its manifest.

        Raises:
            StateFailed: a row is damaged.
            UsageError: ratings.csv or checks.csv of a folder cannot be read.
        """
        for folder, name in zip(self.folders, self.names, strict=True):
            yield from self._of_folder(folder, name)

    def _of_folder(self, folder: Folder, name: str) -> Iterator[Entry]:
        judgements, measures = read_judgements(folder.path), read_measures(folder.path)
        look = Look(folder.path, verify=False) if self._by_content else Look(folder.path, most_bytes=0)
        with ExitStack() as stack:
            reader: Reader = stack.enter_context(open_reader(folder.state, folder.told()))
            stack.enter_context(reader.one_moment())
            look.kept = reader.kept_images()
            for report, how in made(reader):
                yield _entry(folder.path, name, report, how, look, judgements, measures)


def names_of(folders: Sequence[Path]) -> tuple[str, ...]:
    """What to call each of these, different from each other: the fewest last parts of their paths."""
    parts = [Path(os.path.abspath(folder)).parts for folder in folders]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = tuple("/".join(each[-count:]) for each in parts)
        if len(set(names)) == len(names):
            return names
    return tuple(str(folder) for folder in folders)


def _entry(
    folder: Path,
    name: str,
    report: RowReport,
    how: Made,
    look: Look,
    judgements: Judgements,
    measures: Measures,
) -> Entry:
    is_done = report.status is RowStatus.COMPLETED
    found = [
        _picture(folder, report, one, look, judgements, measures) for one in (how.pictures if is_done else ())
    ]
    is_gone = any(one.stands is Stands.MISSING for one in found)
    is_done = is_done and not is_gone
    return Entry(
        folder=folder,
        folder_name=name,
        id=report.id,
        row_key=report.row_key,
        status=RowStatus.RUNNING if is_gone else report.status,
        request=report.request,
        variables=report.variables,
        variant=report.variant,
        source=report.source,
        pictures=tuple(found) if is_done else (),
        credits=report.credits,
        task_id=report.task_id,
        error_code=None if is_done else report.error_code,
        error_message=None if is_done else report.error_message,
        duplicate_of=report.duplicate_of,
        note=_note(report, found),
        provider=how.provider,
        attempts=how.attempts,
        intended_at=how.intended_at,
        accepted_at=how.accepted_at,
        answered_at=how.answered_at,
        ended_at=how.ended_at,
    )


def _picture(
    folder: Path,
    report: RowReport,
    saved: SavedPicture,
    look: Look,
    judgements: Judgements,
    measures: Measures,
) -> Picture:
    id_, row_key, is_first = report.id, report.row_key, saved.number == 1
    return Picture(
        number=saved.number,
        path=saved.path,
        folder=folder,
        media_type=saved.media_type,
        width=saved.width,
        height=saved.height,
        size_bytes=saved.size_bytes,
        sha256=saved.sha256,
        stands=look.at(saved.path, saved.size_bytes, saved.sha256, saved.file_time),
        saved_at=saved.saved_at,
        judgement=judgements.of(row_key, saved.sha256, id_, saved.path, is_first=is_first),
        measures=measures.of(saved.sha256, row_key, id_, saved.path, is_first=is_first),
    )


_NOTES = {
    Stands.MISSING: "the file is gone",
    Stands.CHANGED: "the file was changed since it was saved",
    Stands.KEPT: "the file was changed since it was saved",
    Stands.NOT_A_FILE: "a folder, a link or the like stands in the place of the file",
    Stands.UNREADABLE: "this user may not read the file",
}


def _note(report: RowReport, pictures: Sequence[Picture]) -> str:
    notes = [_NOTES.get(one.stands, "") for one in pictures]
    if pictures:
        notes.append(unlike(report.request, pictures[0].width, pictures[0].height))
    return "; ".join(dict.fromkeys(filter(None, notes)))
