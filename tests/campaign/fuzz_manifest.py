"""Manifests that nobody would write: whatever stands in a file, `plan` says what is wrong, or plans it.

    python -m tests.campaign.fuzz_manifest --examples 20000

Bytes, broken copies of manifests that are good, random ones of the whole grammar, and tables of every kind.
Each ends with exit code 0 or 2 and a sentence, soon, in little memory, and leaves nothing behind. Same seed,
same manifests.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import json
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import given as fed_with
from hypothesis import seed as seeded
from hypothesis import strategies as st

from nanobanana_batch.cli import main as command
from nanobanana_batch.jobs import order as order_job
from nanobanana_batch.manifest import refusal
from tests.unit.bad_manifests import Case, cases
from tests.unit.earlier_run import Earlier, make_run

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60
"""Nothing here is large; the slowest of them takes a second on an idle machine."""
PEAK_MB = 400
_ROWS_READ = 300

Strategy = st.SearchStrategy[tuple[str, bytes]]


@dataclass
class Findings:
    """How the manifests ended, and what was wrong with how they did."""

    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def fuzz(folder: Path, examples: int, seed: int) -> Findings:
    """Plan that many manifests in a folder of its own."""
    world, found = _world(folder), Findings()
    before = _files(world)
    with _small_limits():
        for kind, strategy in KINDS.items():
            _fuzz_kind(kind, strategy, world, max(1, examples // len(KINDS)), seed, found)
    found.wrong += [f"plan made {path}" for path in sorted(_files(world) - before)]
    return found


def _fuzz_kind(kind: str, strategy: Strategy, world: Path, examples: int, seed: int, found: Findings) -> None:
    @seeded(seed)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @fed_with(strategy)
    def one(manifest: tuple[str, bytes]) -> None:
        code, said = _planned(world, *manifest)
        found.ended[f"{kind}, exit {code}"] += 1
        assert code in (0, 2), said
        assert said.strip()

    try:
        one()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        notes = "\n".join(getattr(error, "__notes__", []))
        found.wrong.append(f"{kind}: {error!r}\n{notes}")


def _planned(world: Path, name: str, content: bytes) -> tuple[int, str]:
    path = world / name
    path.write_bytes(content)
    out, err = io.StringIO(), io.StringIO()
    given = (
        []
        if name.endswith("yaml")
        else ["--defaults", "model=nano-banana-beta", "--defaults", "prompt=a cat"]
    )
    sys.argv = ["nanobanana-batch", "plan", name, *given]
    try:
        with (
            contextlib.chdir(world),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            deadline(),
        ):
            command()
    except SystemExit as ended:
        return int(ended.code or 0), err.getvalue() + out.getvalue()
    finally:
        path.unlink()
    raise AssertionError("the command has to end the program")


@contextmanager
def deadline() -> Iterator[None]:
    """For the length of the block: who takes longer than anything here should is told so.

    Where that is not heard (it waits in a thread, or swallows it), the process ends, and says where it was.
    """

    def too_late(_: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer after {DEADLINE_S} s")

    earlier = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(DEADLINE_S)
    faulthandler.dump_traceback_later(3 * DEADLINE_S, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


@contextmanager
def _small_limits() -> Iterator[None]:
    """A random number is soon a large one; what is beyond these is counted, and not read."""
    rows, read, argv = order_job.MAX_ROWS, refusal.ROWS_READ, sys.argv
    order_job.MAX_ROWS, refusal.ROWS_READ = _ROWS_READ, _ROWS_READ
    try:
        yield
    finally:
        order_job.MAX_ROWS, refusal.ROWS_READ, sys.argv = rows, read, argv


def _world(folder: Path) -> Path:
    """A folder with all that manifests here may name."""
    world = folder / "manifests"
    shutil.copytree(ROOT / "manifests", world)
    make_run(folder / "outputs" / "first-run", [Earlier(name, {"style": "ink"}) for name in ("a", "b", "c")])
    Case("", "", (), {}, "", False).lay_out(world)
    (world / "cities.csv").write_text("city,mood,n\nTokyo,calm,1\nLagos,busy,2\n")
    (world / "prompts.jsonl").write_text('{"prompt": "a {cat}", "tag": "x", "images": ["cat.png"]}\n')
    (world / "styles.txt").write_text("# styles\nink\nphoto\n")
    return world


def _files(world: Path) -> set[Path]:
    return {path for path in world.parent.rglob("*") if not path.name.endswith(("-shm", "-wal"))}


# What manifests are made of.


def _mostly(usual: str, odd: str) -> st.SearchStrategy[str]:
    """One of these words, and in one of sixteen cases one of those."""
    words = st.sampled_from(usual.split())
    return st.integers(0, 15).flatmap(lambda number: words if number else st.sampled_from(odd.split()))


_NAMES = _mostly(
    "city style n mood",
    "prompt model aspect_ratio resolution images web_search id variants promt api_key row.id é",
)
_WORDS = _mostly(
    "ink Tokyo 16:9 0.5 3 cat {city} {style:upper} {{x}} {variant}",
    "1K 9K no nano-banana-beta {city {} {image} {row.prompt} {n:a} {mood} a/b nul cat.png notes.png"
    " https://x.org/a.png cities.csv ../outputs/first-run x|y |",
)
_TEXTS = st.one_of(_WORDS, _WORDS, st.lists(_WORDS, max_size=3).map(" ".join), st.text(max_size=6))
_SCALARS = st.one_of(_TEXTS, st.none(), st.booleans(), st.integers(-2, 12), st.floats(allow_nan=False))
_ODD: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3)),
    max_leaves=5,
)


def _or_odd(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """In fifteen of sixteen cases as it should be."""
    return st.integers(0, 15).flatmap(lambda number: strategy if number else _ODD)


_NUMBERS = st.one_of(st.integers(-3, 5), st.sampled_from(["0.5", "1e3", 10**12, 10**40, "x", "-.5"]))
_ROW = st.dictionaries(_NAMES, _or_odd(_SCALARS), max_size=4)
_RANGE = st.builds(
    lambda last, more: {"from": 1, "to": last, **more},
    _NUMBERS,
    st.dictionaries(st.sampled_from(["from", "step", "setp"]), _NUMBERS, max_size=2),
)
_LEVELS = _or_odd(
    st.one_of(
        st.lists(_TEXTS, min_size=1, max_size=4, unique=True),
        st.builds(lambda name: {"file": name}, st.sampled_from(["styles.txt", "none.txt", ".", "cat.png"])),
        _RANGE,
    )
)
_FACTORS = _or_odd(st.dictionaries(_NAMES, _LEVELS, max_size=4))
_BLOCK: dict[str, st.SearchStrategy[Any]] = {
    "defaults": _or_odd(_ROW.map(lambda row: {"model": "nano-banana-beta", **row})),
    "prompt": _or_odd(_TEXTS),
    "images": _or_odd(_TEXTS),
    "variants": _or_odd(st.integers(0, 4)),
    "variables": _or_odd(st.lists(_NAMES, max_size=3)),
    "rows": _or_odd(st.lists(_or_odd(_ROW), min_size=1, max_size=4)),
    "table": _or_odd(st.sampled_from(["cities.csv", "prompts.jsonl", "none.csv", ".", "cat.png"])),
    "from": _or_odd(st.sampled_from(["../outputs/first-run", "../outputs", "cities.csv", "none"])),
    "columns": _or_odd(
        st.dictionaries(_NAMES, st.sampled_from(["city", "mood", "n", "image", "x"]), max_size=3)
    ),
    "where": _or_odd(st.dictionaries(_NAMES, _or_odd(st.lists(_TEXTS, max_size=2)), max_size=2)),
    "zip": _FACTORS,
    "matrix": _FACTORS,
    "exclude": _or_odd(st.lists(_or_odd(_ROW), min_size=1, max_size=3)),
    "include": _or_odd(st.lists(_or_odd(_ROW), min_size=1, max_size=3)),
    "sample": _or_odd(
        st.builds(
            lambda n, more: {"n": n, **more},
            st.integers(1, 9),
            st.dictionaries(st.sampled_from(["n", "seed", "sed"]), _NUMBERS, max_size=1),
        )
    ),
    "id": _or_odd(_TEXTS),
}
_BASE = {
    "defaults": {"model": "nano-banana-beta", "city": "Oslo", "style": "oil"},
    "prompt": "{style}, {city}",
}
_SOURCES = st.sampled_from(
    [
        (),
        (),
        ("rows",),
        ("rows",),
        ("table",),
        ("table", "columns"),
        ("table", "where"),
        ("from",),
        ("from", "where"),
    ]
)
_BESIDE = sorted(set(_BLOCK) - {"rows", "table", "from", "columns", "where"})
_BLOCKS = st.builds(
    lambda source, beside: sorted({*source, *beside}), _SOURCES, st.sets(st.sampled_from(_BESIDE), max_size=4)
).flatmap(lambda keys: st.fixed_dictionaries({key: _BLOCK[key] for key in keys}).map(_BASE.__or__))
_WHOLE = st.one_of(
    _BLOCKS,
    st.builds(lambda top, blocks: {**top, "blocks": blocks}, _BLOCKS, _or_odd(st.lists(_BLOCKS, max_size=3))),
)


def _good_manifests() -> list[str]:
    """The examples, the documentation's, and those of the table of bad ones."""
    texts = [path.read_text() for path in sorted((ROOT / "manifests").glob("*.yaml"))]
    page = (ROOT / "docs" / "manifest.md").read_text()
    texts += re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    bad = [content for case in cases() for name, content in case.files.items() if name.endswith(".yaml")]
    return [text for text in texts if "PartiPrompts" not in text] + [
        content.decode() for content in bad if content.isascii()
    ]


