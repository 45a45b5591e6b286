"""Output folders of runs that have ended, of as many rows as one likes, made without a provider.

    python -m benchmarks.finished FOLDER [--rows N] [--image-bytes N] [--no-files]

The state and payments.jsonl are written by the program's own writers, as a run writes them; each row has a
PNG of one pixel of its own. A million rows take some five minutes and 7 GB.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.files.payments import Payments
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.scope import EVERY_ROW
from nanobanana_batch.state.store import RowToSend, Store
from nanobanana_batch.state.taking import Taken

MODEL = "gemini-3.1-flash-image-preview"
PROVIDER = "evolink@api.evolink.ai"
BEGAN = 1_790_000_000.0
"""Unix seconds."""
_AT_ONCE = 2_000
_WORDS = "a small {} house under a very large sky, number {}, painted in quiet colours with a broad brush"
_COLOURS = ("red", "green", "blue", "white", "black", "yellow", "grey")


def finished_folder(folder: Path, rows: int, *, with_files: bool = True, image_bytes: int = 0) -> Path:
    """Make the folder of a run in which each of so many rows has been paid for and saved.

    `with_files`: write the images too, each of them `image_bytes` larger than it need be. Leaves a folder
    that is there already as it is.

    Raises:
        OSError: there is no room.
    """
    if (folder / STATE_NAME).exists():
        return folder
    (folder / IMAGE_FOLDER).mkdir(parents=True)
    with Payments(folder, Disk()) as told:
        store = Store(folder / STATE_NAME, told)
        with Roster(derive_id, fold_id) as roster:
            roster.add_all(_drafts(rows), ProblemLog())
            store.take_manifest(Taken(roster, folder.name, ("colour",)))
        size = image_bytes if with_files else None
        for some in _sent(store):
            store.apply([fact for row in some for fact in _facts(store, folder, row, size)])
        store.close()
    return folder


def write_manifest(path: Path, rows: int) -> Path:
    """The table that asks for these rows, and for nothing that such a folder does not have."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("prompt", "model", "aspect_ratio", "colour"))
        for draft in _drafts(rows):
            asked = draft.request
            table.writerow((asked.prompt, asked.model, asked.aspect_ratio, dict(draft.variables)["colour"]))
    return path


def pixel(number: int) -> bytes:
    """A whole PNG of one pixel, with a number in it that makes its bytes its own."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    text = b"Comment\0" + str(number).encode()
    line = zlib.compress(b"\0" + number.to_bytes(4, "big")[1:])
    parts = ((b"IHDR", head), (b"tEXt", text), (b"IDAT", line), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _drafts(rows: int) -> Iterator[Draft]:
    for number in range(rows):
        colour = _COLOURS[number % len(_COLOURS)]
        request = Request(MODEL, _WORDS.format(colour, number), "1:1")
        yield Draft(f"rows.csv:{number + 2}", request, None, variables=(("colour", colour),))


def _sent(store: Store) -> Iterator[list[RowToSend]]:
    after = -1
    while some := store.new_rows(after, EVERY_ROW, _AT_ONCE):
        yield some
        after = some[-1].position


def _facts(store: Store, folder: Path, row: RowToSend, image_bytes: int | None) -> Iterator[facts.Fact]:
    attempt, key = store.next_attempt(), f"{row.row_key}-1"
    at = BEGAN + attempt / 100
    body = row.request.prompt.encode()
    print_ = hashlib.sha256(body).hexdigest()
    yield facts.Intent(
        row.row, attempt, 1, row.id, PROVIDER, "me", body, print_, key, at, 4.0, (), row.row_key, MODEL
    )
    yield facts.Accepted(attempt, TaskMade(f"task-{row.row_key}", f"req-{attempt}", 4.0, 20.0), at + 1)
    link = f"https://files.example/{row.row_key}.png"
    yield facts.Ready(attempt, (link,), at + 86_400, 4.0, at + 15)
    yield facts.Saved(attempt, _saved(folder, row.id, attempt, image_bytes), at + 16)


def _saved(folder: Path, stem: str, number: int, image_bytes: int | None) -> Image:
    path, data = f"{IMAGE_FOLDER}/{stem}.png", pixel(number) + os.urandom(image_bytes or 0)
    time = BEGAN
    if image_bytes is not None:
        fd = os.open(folder / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, data)
        time = os.fstat(fd).st_mtime
        os.close(fd)
    return Image(path, "image/png", 1, 1, len(data), hashlib.sha256(data).hexdigest(), time)


def main() -> None:
    """Make one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--no-files", action="store_true", help="only the state: the images are gone")
    parser.add_argument("--image-bytes", type=int, default=0, help="noise behind the end of each")
    given = parser.parse_args()
    made = finished_folder(
        given.folder, given.rows, with_files=not given.no_files, image_bytes=given.image_bytes
    )
    print(made)


if __name__ == "__main__":
    main()
