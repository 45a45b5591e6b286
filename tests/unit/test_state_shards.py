"""A manifest among several folders: each row in one of them, always the same, whatever is beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Request
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.shards import Shard, outside, read_shard, shard_of_folder
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

OF = 4


@contextmanager
def roster(prompts: Iterable[str], shard: Shard | None = None) -> Iterator[Roster]:
    """The rows of a manifest, or of a part of it."""
    with Roster(derive_id, fold_id) as found:
        drafts = [Draft(f"line {n}", Request("model-a", prompt), None) for n, prompt in enumerate(prompts)]
        found.add_all(drafts, ProblemLog())
        if shard is not None:
            found.keep(shard)
        yield found


def rows_of(prompts: list[str], shard: Shard | None = None) -> dict[str, tuple[int, str]]:
    """The keys of rows, with place and id."""
    with roster(prompts, shard) as found:
        return {row.key: (row.position, row.id) for row in found.rows()}


def shards() -> list[Shard]:
    """All of them."""
    return [Shard(number, OF) for number in range(1, OF + 1)]


PROMPTS = [f"a picture of the number {n % 900}" for n in range(1000)]
"""A hundred of them twice."""


def test_together_they_are_the_manifest_and_no_row_is_in_two() -> None:
    """With the key, the place and the id that each row has without shards, also where rows are equal."""
    parts = [rows_of(PROMPTS, shard) for shard in shards()]
    together: dict[str, tuple[int, str]] = {}
    for part in parts:
        assert not together.keys() & part.keys()
        together |= part
    assert together == rows_of(PROMPTS)


def test_each_has_about_as_many_rows() -> None:
    """A thousand by four, within what chance does."""
    assert all(180 < len(rows_of(PROMPTS, shard)) < 320 for shard in shards())


def test_a_row_that_is_put_in_front_moves_no_other_one() -> None:
    """It belongs to one shard; the others have what they had."""
    new = [set(rows_of(["a new one", *PROMPTS], shard)) for shard in shards()]
    before = [set(rows_of(PROMPTS, shard)) for shard in shards()]
    assert sum(one != other for one, other in zip(new, before, strict=True)) == 1


def test_what_a_part_asks_for_is_counted_of_its_own_rows() -> None:
    """A plan of a shard says what that costs, and not what all of them do."""
    for shard in shards():
        with roster(PROMPTS, shard) as found:
            assert found.kinds().total() == found.tally(("model",))[("model-a",)] == len(found)
            assert found.kinds().total() < len(PROMPTS)


def test_rows_that_ask_for_the_same_stay_together() -> None:
    """Which of them is which follows what was made; so one folder has to know all of them."""
    prompts = ["twice"] * 5
    assert Counter(len(rows_of(prompts, shard)) for shard in shards()) == {0: 3, 5: 1}


def test_a_state_remembers_its_shard_and_its_rows_are_told_from_others(tmp_path: Path) -> None:
    """And what is not in it is not in its state."""
    store = Store(tmp_path / "state.sqlite3")
    with roster(PROMPTS, Shard(2, OF)) as found:
        store.take_manifest(Taken(found, "m", ()))
        expected = len(found)
    assert store.meta("shard") == "2/4"
    with roster(PROMPTS) as whole:
        keys = [(row.key, None) for row in whole.rows() if row.key not in _twins(whole)]
    store.close()
    assert outside(Shard(2, OF), keys) == 900 - outside(Shard(2, OF), []) - _first_ones(2)
    assert expected == len(rows_of(PROMPTS, Shard(2, OF)))


def _twins(whole: Roster) -> set[str]:
    """Keys of rows that ask for the same as an earlier one."""
    seen: set[str] = set()
    return {
        row.key
        for row in whole.rows()
        if row.request.prompt in seen or seen.add(row.request.prompt)  # type: ignore[func-returns-value]
    }


def _first_ones(number: int) -> int:
    return len(rows_of(PROMPTS[:900], Shard(number, OF)))


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "1/", "a/b", "-1/4", "1/4/2", "", "01/4"])
def test_what_is_no_shard_is_none(text: str) -> None:
    """Nobody's money is divided by a guess."""
    with pytest.raises(ValueError, match="is no shard such as 1/4"):
        read_shard(text)


def test_a_shard_is_read_as_it_is_written_and_names_its_folder() -> None:
    """Also by the folder's name."""
    shard = read_shard(" 3/16 ")
    assert str(shard) == "3/16"
    assert shard_of_folder(shard.folder_name) == shard
    assert shard_of_folder("shard-17-of-16") is None
    assert shard_of_folder("shards") is None
