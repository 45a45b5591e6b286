"""Rows that are not looked at one by one are those that looking at each gives, and so is what is wrong."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanobanana_batch.errors import TooManyRows, UsageError
from nanobanana_batch.jobs import order as order_module
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.manifest.read.table import most_lines
from nanobanana_batch.model import PlainDrafts, row_key
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state.roster import Roster

COLUMNS = ("id", "prompt", "model", "aspect_ratio", "resolution", "web_search", "mood", "images", "variants")
CELLS = st.one_of(
    st.just(""), st.sampled_from([" ", "a cat", "a {mood} cat", "über", "\u3164", "x" * 2001, "con"])
)
ROWS = st.fixed_dictionaries(
    {
        "id": st.one_of(CELLS, st.sampled_from(["a", "b-1", "A", "com1", "a.", "ﬁ", "n" * 121])),
        "prompt": st.one_of(
            CELLS, st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=9)
        ),
        "model": st.sampled_from(["", "nano-banana-beta", "gemini-3.1-flash-image-preview", "no such"]),
        "aspect_ratio": st.sampled_from(["", "1:1", "16:9", "1:7", "match_input_image"]),
        "resolution": st.sampled_from(["", "2K", "9K"]),
        "web_search": st.sampled_from(["", "yes", "no", "perhaps"]),
        "mood": CELLS,
        "images": st.sampled_from(["", "", "https://x.org/1.png", "gone.png"]),
        "variants": st.sampled_from(["", "", "2", "none"]),
    }
)


def said_of(path: Path, defaults: dict[str, str], *, lightly: bool) -> tuple[object, ...]:
    """The rows that a manifest gives, as they are kept, and all that is said of them."""
    try:
        manifest = open_ordered(Order(path, defaults=defaults))
    except UsageError as error:
        return (str(error),)
    log = ProblemLog()
    drafts = manifest.light_drafts(log) if lightly else manifest.drafts(log, keeps_named=True)
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(drafts, log)
        rows = list(roster.columns())
        sums = roster.kinds(), roster.tally(("aspect_ratio", "model")), roster.edits(), roster.repeated()
        return rows, roster.digest, sums, log.total, [str(p) for p in log], manifest.warnings


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ROWS, max_size=6),
    st.sets(st.sampled_from(COLUMNS[2:])),
    st.fixed_dictionaries(
        {}, optional={"resolution": st.just("2K"), "mood": st.just("calm"), "prompt": st.just("z")}
    ),
)
def test_what_is_read_lightly_is_what_looking_at_each_row_gives(
    rows: list[dict[str, str]], named: set[str], defaults: dict[str, str]
) -> None:
    """Keys, ids, order, problems with their places, and warnings, over tables with all kinds of faults."""
    names = [name for name in COLUMNS if name in named | {"id", "prompt"}]
    given = {"model": "nano-banana-beta", **defaults} if "model" not in named else defaults
    text = io.StringIO(newline="")
    csv.writer(text).writerows([names, *([row[name] for name in names] for row in rows)])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        assert said_of(path, given, lightly=True) == said_of(path, given, lightly=False)


def test_nearly_all_rows_of_a_plain_table_are_read_lightly(tmp_path: Path) -> None:
    """Else this would prove nothing; one with something to find out is looked at."""
    path = tmp_path / "t.csv"
    path.write_text(
        "id,prompt,model,mood\na,one,nano-banana-beta,calm\n,zwei,nano-banana-beta,\n"
        "c,a {cat},nano-banana-beta,\nd,four,nano-banana-beta,\n"
    )
    manifest = open_ordered(Order(path))
    drafts = list(manifest.light_drafts(ProblemLog()))
    assert [len(d.prompts) if isinstance(d, PlainDrafts) else 0 for d in drafts] == [2, 0, 1]


def test_a_light_row_has_the_key_of_its_whole_request(tmp_path: Path) -> None:
    """By which it is known what was paid for it."""
    path = tmp_path / "t.csv"
    path.write_text(
        'id,prompt,model,resolution\na,"Ä ""x"" \\ ☂",gemini-3.1-flash-image-preview,2K\n', encoding="utf-8"
    )
    manifest = open_ordered(Order(path))
    (whole,) = manifest.drafts(ProblemLog())
    (light,) = manifest.light_drafts(ProblemLog())
    assert isinstance(light, PlainDrafts)
    assert light.written()[0] == [row_key(whole.request, 1)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_has_no_more_rows_than_ends_of_lines(tmp_path: Path, end: str) -> None:
    """Whichever they are; what is not beyond that number need not be counted."""
    path = tmp_path / "t.csv"
    path.write_bytes(end.join(["prompt", "a", "b", "c"]).encode())
    manifest = open_ordered(Order(path, defaults={"model": "nano-banana-beta"}))
    most = most_lines(path)
    assert most is not None
    assert most >= manifest.count() == 3
    assert manifest.has_at_most(most)
    assert not manifest.has_at_most(2)


@pytest.mark.parametrize("more", [",variants\na,1000\n", ""])
def test_a_table_that_may_have_too_many_rows_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    """Rows that are wanted several times are more than its lines."""
    monkeypatch.setattr(order_module, "MAX_ROWS", 4)
    path = tmp_path / "t.csv"
    path.write_text(f"prompt{more}" if more else "prompt\n" + "a\n" * 5)
    manifest = open_ordered(Order(path, defaults={"model": "nano-banana-beta"}))
    assert not manifest.has_at_most(4)
    with pytest.raises(TooManyRows) as refused, expanded(manifest):
        pass
    assert refused.value.rows == (1000 if more else 5)


def test_rows_of_json_are_read_lightly_as_well(tmp_path: Path) -> None:
    """As far as no cell is a list."""
    path = tmp_path / "t.jsonl"
    path.write_text('{"prompt": "one", "mood": "calm"}\n{"prompt": "two", "mood": null}\n')
    defaults = {"model": "nano-banana-beta"}
    assert said_of(path, defaults, lightly=True) == said_of(path, defaults, lightly=False)
    drafts = open_ordered(Order(path, defaults=defaults)).light_drafts(ProblemLog())
    assert [len(draft.prompts) for draft in drafts if isinstance(draft, PlainDrafts)] == [2]


BROKEN = (
    "a,b,c,d,e",
    "\x01bad",
    '"open',
    'x"y',
    ",,",
    "",
    "r,a {mood} cat,",
    "r, ,",
    "r1,again,calm",
    "short",
)


@settings(max_examples=30, deadline=None)
@example([(200, "a,b,c,d,e"), (100, "r, ,")])
@given(st.lists(st.tuples(st.integers(0, 2300), st.sampled_from(BROKEN)), max_size=5))
def test_problems_come_in_the_order_of_the_rows(broken: list[tuple[int, str]]) -> None:
    """However many rows are read at once: those of the file's form among those of its rows."""
    lines = [f"r{n},picture {n}," + ("calm" if n % 3 else "") for n in range(2300)]
    for at, line in broken:
        lines.insert(at, line)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text("\n".join(["id,prompt,mood", *lines]), encoding="utf-8")
        given = {"model": "nano-banana-beta"}
        assert said_of(path, given, lightly=True) == said_of(path, given, lightly=False)
