"""Whole files: the real data, the shipped examples, many mistakes at once, and noise."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import UsageError
from nanobanana_batch.manifest import Beside, fold_id, open_manifest
from nanobanana_batch.manifest.words.template import Template
from nanobanana_batch.model import Draft
from nanobanana_batch.problems import ProblemLog

EXAMPLES = Path(__file__).parents[2] / "manifests"
CATALOG = load_catalog()
FLASH = "gemini-3.1-flash-image-preview"


def read(path: Path) -> tuple[list[Draft], list[str]]:
    log = ProblemLog()
    drafts = list(open_manifest(path, catalog=CATALOG, dialect="evolink").drafts(log))
    return drafts, [str(problem) for problem in log]


def test_parti_comes_out_as_it_is_in_the_file() -> None:
    """All 1,632 prompts, quotes and odd characters included."""
    drafts, problems = read(EXAMPLES / "parti.yaml")
    assert problems == []
    raw = (EXAMPLES / "data" / "PartiPrompts.tsv").read_bytes().decode("utf-8-sig")
    lines = [line.removesuffix("\r").split("\t") for line in raw.split("\n") if line]
    assert len(drafts) == 1632
    assert [d.request.prompt for d in drafts] == [line[0] for line in lines[1:]]
    assert [[v for _, v in d.variables] for d in drafts] == [[c for c in line[1:] if c] for line in lines[1:]]
    assert sum(d.request.prompt.startswith('"') for d in drafts) > 0


def test_parti_as_a_whole_table() -> None:
    """Its own header is ours in another case, and naming the file is enough."""
    path, log = EXAMPLES / "data" / "PartiPrompts.tsv", ProblemLog()
    defaults = {"model": "nano-banana-beta"}
    manifest = open_manifest(path, catalog=CATALOG, dialect="evolink", beside=Beside(defaults=defaults))
    assert len(list(manifest.drafts(log))) == 1632
    assert list(log) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: str(path.name))
def test_examples_are_sound(path: Path) -> None:
    """In both dialects, with ids that are unique on every file system."""
    for dialect in CATALOG.dialects:
        log = ProblemLog()
        drafts = list(open_manifest(path, catalog=CATALOG, dialect=dialect).drafts(log))
        assert list(log) == []
        ids = [fold_id(d.id) for d in drafts if d.id]
        assert drafts
        assert len(set(ids)) == len(ids)


def test_quickstart_has_twelve_named_rows() -> None:
    """Small enough to read, large enough to teach."""
    drafts, _ = read(EXAMPLES / "quickstart.yaml")
    assert len(drafts) == 12
    assert drafts[0].id == "lighthouse-ink-drawing-1-1"


WRONG = [
    ("model", "nano-bananna-beta", "unknown model"),
    ("model", "", "no model is given"),
    ("aspect_ratio", "16/9", "16:9"),
    ("aspect_ratio", "match_input_image", "not allowed"),
    ("resolution", "512", "0.5K"),
    ("resolution", "8K", "not allowed"),
    ("images", "local.png", "no such file"),
    ("images", "https://x.org/a.gif", ".jpeg .jpg .png .webp"),
    ("images", "|".join(["https://x.org/a.png"] * 15), "at most 14"),
    ("output_format", "png", "not offered"),
    ("web_search", "perhaps", "neither yes nor no"),
    ("image_search", "2", "neither yes nor no"),
    ("thinking_level", "deep", "not allowed"),
    ("prompt", "x" * 2001, "2001 characters"),
    ("prompt", "", "empty"),
    ("id", "../etc", "cannot be an id"),
    ("id", "nul", "Windows"),
    ("variants", "0", "whole number"),
    ("resolution", "1k", "'1K'"),
    ("aspect_ratio", "square", "not allowed"),
]


def test_a_hundred_wrong_rows_are_reported_at_once(tmp_path: Path) -> None:
    """Wrong values of every kind, each with its line, and the good rows are still read."""
    fields = ["prompt", "model", *sorted({field for field, _, _ in WRONG} - {"prompt", "model"})]
    lines = [",".join(fields)]
    for number in range(100):
        field, value, _ = WRONG[number % len(WRONG)]
        row = {"prompt": "a cat", "model": FLASH, field: value}
        lines += [
            ",".join(row.get(name, "") for name in fields),
            ",".join(["a dog", FLASH, *[""] * (len(fields) - 2)]),
        ]
    path = tmp_path / "wrong.csv"
    path.write_text("\n".join(lines) + "\n")
    drafts, problems = read(path)
    assert len(drafts) == 100
    assert len(problems) == 100
    for number, problem in enumerate(problems):
        field, _, part = WRONG[number % len(WRONG)]
        assert problem.startswith(f"wrong.csv:{2 * number + 2}: {field}: "), problem
        assert part in problem


WORDS = "prompt model rows matrix defaults blocks table id a nano-banana-beta"
MARKS = [
    ": ",
    ":\n",
    "\n",
    "\n  ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    '"',
    "'",
    "&a ",
    "*a",
    "<<: ",
    "!x ",
    "| ",
]
ODD = [b"\t", b",", b"\r\n", b"\xff", b"\x00", b"#", b"{a}", b"~", b"\xef\xbb\xbf", b"---\n", b"%"]
PIECES = [*(text.encode() for text in (*WORDS.split(), *MARKS)), *ODD]
TOKENS = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


@pytest.mark.parametrize("name", ["noise.yaml", "noise.csv", "noise.tsv"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(data=st.one_of(st.binary(max_size=200), TOKENS, TOKENS.map(b"prompt,model\n".__add__)))
def test_noise_is_never_a_traceback(tmp_path: Path, name: str, data: bytes) -> None:
    """Any bytes are a manifest or a `UsageError` with a sentence."""
    path = tmp_path / name
    path.write_bytes(data)
    log = ProblemLog()
    try:
        manifest = open_manifest(
            path, catalog=CATALOG, dialect="evolink", beside=Beside({"model": "nano-banana-beta"})
        )
        for draft in manifest.drafts(log):
            assert draft.request.prompt.strip()
    except UsageError:
        return


@given(st.text())
def test_doubled_braces_are_the_text(text: str) -> None:
    """Any text can be said in a template."""
    assert Template(text.replace("{", "{{").replace("}", "}}")).render({}) == text
