"""That two rows are known by the same number is found, however many rows there are."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.errors import BadSurroundings
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Request
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import repeats
from nanobanana_batch.state import roster as rosters
from nanobanana_batch.state.repeats import Numbers
from nanobanana_batch.state.roster import Roster

NUMBERS = st.lists(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2)))


@pytest.mark.parametrize("in_a_set", [0, 3, 1000], ids=["sorted", "some sorted", "in a set"])
@given(parts=NUMBERS)
@settings(deadline=None)
def test_two_that_are_the_same_are_found(parts: list[list[int]], in_a_set: int) -> None:
    """In whatever parts they come, and in whichever way they are looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "_IN_A_SET", in_a_set)
        numbers = Numbers()
        for part in parts:
            numbers.extend(array("q", part))
        every = [number for part in parts for number in part]
        assert numbers.take_repeats() == (len(set(every)) < len(every))


def test_of_too_many_none_is_kept() -> None:
    """An index has to tell then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "_MOST", 3)
        numbers = Numbers()
        for _ in range(3):
            numbers.extend(array("q", [1, 2]))
        assert len(numbers._kept) == 0
        assert numbers.take_repeats() is None


@pytest.mark.parametrize(
    ("second", "ids"),
    [("a", ["a", "b", "a-2"]), ("c", ["a", "b", "c"])],
    ids=["asks for the same", "is another one"],
)
@pytest.mark.parametrize("most", [2, 1000], ids=["by an index", "by numbers"])
def test_rows_are_settled_alike_in_both_ways(
    second: str, ids: list[str], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat has a key and an id of its own."""
    monkeypatch.setattr(repeats, "_MOST", most)
    drafts = [Draft(f"m:{n}", Request("m", prompt)) for n, prompt in enumerate(["a", "b", second])]
    with Roster(lambda draft, key: draft.prompt, fold_id) as roster:
        roster.add_all(drafts, ProblemLog())
        assert [row.id for row in roster.rows()] == ids
        assert len({row.key for row in roster.rows()}) == 3
        assert roster.repeated() == (second == "a")


def test_rows_are_found_by_id_while_they_are_walked_through() -> None:
    """The index that this needs is made then."""
    drafts = [Draft(f"m:{n}", Request("m", f"picture {n}"), f"Row {n}") for n in range(2500)]
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(drafts, ProblemLog())
        walk = roster.rows()
        first = next(walk)
        found = roster.find("ROW 2400")
        assert (first.position, found and found.position) == (0, 2400)
        assert [row.position for row in walk] == list(range(1, 2500))
        assert sorted(row.position for row in roster.shuffled()) == list(range(2500))
        assert roster.find("row 2500") is None


def test_an_index_for_which_there_is_no_room_is_told_as_the_temporary_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not the state's disk that is full."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all([Draft("m:1", Request("m", "a"))], ProblemLog())
        monkeypatch.setattr(rosters, "_INDEX", "CREATE INDEX no_room ON nothing ({column})")
        with pytest.raises(BadSurroundings, match="temporary file"):
            roster.find("a")
