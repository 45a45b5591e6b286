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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import nanobanana_batch as nb
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


def timed(name: str, images: int, work: Callable[[], object]) -> None:
    """Carry a piece of work out, and say how fast it was and what it took of a processor."""
    os.sync()
    began, before = time.perf_counter(), sum(os.times()[:4])
    work()
    took, busy = time.perf_counter() - began, sum(os.times()[:4]) - before
    print(f"{name:<28} {images / took:>8,.0f} images/s {took:>8.2f} s {busy:>8.2f} s of a core", flush=True)


def main() -> None:
    """Each way once, one after the other."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=1000)
    options.add_argument("--size", type=int, default=500_000, help="bytes of each image")
    options.add_argument("--formats", default=",".join(FORMATS))
    told = options.parse_args()
    images = min(told.images, _MOST_IMAGES)
    with tempfile.TemporaryDirectory(prefix="exports-") as temporary:
        base = Path(temporary)
        rows = [
            Made(
                f"row-{number}",
                prompt=f"prompt {number // 2}",
                variables={"score": str(number)},
                format="JPEG",
                data=partial(noise, number, told.size),
            )
            for number in range(images)
        ]
        run = make_folder(base / "run", rows)
        timed(
            "cp -r",
            images,
            lambda: subprocess.run(["cp", "-r", str(run / "images"), str(base / "cp")], check=True),
        )
        tar = ["tar", "-cf", str(base / "images.tar"), "-C", str(run), "images"]
        timed("tar", images, lambda: subprocess.run(tar, check=True))
        for name in told.formats.split(","):
            folders = [run, edited(base / "edited", run, told.size)] if name == "edits" else [run]
            _try(name, images, folders, base / FILES.get(name, name), **OPTIONS.get(name, {}))
        if "imagefolder" in told.formats:
            _try("imagefolder", images, [run], base / "linked", link="hard")
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


def _try(name: str, images: int, run: Sequence[Path], out: Path, **options: object) -> None:
    label = " ".join([name, *(f"--{option} {value}" for option, value in options.items())])
    try:
        timed(label, images, lambda: nb.export(run, name, out, **options))  # type: ignore[arg-type]
        timed(f"{label}, again", images, lambda: nb.export(run, name, out, **options))  # type: ignore[arg-type]
    except UsageError as error:
        print(f"{label:<28} {error}", flush=True)
    if out.is_dir():
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