def _pieces(text: str) -> list[str]:
    return re.findall(r"\n *|\w+|[^\w\n]", text)


_GOOD = [_pieces(text) for text in _good_manifests()]
_PIECES = sorted({piece for pieces in _GOOD for piece in pieces if piece.strip()})
_PIECE = st.one_of(
    st.sampled_from(_PIECES),
    st.sampled_from(["\n", "\n  ", "\t", ": ", "- ", "[", "{", '"', "&a ", "*a", "<<: *a", "~"]),
)
_CHANGES = st.lists(
    st.tuples(st.sampled_from(["drop", "repeat", "swap", "put"]), st.integers(0), st.integers(0), _PIECE),
    min_size=1,
    max_size=6,
)


def _changed(pieces: list[str], changes: list[tuple[str, int, int, str]]) -> str:
    pieces = pieces.copy()
    for what, first, second, piece in changes:
        here, there = first % len(pieces), second % len(pieces)
        if what == "drop" and len(pieces) > 1:
            del pieces[here]
        elif what == "repeat":
            pieces.insert(there, pieces[here])
        elif what == "swap":
            pieces[here], pieces[there] = pieces[there], pieces[here]
        else:
            pieces[here] = piece
    return "".join(pieces)


_CELLS = st.one_of(
    _WORDS, st.text(max_size=5), st.sampled_from(['"', '"a"', 'a"b', "a,b", "a;b", "\r", "\x00"])
)
_HEADS = st.lists(_NAMES, min_size=1, max_size=5)


