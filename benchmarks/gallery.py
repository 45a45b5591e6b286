"""A gallery of many images: building it, cold and warm, and what a real browser makes of it.

    python -m benchmarks.gallery [--images N] [--folder DIR] [--no-images]

Draws 512x512 JPEGs with the grain of photographs (some hundred scenes, each file with its own bytes), builds
the gallery twice, and opens it in the Chromium of the system: until the first image is painted, then scrolls,
filters and searches. `--no-images`: rows that are not sent yet, to open 100,000 of them in bounded time.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nanobanana_batch as nb
from benchmarks.lines import Line, Scale, not_measured, noted
from tests.gallery.browser import NAMES, chromium
from tests.gallery.made_run import Row, make_run, scene, showcase

_SCENES = 240
_PROMPTS = [
    f"a prompt about subject {number}, told in a few words more than it needs" for number in range(900)
]
_FRAMES = """
(async () => {
  const stage = document.getElementById("stage");
  const frames = [];
  let last = performance.now();
  const step = Math.max(40, stage.scrollHeight / 400);
  for (let at = 0; at < 240; at += 1) {
    stage.scrollTop += STEP || step;
    await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now();
    frames.push(now - last);
    last = now;
  }
  frames.sort((a, b) => a - b);
  const dropped = frames.filter((frame) => frame > 25).length;
  return {median: frames[120], p95: frames[228], worst: frames[239], dropped};
})()
"""
_ASK = """
(async (changes) => {
  const began = performance.now();
  const shown = new Promise((done) => Gallery.on("order", done));
  Gallery.go(changes);
  await shown;
  await new Promise((done) => requestAnimationFrame(done));
  return performance.now() - began;
})
"""


def drawn_once() -> Any:
    """Draws some scenes, and makes each file another one by a comment in it."""
    scenes: dict[tuple[int, str], bytes] = {}

    def draw(number: int, style: str) -> bytes:
        base = number % _SCENES
        if (base, style) not in scenes:
            scenes[base, style] = scene(base, style)
        data, comment = scenes[base, style], str(number).encode()
        return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]

    return draw


def rows(count: int, *, with_images: bool) -> Iterator[Row]:
    """Those of the run."""
    if with_images:
        yield from showcase(count, _PROMPTS, drawn_once())
        return
    for row in showcase(count, _PROMPTS, lambda number, style: b""):
        yield replace(row, end="pending", images=())


def build(folder: Path) -> None:
    """Twice, and once of a part."""
    for name, where in (("cold", ()), ("warm", ()), ("a part", ("style=ink",))):
        began, used = time.monotonic(), time.process_time()
        made = nb.gallery(folder, where=where)
        took, used = time.monotonic() - began, time.process_time() - used
        print(f"build, {name}: {took:.1f} s, {used:.1f} s of CPU", end="")
        print(f"; thumbnails made {made.thumbnails_made}, kept {made.thumbnails_kept}")
    nb.gallery(folder)
    for name in ("thumbs", "data", "page"):
        size = sum(file.stat().st_size for file in (folder / "gallery" / name).rglob("*") if file.is_file())
        print(f"{name}: {size / 1e6:.1f} MB")
    print(
        f"memory of the builder: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most"
    )


def look(folder: Path) -> None:
    """In a window of 1440 by 900."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        for kind in ("first", "second"):
            began = time.monotonic()
            page.goto((folder / "gallery/index.html").as_uri())
            page.wait_for_selector("img.thumb.there, .why", timeout=60_000)
            first = time.monotonic() - began
            page.wait_for_function("() => Gallery.counts", timeout=60_000)
            print(f"open, {kind} time: first picture after {first * 1000:.0f} ms", end="")
            print(f", all filters after {(time.monotonic() - began) * 1000:.0f} ms")
        for name, step in (("steady", "60"), ("through all of it", "0")):
            found = page.evaluate(_FRAMES.replace("STEP", step))
            told = ", ".join(f"{key} {value:.1f}" for key, value in found.items())
            print(f"scroll, {name}, ms a frame of 240: {told}")
            page.evaluate("document.getElementById('stage').scrollTop = 0")
        asked = {
            "filter by style": {"filters": {"style": ["ink"]}},
            "filter by style and city": {"filters": {"style": ["ink"], "city": ["Lima"]}},
            "sort by credits": {"filters": {}, "sort": "-credits"},
            "first search": {"sort": "", "q": "subject 17"},
            "second search": {"q": "subject 17 lima -neon"},
            "table": {"q": "", "view": "table"},
        }
        for name, changes in asked.items():
            print(f"{name}: {page.evaluate(_ASK, changes):.0f} ms")
        used = page.evaluate("performance.memory.usedJSHeapSize")
        print(f"memory of the page: {used / 1e6:.0f} MB")


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`; the rest of the browser's figures are printed by the module itself."""
    images = 4_000 if scale is Scale.FULL else 8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "skylines"
        make_run(folder, rows(images, with_images=True))
        for how in ("cold", "warm"):
            began, used = time.monotonic(), time.process_time()
            nb.gallery(folder)
            note = f"{time.process_time() - used:.1f} s of CPU"
            yield noted(f"gallery of {images:,} images, {how}", time.monotonic() - began, "s", note)
        if any(map(shutil.which, NAMES)):
            yield noted("its first picture in a browser", _first_picture_s(folder) * 1e3, "ms")
        else:
            yield not_measured("its first picture in a browser", f"none of {', '.join(NAMES)} is here")


def _first_picture_s(folder: Path) -> float:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        began = time.monotonic()
        page.goto((folder / "gallery/index.html").as_uri())
        page.wait_for_selector("img.thumb.there, .why", timeout=60_000)
        return time.monotonic() - began


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="keep it here; one that is there is not made again")
    parser.add_argument("--no-images", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (given.folder or Path(name)) / "skylines"
        if not folder.exists():
            make_run(folder, rows(given.images, with_images=not given.no_images))
        build(folder)
        look(folder)


if __name__ == "__main__":
    main()
