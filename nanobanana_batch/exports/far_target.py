"""An export in object storage: each file is made whole on this disk, one at a time, and then sent.

There is no moving a folder there, so while an export is replaced its old and new files stand side by side;
its record is what says that it is whole. One that was broken off is gone on with: a file whose bytes have
arrived already is made again, to know that they are the same, and not sent again. Only what an export has
sent is ever taken away: others may have something below the same address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.embedding import Change
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.record import MADE_BY, RECORD
from nanobanana_batch.exports.registry import FORMATS
from nanobanana_batch.exports.tally import Tally
from nanobanana_batch.exports.target import (
    Target,
    Told,
    counts_of,
    is_as_made,
    refuse_other_options,
)
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.object_storage import Storage

_BUILDING = ".export.part.json"
"""There while an export is being sent: what has arrived."""


class FarTarget:
    """An address, and what is there."""

    def __init__(self, storage: Storage, disk: Disk) -> None:
        self._storage = storage
        self._disk = disk
        self._arrived: dict[str, str] = {}
        """What files have as their bytes, by a hash."""
        self._there: dict[str, int] = {}
        self._written: set[str] = set()

    @property
    def shown(self) -> str:
        """As it is told."""
        return self._storage.address

    def place(self, folder: Path, change: Change) -> Place:
        """What a format writes to."""
        return _FarPlace(folder, self._storage.name, self._disk, change, self)

    def refuse_foreign(self, options: Mapping[str, str]) -> None:
        """Look at what is there already.

        Raises:
            UsageError: it is no export, or was made with other options.
            RunStopped: it cannot be asked.
        """
        record = self._told(RECORD) or self._told(_BUILDING)
        if record:
            refuse_other_options(self.shown, record["options"], options)
        elif self._storage.sizes():
            raise UsageError(
                f"There is something at {self.shown}, which is no export; nothing was written.",
                hint="Give another --out, or remove it first.",
            )

    def is_up_to_date(self, plan: str) -> bool:
        """Whether the export of before has all of this plan and nothing else."""
        record = self._told(RECORD)
        return record.get("plan") == plan and is_as_made(
            sorted(record.get("sizes", {}).items()), self._sizes().items()
        )

    def told(self) -> Told | None:
        """What the export that is there says of itself."""
        record = self._told(RECORD)
        return Told(record.get("splits", {}), record.get("left_out", {})) if record else None

    @contextmanager
    def built(self, options: Mapping[str, str], plan: str, tally: Tally) -> Iterator[Path]:
        """A folder to make files in, one at a time; when the block ends well, the export is whole.

        Raises:
            RunStopped: something was not taken.
        """
        for name in (RECORD, _BUILDING):
            self._arrived |= self._told(name).get("arrived", {})
        self._there = self._sizes()
        self._note(options, plan)
        with TemporaryDirectory(prefix="export-") as folder:
            self._options, self._plan = options, plan
            yield Path(folder)
        for name in (self._sizes().keys() & self._arrived.keys()) - self._written:
            self._storage.remove(name)
        arrived = {name: self._arrived[name] for name in sorted(self._written)}
        sizes = {name: size for name, size in self._sizes().items() if name in arrived}
        splits, left_out = counts_of(tally)
        also = {"sizes": sizes, "arrived": arrived, "splits": splits, "left_out": left_out}
        self._tell(RECORD, options, plan, also)
        self._storage.remove(_BUILDING)

    def send(self, name: str, file: Path) -> None:
        """A file that is whole; one that is there with the same bytes stays."""
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        self._written.add(name)
        if self._arrived.get(name) == digest and self._there.get(name) == file.stat().st_size:
            return
        self._arrived[name] = ""  # known as ours from here on, whatever happens
        self._note(self._options, self._plan)
        self._storage.send(name, file)
        self._arrived[name] = digest
        self._note(self._options, self._plan)

    def _sizes(self) -> dict[str, int]:
        found = self._storage.sizes()
        return {name: found[name] for name in sorted(found) if name not in (RECORD, _BUILDING)}

    def _note(self, options: Mapping[str, str], plan: str) -> None:
        self._tell(_BUILDING, options, plan, {"arrived": self._arrived})

    def _tell(self, name: str, options: Mapping[str, str], plan: str, also: Mapping[str, Any]) -> None:
        told = {"made_by": MADE_BY, "options": dict(options), "plan": plan, **also}
        self._storage.write(name, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())

    def _told(self, name: str) -> dict[str, Any]:
        """What was told there; empty: nothing, or nothing of ours."""
        try:
            told = json.loads(self._storage.read(name) or b"{}")
        except (ValueError, RecursionError):
            return {}
        is_ours = isinstance(told, dict) and told.get("made_by") == MADE_BY
        return told if is_ours and isinstance(told.get("options"), dict) else {}


class _FarPlace(Place):
    """Where a file is made before it is sent."""

    def __init__(self, folder: Path, name: str, disk: Disk, change: Change, target: FarTarget) -> None:
        super().__init__(folder, name, disk, change)
        self._target = target

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        with super().file(name) as file:
            yield file
        self._send(name)

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        self._send(name)

    def _send(self, name: str) -> None:
        path = self.folder / name
        self._target.send(name, path)
        self._disk.remove(path)


def target_of(options: Options, *, is_file: bool, disk: Disk) -> Target | FarTarget:
    """The place of `--out`.

    Raises:
        UsageError: it is an address, and the format only goes to folders, or it is none.
    """
    if not options.out or "\0" in options.out:
        raise UsageError("--out has to be a path.")
    if "://" not in options.out:
        return Target(options.out, is_file=is_file, disk=disk)
    if not FORMATS[options.format].goes_far:
        able = ", ".join(name for name, kind in FORMATS.items() if kind.goes_far)
        raise UsageError(
            f"--format {options.format} goes to a folder of this machine only.",
            hint=f"To object storage go {able}.",
        )
    return FarTarget(Storage(options.out), disk)
