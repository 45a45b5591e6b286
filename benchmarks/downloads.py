"""What a download costs: seconds of CPU and files a second, beside the tools that people download with.

    python -m benchmarks.downloads [--files N] [--bytes N] [--at-once N] [--rounds N] [--img2dataset PYTHON]
                                   [--json FILE]

All fetch the same PNGs (205 KB each) from one nginx, which stands on one core, each tool on the other where
there are two. *nanobanana-batch* is a real run over a folder whose rows are all paid for and not fetched
(`audit --repair` does the same): the engine with its state, log and witness, links judged, each file checked
as an image, hashed, synced, named, its name synced, and all of that committed. No other tool syncs or checks
anything; img2dataset hashes, and has whole files in memory. `--img2dataset` names a Python that has it. What
a tool needs for one file is taken off, so starting up is not counted. Nothing is deleted before the end: ext4
looks at each file that was deleted shortly before when it makes another, which took 15 % of all CPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from benchmarks.nginx import program, serving
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.files.payments import Payments
from nanobanana_batch.jobs.collect import collect
from nanobanana_batch.jobs.connection import Connection, provider_name
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.providers.tasks.api import account_mark
from nanobanana_batch.state import facts
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

PRODUCT = "nanobanana-batch"
_MODEL = "gemini-3.1-flash-image-preview"
_KEY = "benchmark-key"
_WHERE = Connection("evolink", "http://127.0.0.1:1")
"""Nobody is there: nothing but links is asked for."""
_DIES_AT = 4e9
_NOT_HERE = "not here"
_ENDS_WITHIN_S = 600.0


@dataclass(frozen=True)
class Downloaded:
    """One tool over so many files."""

    tool: str
    files: int
    files_per_s: float
    """Of the best round, and of the one in the middle."""
    median_files_per_s: float
    cpu_ms_a_file: float
    """Of the round in the middle, kernel included."""
    remark: str = ""
    """Why there are no figures."""


@dataclass(frozen=True)
class _Task:
    """What a tool is to fetch: into a folder of its own."""

    links: list[str]
    place: Path
    at_once: int


@dataclass(frozen=True)
class _Spent:
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class _Tool:
    """How one tool is called; `prepared` is done before the clock begins, and is not counted."""

    name: str
    words: Callable[[_Task], list[str]]
    prepared: Callable[[_Task], None]
    missing: str = ""


def figures(
    files: int, size_bytes: int, at_once: int, rounds: int, img2dataset: str | None = None
) -> list[Downloaded]:
    """Each tool over the same files, in interleaved rounds.

    Raises:
        SystemExit: there is no nginx here, or a tool has not fetched what it was to fetch.
    """
    cores = sorted(os.sched_getaffinity(0))
    tools = [_product(), _curl(), _aria2c(), _img2dataset(img2dataset)]
    spent: dict[str, list[_Spent]] = {tool.name: [] for tool in tools}
    with tempfile.TemporaryDirectory() as name, _served(Path(name), cores[0]) as (pictures, places, base):
        hashes = _pictures(pictures, files, size_bytes)
        links = [f"{base}/{n}.png" for n in range(files)]
        for _ in range(rounds):
            for tool in (tool for tool in tools if not tool.missing):
                begun = _measured(tool, _Task(links[:1], _place(places), at_once), cores[-1], hashes[:1])
                whole = _measured(tool, _Task(links, _place(places), at_once), cores[-1], hashes)
                spent[tool.name].append(_Spent(whole.wall_s - begun.wall_s, whole.cpu_s - begun.cpu_s))
    return [_told(tool, spent[tool.name], files - 1) for tool in tools]


@contextmanager
def _served(name: Path, cpu: int) -> Iterator[tuple[Path, Path, str]]:
    """The folder of the pictures, the one of what is fetched, and where the first is served."""
    for part in (pictures := name / "pictures", places := name / "places"):
        part.mkdir()
    with serving(pictures, cpu) as base:
        yield pictures, places, base


def _place(places: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=places))


def _told(tool: _Tool, spent: list[_Spent], files: int) -> Downloaded:
    if tool.missing:
        return Downloaded(tool.name, 0, 0.0, 0.0, 0.0, tool.missing)
    walls = [one.wall_s for one in spent]
    if min(walls) <= 0:
        return Downloaded(tool.name, 0, 0.0, 0.0, 0.0, "so few files take no longer than one")
    cpu_s = statistics.median(one.cpu_s for one in spent)
    return Downloaded(
        tool.name, files, files / min(walls), files / statistics.median(walls), cpu_s / files * 1e3
    )


def _measured(tool: _Tool, task: _Task, cpu: int, hashes: list[str]) -> _Spent:
    tool.prepared(task)
    known = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = os.times()
    process = subprocess.run(
        ["taskset", "-c", str(cpu), *tool.words(task)],
        env={**known, "EVOLINK_API_KEY": _KEY, "NO_ALBUMENTATIONS_UPDATE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=_ENDS_WITHIN_S,
    )
    ended = os.times()
    if sorted(_hashes_in(task.place)) != sorted(hashes):
        raise SystemExit(f"{tool.name} (exit {process.returncode}) has not fetched them:\n{process.stdout!r}")
    for path in task.place.rglob("*.png"):
        os.truncate(path, 0)  # the space is free, and nothing is deleted
    cpu_s = ended.children_user + ended.children_system - began.children_user - began.children_system
    return _Spent(ended.elapsed - began.elapsed, cpu_s)


def _hashes_in(place: Path) -> Iterator[str]:
    for path in place.rglob("*.png"):
        yield hashlib.sha256(path.read_bytes()).hexdigest()


def _pictures(folder: Path, files: int, size_bytes: int) -> list[str]:
    """PNGs of about so many bytes that nothing makes smaller, each of its own; returns their hashes."""
    side, chance, hashes = max(int((size_bytes / 3) ** 0.5), 1), random.Random(1), []
    for number in range(files):
        path = folder / f"{number}.png"
        Image.frombytes("RGB", (side, side), chance.randbytes(side * side * 3)).save(path, compress_level=0)
        hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return hashes


# --- the tools -------------------------------------------------------------------------------------


def _product() -> _Tool:
    def words(task: _Task) -> list[str]:
        here = f"from benchmarks.downloads import fetch; fetch({str(task.place)!r}, {task.at_once})"
        return [sys.executable, "-c", here]

    return _Tool(PRODUCT, words, lambda task: _paid_for(task.place, task.links))


def fetch(folder: str, at_once: int) -> None:
    """What is paid for and not there, as `audit --repair` has it fetched."""
    settings = Settings(new_rows=False, download_concurrency=at_once)
    collect(Path(folder), _WHERE, settings, Tally(announce=print))


def _paid_for(folder: Path, links: list[str]) -> None:
    """The folder of a run that was interrupted when all its tasks were finished and no image was fetched."""
    folder.joinpath(IMAGE_FOLDER).mkdir()
    with Payments(folder, Disk()) as payments:
        store = Store(folder / STATE_NAME, payments)
        _all_finished(store, links)
        store.close()


def _all_finished(store: Store, links: list[str]) -> None:
    problems = ProblemLog()
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(
            (
                Draft(f"rows:{n}", Request(_MODEL, f"p {n}", "1:1", "1K"), f"row-{n}")
                for n in range(len(links))
            ),
            problems,
        )
        problems.raise_if_any()
        store.take_manifest(Taken(roster, "downloads", ()))
    for number, link in enumerate(links, 1):
        known = (provider_name(_WHERE), account_mark(_KEY), b"{}", "f", f"key-{number}", 1.0)
        store.apply(
            [
                facts.Intent(number, number, 1, f"row-{number - 1}", *known),
                facts.Accepted(number, TaskMade(f"task-{number}", "request", 1.0, 20.0), 2.0),
                facts.Ready(number, (link,), _DIES_AT, 1.0, 3.0),
            ]
        )


def _curl() -> _Tool:
    def prepared(task: _Task) -> None:
        lines = [f'url = "{link}"\noutput = "{task.place}/{n}.png"' for n, link in enumerate(task.links)]
        (task.place / "config").write_text("\n".join(lines) + "\n")

    def words(task: _Task) -> list[str]:
        parallel = ["--parallel", "--parallel-max", str(task.at_once)]
        return ["curl", "-sS", *parallel, "--config", str(task.place / "config")]

    return _Tool("curl --parallel", words, prepared, "" if shutil.which("curl") else _NOT_HERE)


def _aria2c() -> _Tool:
    def prepared(task: _Task) -> None:
        (task.place / "list").write_text("\n".join(task.links) + "\n")

    def words(task: _Task) -> list[str]:
        quiet = ["--quiet", "--no-conf", "--file-allocation=none", "--max-connection-per-server=1"]
        return [
            "aria2c",
            *quiet,
            "-j",
            str(task.at_once),
            "-d",
            str(task.place),
            "-i",
            str(task.place / "list"),
        ]

    return _Tool("aria2c", words, prepared, "" if shutil.which("aria2c") else _NOT_HERE)


def _img2dataset(python: str | None) -> _Tool:
    def prepared(task: _Task) -> None:
        (task.place / "list.txt").write_text("\n".join(task.links) + "\n")

    def words(task: _Task) -> list[str]:
        options = {
            "url_list": str(task.place / "list.txt"),
            "output_folder": str(task.place / "files"),
            "output_format": "files",
            "processes_count": 1,
            "thread_count": task.at_once,
            "resize_mode": "no",
            "skip_reencode": True,
            "encode_format": "png",
            "encode_quality": 9,
            "number_sample_per_shard": len(task.links),
        }
        here = f"from img2dataset import download; download(**{options!r})"
        return [str(python), "-c", f"if __name__ == '__main__':\n {here}"]

    return _Tool("img2dataset", words, prepared, "" if python else _NOT_HERE)


def main() -> None:
    """Print a line for each tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--bytes", type=int, default=205_000)
    parser.add_argument("--at-once", type=int, default=Settings().download_concurrency)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--img2dataset", metavar="PYTHON")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if program() is None:
        raise SystemExit("there is no nginx here")
    found = figures(given.files, given.bytes, given.at_once, given.rounds, given.img2dataset)
    print("tool                files   files/s best   median   ms of CPU a file")
    for one in found:
        numbers = f"{one.files_per_s:13.0f}{one.median_files_per_s:9.0f}{one.cpu_ms_a_file:19.3f}"
        print(f"{one.tool:<17}{one.files:8}" + (f"   {one.remark}" if one.remark else numbers))
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
