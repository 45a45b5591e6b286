"""An output folder as a program sees it: its rows with their images, a table, and how it stands.

Each look is of its own moment, and of what is on disk then: a run may be going on meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from nanobanana_batch.api.options import AnyPath
from nanobanana_batch.errors import ImageRejected, UsageError
from nanobanana_batch.files.folder import Folder, find
from nanobanana_batch.files.plain import open_own
from nanobanana_batch.files.standing import Look, Stands
from nanobanana_batch.model import Request, RowStatus
from nanobanana_batch.results import stands
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.reports import RowReport
from nanobanana_batch.wording import closest, shown

if TYPE_CHECKING:
    import pandas
    import PIL.Image

    from nanobanana_batch.results import Standing

_IDS_COMPARED = 20_000
_FORMATS = ("PNG", "JPEG", "WEBP")
"""What a run saves. A folder may be somebody else's, and Pillow reads formats that start programs."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the manifest, and what has come of it."""

    id: str
    status: RowStatus
    """A completed row whose file is gone is running: the next run fetches it again."""
    request: Request
    """What was asked of the provider, or is to be."""
    variables: Mapping[str, str]
    """Every other column, by its name."""
    variant: int
    """1-based number among repetitions of the same row."""
    row_key: str
    """What identifies the row: the same request has the same key wherever it stands."""
    image: Path | None
    """Where its image is; None while there is none."""
    other_images: tuple[Path, ...]
    """What its request has made besides."""
    width: int | None
    """Of the image, in pixels."""
    height: int | None
    credits: float | None
    """What it has cost so far, all attempts together; None: nothing is known of that."""
    task_id: str | None
    """By which the provider knows it."""
    error_code: str | None
    """Why it has no image, where it failed or was refused."""
    error_message: str | None

    def open(self) -> PIL.Image.Image:
        """The image, read whole.

        Raises:
            UsageError: there is none, it cannot be read, or Pillow is not installed.
            ImageRejected: the file is no whole image any more.
        """
        return _opened(self)


class RunFolder:
    """An output folder, read only. It may be used by `with`: then no iterator is left open."""

    def __init__(self, folder: AnyPath) -> None:
        self.path = Path(folder)
        """Where it is."""
        self._iterators: WeakSet[Generator[Row, None, None]] = WeakSet()
        with self._reading():
            pass

    def rows(self) -> Iterator[Row]:
        """Every row of the manifest, in its order, one at a time; all of one moment, that of the first.

        Raises:
            StateFailed: the state is damaged.
        """
        iterator = self._rows()
        self._iterators.add(iterator)
        return iterator

    def row(self, id: str) -> Row:
        """The row with this id.

        Raises:
            UsageError: there is none.
            StateFailed: the state is damaged.
        """
        with self._reading() as (folder, reader):
            found = reader.row(id)
            if found is not None:
                return _row(found, folder.path, Look(folder.path, most_bytes=0))
            ids = [each.id for each, _ in zip(reader.rows(), range(_IDS_COMPARED), strict=False)]
        near = closest(id, ids)
        hint = f"Did you mean {near!r}?" if near else ""
        raise UsageError(f"{self.path} has no row {shown(id)}.", hint=hint)

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def __len__(self) -> int:
        with self._reading() as (_, reader):
            return sum(reader.counts().values())

    def status(self, *, verify: bool = False) -> Standing:
        """How it stands, as the command `status` says it. `verify`: read every image.

        Raises:
            StateFailed: the state is damaged.
        """
        from nanobanana_batch.jobs.outlook import priced_standing

        return priced_standing(find(self.path), verify=verify)

    def to_pandas(self) -> pandas.DataFrame:
        """One line a row, with the columns of results.csv; paths of images are relative to the folder.

        Texts are strings, also a prompt such as "null", and empty where there is none; counts are nullable
        integers, credits floats.

        Raises:
            UsageError: pandas is not installed.
            StateFailed: the state is damaged.
        """
        from nanobanana_batch.results import results_now

        try:
            return results_now(find(self.path))
        except ModuleNotFoundError as error:
            raise _not_installed(error, "pandas") from error

    def close(self) -> None:
        """End iterators that were not read to their end."""
        for iterator in list(self._iterators):
            iterator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def _rows(self) -> Generator[Row, None, None]:
        with self._reading() as (folder, reader):
            look = Look(folder.path, most_bytes=0)
            for found in reader.rows():
                yield _row(found, folder.path, look)

    @contextmanager
    def _reading(self) -> Iterator[tuple[Folder, Reader]]:
        """For each look anew: a connection would show one moment for ever."""
        folder = find(self.path)
        with open_reader(folder.state, folder.told()) as reader:
            yield folder, reader


def open_run(folder: AnyPath) -> RunFolder:
    """An output folder, to look at; also of a run that is going on. Nothing is changed.

    Raises:
        UsageError: it is none.
        FolderRefused: it holds links or other things that no run makes.
        StateFailed: its state is gone or damaged, or of a newer version.
    """
    return RunFolder(folder)


def _row(found: RowReport, folder: Path, look: Look) -> Row:
    is_gone = stands(found, look) is Stands.MISSING
    is_done = found.status is RowStatus.COMPLETED and not is_gone
    return Row(
        id=found.id,
        status=RowStatus.RUNNING if is_gone else found.status,
        request=found.request,
        variables=found.variables,
        variant=found.variant,
        row_key=found.row_key,
        image=folder / str(found.path) if is_done else None,
        other_images=tuple(folder / file.path for file in found.other_images) if is_done else (),
        width=found.width,
        height=found.height,
        credits=found.credits,
        task_id=found.task_id,
        error_code=None if is_done else found.error_code,
        error_message=None if is_done else found.error_message,
    )


def _opened(row: Row) -> PIL.Image.Image:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise _not_installed(error, "pillow") from error
    if row.image is None:
        why = f": {row.error_message or row.error_code}" if row.error_code else ""
        raise UsageError(f"Row {row.id} has no image; it is {row.status.value}{why}.")
    try:
        file = os.fdopen(open_own(row.image), "rb")
    except FileNotFoundError as error:
        hint = f"`audit({str(row.image.parents[1])!r}, repair=True)` fetches it while the provider has it."
        raise UsageError(f"The image of row {row.id} is gone.", hint=hint) from error
    except OSError as error:
        raise UsageError(f"{row.image} cannot be read: {error.strerror}.") from error
    with file:
        try:
            image = Image.open(file, formats=_FORMATS)
            image.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageRejected(f"{row.image} is no whole image: {error}.") from error
    return image


def _not_installed(error: ModuleNotFoundError, name: str) -> UsageError:
    return UsageError(f"{error.name} is not installed.", hint=f"`python -m pip install {name}` does that.")
