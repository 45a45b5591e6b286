"""What `check` of many images costs: cold, warm, and after one of them was touched.

`python -m benchmarks.checks [--images 10000] [--side 512]`. Images that look like photographs, half of them
PNG and half JPEG; each five have the same pixels and another content, so that they are drawn in time, and
each is decoded. Each check is a process of its own; the figure of memory is the most that it held (Linux).
The last line is the search among as many fingerprints of strangers.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from benchmarks.lines import Line, Scale, noted
from nanobanana_batch.checks.likeness import firsts
from nanobanana_batch.defaults import NEAR_BITS
from tests.checks.drawn import encoded, photo
from tests.saved_run import Made, saved_run

_CHECK = """
import sys
import nanobanana_batch as nb
done = nb.check(sys.argv[1])
with open("/proc/self/status") as status:
    most = next(line.split()[1] for line in status if line.startswith("VmHWM"))
told = {finding.kind.value: finding.count for finding in done.findings}
print(done.measured, "read,", told, int(most) // 1024, "MB")
"""
_COPIES = 5
_LONGEST_S = 1200


@lru_cache(1)
def drawn(number: int, side: int) -> bytes:
    """One with pixels of its own."""
    one = photo.__wrapped__(number, side)
    return encoded(one, "JPEG", quality=90) if number % 2 else encoded(one, compress_level=1)


def image(number: int, side: int) -> bytes:
    """One of the run; what stands behind a picture's end is another content."""
    return drawn(number // _COPIES, side) + str(number).encode()


@dataclass(frozen=True)
class Checked:
    """One check of all images, as a process of its own."""

    name: str
    images: int
    seconds: float
    said: str


def each(images: int, side: int) -> Iterator[Checked]:
    """Cold, warm, and after one of them was touched."""
    with tempfile.TemporaryDirectory(prefix="checks-") as place:
        rows = [Made(f"{number:06d}", partial(image, number, side)) for number in range(images)]
        folder = saved_run(Path(place) / "run", rows)
        for name in ("cold", "warm", "one touched"):
            if name == "one touched":
                (folder / "images" / "000000.png").touch()
            began = time.monotonic()
            words = [sys.executable, "-c", _CHECK, str(folder)]
            done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=_LONGEST_S)
            yield Checked(name, images, time.monotonic() - began, done.stdout.strip())


def near_duplicates_s(images: int) -> float:
    """Seconds of the search among as many fingerprints of strangers."""
    chance = random.Random(1)
    strangers = [chance.getrandbits(64) for _ in range(images)]
    began = time.monotonic()
    firsts(strangers, NEAR_BITS)
    return time.monotonic() - began


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`."""
    images, side = (3_000, 512) if scale is Scale.FULL else (10, 64)
    for one in each(images, side):
        yield noted(f"check of {images:,} images, {one.name}", one.seconds, "s", one.said)
    yield noted(f"near-duplicates among {images:,} strangers", near_duplicates_s(images), "s")


def main() -> None:
    """Print a line a check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=512)
    asked = parser.parse_args()
    print(f"{asked.images:,} images, {os.cpu_count()} cores", flush=True)
    for one in each(asked.images, asked.side):
        print(f"{one.name}: {one.seconds:.1f} s, {one.said}", flush=True)
    took_s = near_duplicates_s(asked.images)
    print(f"near-duplicates among {asked.images:,} strangers: {took_s:.1f} s")


if __name__ == "__main__":
    main()
