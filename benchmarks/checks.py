"""What `check` of many images costs: cold, warm, and after one of them was touched.

`python -m benchmarks.checks [--images 10000] [--side 512]`. Images that look like photographs, half of them
PNG and half JPEG, one in fifty nearly the same as the one before. Each check is a process of its own; the
figure of memory is the most that it held (Linux).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

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
_EACH_SO_MANY = 50
_LONGEST_S = 1200


def image(number: int, side: int) -> bytes:
    """One of the run."""
    one = photo.__wrapped__(number - (number % _EACH_SO_MANY == 1), side)
    return encoded(one, "JPEG", quality=90) if number % 2 else encoded(one, compress_level=1)


def main() -> None:
    """Print a line a check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=512)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="checks-") as place:
        rows = [Made(f"{number:06d}", partial(image, number, asked.side)) for number in range(asked.images)]
        folder = saved_run(Path(place) / "run", rows)
        size = sum(path.stat().st_size for path in (folder / "images").iterdir())
        print(f"{asked.images:,} images, {size / 1e9:.2f} GB, {os.cpu_count()} cores", flush=True)
        for name in ("cold", "warm", "one touched"):
            if name == "one touched":
                (folder / "images" / "000000.png").touch()
            began = time.monotonic()
            words = [sys.executable, "-c", _CHECK, str(folder)]
            done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=_LONGEST_S)
            print(f"{name}: {time.monotonic() - began:.1f} s, {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
