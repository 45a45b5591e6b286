"""How many images a second each export writes, beside `cp -r` and `tar` on the same files.

    python -m benchmarks.exports --images 1000 --size 500000

The images are noise of the size that was asked for, in a folder made for this; each two have the same prompt,
and each is the source of an edit in a second folder. All is removed at the end. The most memory that this
process ever held comes last.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nanobanana_batch as nb
from benchmarks.lines import Line, Scale, noted
from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.registry import FORMATS
from tests.exports.finished import Made, make_folder, picture

FILES = {"csv": "table.csv", "jsonl": "table.jsonl", "sheet": "sheet.pdf"}
OPTIONS: dict[str, dict[str, object]] = {"preferences": {"by": "score"}}
_MOST_IMAGES = 100_000


def noise(number: int, size: int) -> bytes:
    """A real picture with noise behind its end, which every reader passes over."""
    begin = picture(f"{number}", "JPEG", (64, 64))
    return begin + os.urandom(max(size - len(begin), 0))


@dataclass(frozen=True)
class Timed:
    """One piece of work over all images."""

    name: str
    images: int
    seconds: float
    cpu_s: float
    refused: str = ""
    """Why it was not done."""

    @property
    def per_s(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    def __str__(self) -> str:
        if self.refused:
            return f"{self.name:<28} {self.refused}"
        speed = f"{self.per_s:>8,.0f} images/s {self.seconds:>8.2f} s"
        return f"{self.name:<28} {speed} {self.cpu_s:>8.2f} s of a core"


def timed(name: str, images: int, work: Callable[[], object]) -> Timed:
    """Carry a piece of work out: how fast it was, and what it took of a processor."""
    os.sync()
    began, before = time.perf_counter(), sum(os.times()[:4])
    work()
    took, busy = time.perf_counter() - began, sum(os.times()[:4]) - before
    return Timed(name, images, took, busy)


def each(images: int, size: int, formats: Sequence[str]) -> Iterator[Timed]:
    """`cp -r` and `tar`, then each way twice, one after the other."""
    with tempfile.TemporaryDirectory(prefix="exports-") as temporary:
        base = Path(temporary)
        run = make_folder(base / "run", [_row(number, size) for number in range(images)])
        copy = ["cp", "-r", str(run / "images"), str(base / "cp")]
        yield timed("cp -r", images, lambda: subprocess.run(copy, check=True))
        tar = ["tar", "-cf", str(base / "images.tar"), "-C", str(run), "images"]
        yield timed("tar", images, lambda: subprocess.run(tar, check=True))
        for name in formats:
            folders = [run, edited(base / "edited", run, size)] if name == "edits" else [run]
            yield from _try(name, images, folders, base / FILES.get(name, name), **OPTIONS.get(name, {}))
        if "imagefolder" in formats:
            yield from _try("imagefolder", images, [run], base / "linked", link="hard")


def _row(number: int, size: int) -> Made:
    return Made(
        f"row-{number}",
        prompt=f"prompt {number // 2}",
        variables={"score": str(number)},
        format="JPEG",
        data=partial(noise, number, size),
    )


_QUICK = ("csv", "imagefolder")


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`."""
    is_full = scale is Scale.FULL
    copied_per_s = 0.0
    for one in each(
        1000 if is_full else 6, 500_000 if is_full else 2_000, tuple(FORMATS) if is_full else _QUICK
    ):
        if one.name == "cp -r":
            copied_per_s = one.per_s
        elif not one.refused:
            note = (
                f"{one.per_s:,.0f} images/s, {one.cpu_s:.2f} s of a core; cp -r {copied_per_s:,.0f} images/s"
            )
            yield noted(f"{one.name}: time over cp -r", copied_per_s / one.per_s, "times", note)


def main() -> None:
    """Each way once, and again."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=1000)
    options.add_argument("--size", type=int, default=500_000, help="bytes of each image")
    options.add_argument("--formats", default=",".join(FORMATS))
    told = options.parse_args()
    for one in each(min(told.images, _MOST_IMAGES), told.size, told.formats.split(",")):
        print(one, flush=True)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory: {most:.0f} MiB at most")


def edited(folder: Path, run: Path, size: int) -> Path:
    """A second run, with an edit of each image of the first."""
    rows = []
    for number, file in enumerate(sorted((run / "images").iterdir())):
        with file.open("rb") as opened:
            source = (file.name, hashlib.file_digest(opened, "sha256").hexdigest())
        data = partial(noise, -number, size)
        rows.append(Made(f"edit-{number}", "other words", format="JPEG", data=data, sources=(source,)))
    return make_folder(folder, rows)


def _try(name: str, images: int, run: Sequence[Path], out: Path, **options: object) -> Iterator[Timed]:
    label = " ".join([name, *(f"--{option} {value}" for option, value in options.items())])

    def work() -> None:
        nb.export(run, name, out, **options)  # type: ignore[arg-type]

    try:
        yield timed(label, images, work)
        yield timed(f"{label}, again", images, work)
    except UsageError as error:
        yield Timed(label, images, 0.0, 0.0, str(error))
    if out.is_dir():
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