def _separated(mark: str) -> st.SearchStrategy[bytes]:
    good = st.permutations(["a cat", "nano-banana-beta", "3"])
    rows = st.lists(st.one_of(st.lists(_CELLS, max_size=6), good).map(mark.join), max_size=5)
    return st.builds(
        lambda head, rows, end, code: end.join([mark.join(head), *rows]).encode(code, "replace"),
        st.one_of(_HEADS, st.permutations(["prompt", "model", "city"])),
        rows,
        st.sampled_from(["\n", "\r\n", "\r"]),
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    )


_OBJECTS = st.lists(st.one_of(_ROW, _ODD), max_size=5).map(
    lambda rows: "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8", "replace")
)
_ENDINGS = st.sampled_from(
    ["yaml", "csv", "tsv", "jsonl", "json", "txt", "parquet", "xlsx", "csv.gz", "txt.zst"]
)
_NOISE = st.one_of(
    st.binary(max_size=120), st.lists(_PIECE, max_size=40).map(lambda pieces: "".join(pieces).encode())
)


def _named(ending: str, content: st.SearchStrategy[bytes]) -> Strategy:
    return content.map(lambda data: (f"fuzzed.{ending}", data))


def _as_yaml(value: Any) -> bytes:
    # JSON is YAML; a lone surrogate cannot be written down at all.
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace")


KINDS: dict[str, Strategy] = {
    "noise": st.tuples(_ENDINGS.map("fuzzed.{}".format), _NOISE),
    "changed": _named("yaml", st.builds(_changed, st.sampled_from(_GOOD), _CHANGES).map(str.encode)),
    "grammar": _named("yaml", _WHOLE.map(_as_yaml)),
    "grammar, once more": _named("yaml", _BLOCKS.map(_as_yaml)),
    "csv": _named("csv", st.one_of(_separated(","), _separated(";"))),
    "tsv": _named("tsv", _separated("\t")),
    "jsonl": _named("jsonl", _OBJECTS),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), chosen.examples, chosen.seed)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if peak_mb > PEAK_MB:
        found.wrong.append(f"{peak_mb} MB were needed")
    for text in found.wrong:
        print(text, end="\n\n")
    ended = ", ".join(f"{count} {what}" for what, count in sorted(found.ended.items()))
    print(f"{found.ended.total()} manifests ({ended}), at most {peak_mb} MB: {len(found.wrong)} wrong")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
