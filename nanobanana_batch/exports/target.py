"""The place that an export goes to: built beside it, and moved there when it is whole.

Whoever looks sees the export of before, or the new one. A build that was killed is gone on with: what it has
placed is there by its whole content, and what it has not is written now. Only an export that was made in the
same way is replaced, and one that is as it would be is left alone, with its time stamps: Make looks at those.
What people have put into one, or have written into its card, is never thrown away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.errors import FolderInUse, UsageError
from nanobanana_batch.exports.card import CARD
from nanobanana_batch.exports.embedding import Change
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.record import (
    MADE_BY,
    RECORD,
    Record,
    Sizes,
    held_against,
    listing,
    read_record,
)
from nanobanana_batch.exports.tally import Tally
from nanobanana_batch.files.disk import Disk, as_disk_failure, same_content, write_atomically
from nanobanana_batch.files.lock import LOCK_NAME, only_writer
from nanobanana_batch.wording import shown


class Target:
    """A path, and what stands there."""

    def __init__(self, out: str, *, is_file: bool, disk: Disk) -> None:
        self.path = Path(os.path.abspath(os.path.realpath(out)))
        self._is_file = is_file
        self._disk = disk

    @property
    def building(self) -> Path:
        """Where it is built."""
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def _before(self) -> Path:
        """Where the one of before is, while the new one takes its place."""
        return self.path.with_name(f"{self.path.name}.before")

    @property
    def shown(self) -> str:
        """As it is told."""
        return str(self.path)

    def place(self, folder: Path, change: Change) -> Place:
        """What a format writes to, of the folder that it is built in."""
        return Place(folder, self.path.name, self._disk, change)

    def refuse_foreign(self, options: Mapping[str, str]) -> None:
        """Look at what has the name already.

        Raises:
            UsageError: it is no export, or was made with other options.
        """
        if not os.path.lexists(self.path) or self._is_empty_folder():
            return
        record = self._record()
        if record is None or self.path.is_dir() is self._is_file:
            raise UsageError(
                f"{self.path} is there already, and is no export of this kind; nothing was written.",
                hint="Give another --out, or move it away.",
            )
        refuse_other_options(self.shown, record.options, options)

    def is_up_to_date(self, plan: str) -> bool:
        """Whether the export of before has all of this plan and nothing else."""
        record = self._record()
        return record is not None and record.plan == plan and is_as_made(record.files, self._files())

    def told(self) -> Told | None:
        """What the export that is there says of itself."""
        record = self._record()
        return None if record is None else Told(record.splits, record.left_out)

    @contextmanager
    def built(self, options: Mapping[str, str], plan: str, tally: Tally) -> Iterator[Path]:
        """A folder to build in; when the block ends well, what is in it takes its place.

        Raises:
            FolderInUse: another process builds the same export.
            UsageError: it cannot be made there, or people have put something into the one of before.
            DiskFailed: the disk is full or refuses.
        """
        building = self.building
        self._refuse_own()
        try:
            self._disk.make_folder(building)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be made: {error.strerror}.") from error
        with self._locked(building):
            self._keep_only(plan)
            yield building
            try:
                self._take_place(options, plan, tally)
            except OSError as error:
                raise as_disk_failure(error, f"making {self.path.name}") from error

    @contextmanager
    def _locked(self, building: Path) -> Iterator[None]:
        try:
            with only_writer(building):
                if not (building / LOCK_NAME).exists():  # it was moved away, with its lock, by who was done
                    raise FolderInUse(building.name)
                yield
        except FolderInUse as error:
            raise FolderInUse(f"Another export to {self.path} is going on; nothing was written.") from error

    def _keep_only(self, plan: str) -> None:
        """What an earlier build has left is of use only if it was to become the same."""
        note = self.building / RECORD
        try:
            is_same = plan in note.read_text("utf-8")
        except OSError:
            is_same = False
        if is_same:
            return
        for path in self.building.iterdir():
            if path.name != LOCK_NAME:
                _remove(path)
        note.write_text(plan, "utf-8")

    def _refuse_own(self) -> None:
        """What people have added to an export, or have written into its card, would be gone with it."""
        for path, marks in ((self.building, (RECORD, LOCK_NAME)), (self._before, (RECORD,))):
            if not _is_empty(path) and not any(os.path.lexists(path / mark) for mark in marks):
                raise UsageError(
                    f"{path} is there, and was not made by an export; nothing was written.",
                    hint="Give another --out, or move it away: an export is built there.",
                )
        record = None if self._is_file else self._record()
        if record is None:
            return
        first, count = "", 0
        for name, size, made in held_against(self._files(), record.files):
            if made is None or (name == CARD and size != made):
                first, count = CARD if name == CARD else first or name, count + 1
        if count:
            more = f" and {count - 1:,} more" if count > 1 else ""
            raise UsageError(
                f"In {self.path} somebody has changed or added {shown(first)}{more}; nothing was written.",
                hint="Move that away, or give another --out.",
            )

    def _take_place(self, options: Mapping[str, str], plan: str, tally: Tally) -> None:
        (self.building / RECORD).unlink(missing_ok=True)
        if self._is_file:
            self._take_places(options, plan, tally)
            return
        self._refuse_own()
        record = Record(MADE_BY, options, plan, listing(self.building), *counts_of(tally))
        write_atomically(self._disk, self.building / RECORD, record.as_pieces())
        self._disk.sync_folder(self.building)
        before = self._before
        _remove(before)
        if os.path.lexists(self.path):
            self._disk.replace(self.path, before)
        self._disk.replace(self.building, self.path)
        self._disk.remove(self.path / LOCK_NAME)
        self._disk.sync_folder(self.path.parent)
        _remove(before)

    def _take_places(self, options: Mapping[str, str], plan: str, tally: Tally) -> None:
        names = sorted(path.name for path in self.building.iterdir() if path.name != LOCK_NAME)
        before = self._names_before()
        for name in names:
            if name not in before and os.path.lexists(self.path.with_name(name)):
                raise UsageError(f"{self.path.with_name(name)} is there already; nothing was written.")
        # Whatever happens from here on, all of these are known as ours, and as not up to date.
        self._write_record(Record(MADE_BY, options, "", self._sizes_of(before | set(names))))
        for name in names:
            built, target = self.building / name, self.path.with_name(name)
            if not same_content(built, target):
                self._disk.replace(built, target)
        for name in before - set(names):
            self._disk.remove(self.path.with_name(name))
        self._write_record(Record(MADE_BY, options, plan, self._sizes_of(names), *counts_of(tally)))
        shutil.rmtree(self.building)

    def _write_record(self, record: Record) -> None:
        write_atomically(self._disk, self._record_path(), record.as_pieces())

    def _names_before(self) -> set[str]:
        """The files of an export that has no folder of its own."""
        record = self._record()
        return {name for name, _ in record.files if name and "/" not in name} if record else set()

    def _files(self) -> Sizes:
        return self._sizes_of(self._names_before()) if self._is_file else listing(self.path)

    def _sizes_of(self, names: Iterable[str]) -> Sizes:
        return [(name, _size(self.path.with_name(name))) for name in sorted(names)]

    def _is_empty_folder(self) -> bool:
        return not self._is_file and self.path.is_dir() and _is_empty(self.path)

    def _record_path(self) -> Path:
        return self.path.with_name(f".{self.path.name}{RECORD}") if self._is_file else self.path / RECORD

    def _record(self) -> Record | None:
        return read_record(self._record_path())


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of an export when it was made."""

    splits: Mapping[str, int]
    left_out: Mapping[str, int]


def is_as_made(made: Sizes, there: Sizes) -> bool:
    """Whether all files of an export are there still; its card may be in a person's words by now."""
    return all(
        found is not None and (name == CARD or found == size)
        for name, size, found in held_against(made, there)
    )


def refuse_other_options(where: str, before: Mapping[str, str], options: Mapping[str, str]) -> None:
    """An export is replaced by one that was made in the same way.

    Raises:
        UsageError: it was made with other options.
    """
    other = sorted({*before.items()} ^ {*options.items()})
    if other:
        names = ", ".join(dict.fromkeys(f"--{name}" for name, _ in other))
        raise UsageError(
            f"{where} is an export that was made with another {names}; nothing was written.",
            hint="Give another --out, or remove it first.",
        )


def counts_of(tally: Tally) -> tuple[dict[str, int], dict[str, int]]:
    """Samples by part, and what was left out by reason."""
    left_out = {why.value: count for why, count in tally.left_out.items()}
    return dict(tally.written), left_out


def _is_empty(path: Path) -> bool:
    """Whether nothing is there that could be lost."""
    try:
        return not os.path.lexists(path) or not any(path.iterdir())
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    with suppress(FileNotFoundError):
        path.unlink()
