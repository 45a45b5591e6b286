"""Which picture was made of which, over several folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.collection.lineage import Lineage, Step, sources_of
from nanobanana_batch.files.standing import Stands
from nanobanana_batch.model import LocalImage, Request, RowStatus


def entry(id: str, sources: str = "", made: str = "", folder: str = "run", prompt: str = "") -> Entry:
    """A row that edits these pictures, named by their content; `made`: what its own are."""
    files = tuple(
        LocalImage(f"in/{one}.png", f"/was/{one}.png", one, 1, "image/png")
        for one in sources.split()
        if not one.startswith("http")
    )
    names = tuple(one if one.startswith("http") else f"in/{one}.png" for one in sources.split())
    return Entry(
        folder=Path("/out", folder),
        folder_name=folder,
        id=id,
        row_key=f"r1-{id}",
        status=RowStatus.COMPLETED,
        request=Request("m", prompt or f"draw {id}", images=names, files=files),
        variables={},
        variant=1,
        source="x:1",
        pictures=tuple(
            Picture(n, f"images/{id}~{n}.png", Path("/out", folder), "image/png",
                    1, 1, 1, content, Stands.AS_SAVED, None)
            for n, content in enumerate(made.split(), 1)
        ),
        credits=None, task_id=None, error_code=None, error_message=None, duplicate_of=None, note="",
        provider=None, attempts=1, intended_at=None, accepted_at=None, answered_at=None, ended_at=None,
    )  # fmt: skip


def test_a_chain_over_three_folders_is_counted_from_its_first_picture() -> None:
    """The order of the folders does not matter."""
    rows = [
        entry("third", "cc", "dd", "c"),
        entry("first", "aa", "bb", "a"),
        entry("other", "aa", "b2", "a"),
        entry("second", "bb", "cc", "b"),
    ]
    with Lineage(rows) as lineage:
        assert [lineage.step(row) for row in rows] == [
            Step("aa", 3, "b/second"),
            Step("aa", 1, ""),
            Step("aa", 1, ""),
            Step("aa", 2, "a/first"),
        ]
        assert len({lineage.family(row) for row in rows}) == 1


def test_an_edit_of_a_drawn_picture_is_the_first_turn() -> None:
    """The drawing is no edit, and its own prompt is not asked about again."""
    drawn, edit = entry("drawn", made="aa"), entry("edit", "aa", "bb")
    with Lineage([drawn, edit]) as lineage:
        assert lineage.step(drawn) == Step("", 0, "")
        assert lineage.step(edit) == Step("aa", 1, "run/drawn")
        assert lineage.family(drawn) == lineage.family(edit)


def test_the_same_instruction_for_other_pictures_does_not_bind_them() -> None:
    """Else ten instructions for a hundred photos would be one family, and no split would be possible."""
    rows = [entry("a", "aa", "a1", prompt="snow"), entry("b", "bb", "b1", prompt="snow")]
    with Lineage(rows) as lineage:
        assert lineage.family(rows[0]) != lineage.family(rows[1])


def test_drawings_of_one_prompt_stay_together() -> None:
    """Also when one of them has no picture yet."""
    rows = [
        entry("a", made="a1", prompt="cat"),
        entry("b", prompt="cat"),
        entry("c", made="c1", prompt="dog"),
    ]
    with Lineage(rows) as lineage:
        first, second, third = map(lineage.family, rows)
    assert first == second != third


def test_of_several_sources_the_first_that_was_made_here_says_which_chain_it_is() -> None:
    """All the same they all stay together."""
    rows = [entry("a", "aa", "bb"), entry("b", "bb", "cc"), entry("both", "zz bb cc", "dd")]
    with Lineage(rows) as lineage:
        assert lineage.step(rows[2]) == Step("aa", 2, "run/a")
        assert len({lineage.family(row) for row in rows}) == 1


def test_links_are_told_apart_by_what_they_are() -> None:
    """Nobody looks behind them."""
    rows = [entry("a", "https://x/1"), entry("b", "https://x/1"), entry("c", "https://x/2")]
    with Lineage(rows) as lineage:
        chains = [lineage.step(row).chain for row in rows]
        families = [lineage.family(row) for row in rows]
    assert chains[0] == chains[1] != chains[2]
    assert families[0] == families[1] != families[2]
    assert sources_of(rows[0].request)[0].path is None


def test_an_edit_that_gave_back_its_source_ends() -> None:
    """So do two that made each other's."""
    rows = [entry("same", "aa", "aa"), entry("x", "yy", "xx"), entry("y", "xx", "yy")]
    with Lineage(rows) as lineage:
        assert [lineage.step(row) for row in rows] == [
            Step("aa", 1, ""),
            Step("yy", 1, ""),
            Step("yy", 2, "run/x"),
        ]


def test_a_picture_is_found_by_its_content() -> None:
    """In the order of the rows."""
    rows = [entry("a", made="aa", folder="one"), entry("b", made="bb aa", folder="two")]
    with Lineage(rows) as lineage:
        found = [str(path) for path in lineage.files_with("aa")]
    assert found == ["/out/one/images/a~1.png", "/out/two/images/b~2.png"]


def test_a_row_of_another_run_is_unknown() -> None:
    """That would be our mistake."""
    with Lineage([]) as lineage, pytest.raises(KeyError):
        lineage.step(entry("a"))
