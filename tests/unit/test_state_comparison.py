"""Before a manifest is taken in, it is known of each of its rows what a run would do with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Request, RowStatus
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.comparison import TO_PAY, Comparison, Prospect
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.prices import price_class
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.scope import EVERY_ROW, Scope
from nanobanana_batch.state.store import Repeat, Store
from tests.unit.test_state_store import FACTS, PATH_TO, drafts, intent, take

NEW, CHANGED, AGAIN, DONE = Prospect.NEW, Prospect.CHANGED, Prospect.AGAIN, Prospect.DONE


@contextmanager
def compared(path: Path, rows: list[Draft], max_attempts: int = 3) -> Iterator[Comparison]:
    """Rows beside a state."""
    problems = ProblemLog()
    with Roster(derive_id, fold_id) as roster, open_reader(path) as reader:
        roster.add_all(rows, problems)
        problems.raise_if_any()
        yield reader.compare(roster, max_attempts)


def prospects(path: Path, rows: list[Draft], max_attempts: int = 3) -> list[Prospect]:
    """How each row stands."""
    with compared(path, rows, max_attempts) as comparison:
        found = list(comparison.prospects())
        assert comparison.counts() == Counter(found)
        assert [comparison.prospect(position) for position in range(len(rows))] == found
    return found


def state(path: Path, rows: list[Draft], *done: int) -> Path:
    """A state of these rows, some of them with an image."""
    store = Store(path / "state.sqlite3")
    take(store, rows)
    for row in done:
        its = [FACTS[name](row) for name in PATH_TO[Phase.SAVED]]
        store.apply([intent(row, attempt=row, stem=f"stem-{row}"), *its])
    store.close()
    return path / "state.sqlite3"


@pytest.mark.parametrize(
    ("phase", "prospect"),
    [
        (Phase.INTENT, Prospect.UNKNOWN),
        (Phase.NOT_SENT, NEW),
        (Phase.UNKNOWN, Prospect.UNKNOWN),
        (Phase.REJECTED, Prospect.FAILED),
        (Phase.ACCEPTED, Prospect.RUNNING),
        (Phase.READY, Prospect.READY),
        (Phase.SAVED, DONE),
        (Phase.FAILED, AGAIN),
        (Phase.REFUSED, Prospect.REFUSED),
        (Phase.EXPIRED, Prospect.EXPIRED),
    ],
)
def test_a_row_that_was_sent_stands_as_its_latest_attempt(
    tmp_path: Path, phase: Phase, prospect: Prospect
) -> None:
    """What may have been paid is never to be paid for."""
    store = Store(tmp_path / "state.sqlite3")
    take(store, drafts("0"))
    store.apply([intent(1), *(FACTS[name](1) for name in PATH_TO[phase])])
    store.close()
    assert prospects(tmp_path / "state.sqlite3", drafts("0", "1")) == [prospect, NEW]


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
def test_a_plan_pays_for_exactly_what_the_engine_sends(tmp_path: Path, max_attempts: int) -> None:
    """Failed rows with one and two tasks, final ones, and ones that were never sent."""
    path = tmp_path / "state.sqlite3"
    store, rows = Store(path), drafts("0", "1", "2", "3", "4")
    take(store, rows)
    store.apply([intent(1), FACTS["Accepted"](1), FACTS["Failed"](1)])
    store.apply([intent(2, attempt=2), FACTS["Accepted"](2), FACTS["Failed"](2)])
    store.apply([intent(2, attempt=3, number=2), FACTS["Accepted"](3), FACTS["Failed"](3)])
    store.apply(
        [
            intent(3, attempt=4),
            FACTS["Accepted"](4),
            facts.Failed(4, "service_error", "no", False, False, 5.0),
        ]
    )
    store.apply([intent(4, attempt=5), FACTS["NotSent"](5)])
    which = [Repeat(frozenset({Phase.NOT_SENT})), Repeat(frozenset({Phase.FAILED}), False, max_attempts)]
    sent = {row for each in which for row in store.rows_to_repeat(each, EVERY_ROW)}
    sent |= {row.row for row in store.new_rows(-1, EVERY_ROW, 9)}
    with open_reader(path) as reader:
        assert reader.to_pay(EVERY_ROW, max_attempts).total() == len(sent)
        assert reader.to_pay(Scope(only=frozenset({3, 4})), max_attempts).total() == 2
    store.close()
    found = prospects(path, rows, max_attempts)
    assert {n for n, prospect in enumerate(found, 1) if prospect in TO_PAY} == sent


def test_an_edited_row_is_known_by_its_id(tmp_path: Path) -> None:
    """Only if its old request is gone; a row that was never sent has nothing to keep."""
    path = state(tmp_path, drafts("0", "1", "2"), 1, 2)
    edited = drafts("x", "1", "y", ids=("row-0", "row-1", "row-2"))
    assert prospects(path, edited) == [CHANGED, DONE, NEW]


def test_a_row_that_was_renamed_is_not_changed_and_its_name_may_be_taken(tmp_path: Path) -> None:
    """The old request is still in the manifest, so that the new row is new."""
    path = state(tmp_path, drafts("0"), 1)
    assert prospects(path, drafts("0", "1", ids=("other", "row-0"))) == [DONE, NEW]


def unnamed(*prompts: str) -> list[Draft]:
    """Rows whose ids are made of what they ask for, each in its own line."""
    return [
        Draft(f"m.csv:{n}", Request("model-a", prompt), variables=(("n", ""),))
        for n, prompt in enumerate(prompts)
    ]


def test_an_edited_row_without_an_id_is_known_by_its_place(tmp_path: Path) -> None:
    """Its derived id has changed with it."""
    path = state(tmp_path, unnamed("a", "b"), 1, 2)
    assert prospects(path, unnamed("a", "b, edited")) == [DONE, CHANGED]


def test_inserting_a_row_changes_none(tmp_path: Path) -> None:
    """All below it stand in other places, and are done."""
    path = state(tmp_path, unnamed("a", "b"), 1, 2)
    assert prospects(path, unnamed("new", "a", "b")) == [NEW, DONE, DONE]


def test_a_named_row_in_the_place_of_another_is_new(tmp_path: Path) -> None:
    """Whoever gives ids says with them which row is which."""
    path = state(tmp_path, drafts("0"), 1)
    other = [Draft("test:0", Request("model-a", "z"), "someone-else", variables=(("n", ""),))]
    assert prospects(path, other) == [NEW]


def test_what_is_gone_was_sent(tmp_path: Path) -> None:
    """A row that left without ever having been sent is nobody's concern."""
    path = state(tmp_path, drafts("0", "1", "2"), 1)
    with compared(path, drafts("7")) as comparison:
        assert comparison.gone() == Counter({RowStatus.COMPLETED: 1})


def gone(path: Path, rows: list[Draft]) -> int:
    """How many requests no row stands for any more."""
    with compared(path, rows) as comparison:
        return comparison.gone().total()


def test_what_a_changed_row_stands_for_is_not_gone(tmp_path: Path) -> None:
    """It is counted once, as changed: by its id or by its place."""
    (tmp_path / "named").mkdir()
    path = state(tmp_path / "named", drafts("0", "1"), 1, 2)
    assert gone(path, drafts("x", "1", ids=("row-0", "row-1"))) == 0
    assert gone(path, drafts("x", ids=("row-0",))) == 1
    path = state(tmp_path, unnamed("a", "b"), 1, 2)
    assert gone(path, unnamed("a", "b, edited")) == 0
    assert gone(path, unnamed("a, edited")) == 1


def test_in_one_place_as_many_are_gone_as_changed_rows_do_not_stand_for(tmp_path: Path) -> None:
    """All rows of a product stand in the same place."""
    place = [replace(draft, source="m.yaml:3") for draft in unnamed("a", "b", "c")]
    path = state(tmp_path, place, 1, 2, 3)
    edited = replace(place[0], request=Request("model-a", "a, edited"))
    assert gone(path, [edited]) == 2
    assert gone(path, [edited, *place[1:]]) == 0


def test_only_what_a_run_pays_for_is_left_of_the_prices(tmp_path: Path) -> None:
    """Each kind of request for itself."""
    large = [replace(draft, request=replace(draft.request, resolution="4K")) for draft in drafts("3", "4")]
    rows = [*drafts("0", "1"), *large]
    path = state(tmp_path, rows, 1, 3)
    with compared(path, rows) as comparison:
        assert comparison.left_alone() == Counter(
            [price_class(rows[0].request), price_class(large[0].request)]
        )


FULL = Request("m", "p", "1:1", "2K", ("https://x/a.png", "https://x/b.png"), "png", True, False, "high")


@pytest.mark.parametrize(
    "request_",
    [
        Request("m", "p"),
        FULL,
        replace(FULL, web_search=None, image_search=True, images=()),
        replace(FULL, resolution=None, thinking_level=None, web_search=False),
        replace(FULL, extra=(("quality", "high"), ("seed", 7)), priced_by='{"quality": "high"}'),
    ],
)
def test_a_query_and_the_budget_see_the_same_kind(tmp_path: Path, request_: Request) -> None:
    """A price that was learnt is found again."""
    path = tmp_path / "state.sqlite3"
    store = Store(path)
    row = Draft("test:0", request_, "a", variables=(("n", ""),))
    take(store, [row])
    store.apply([intent(1), FACTS["Accepted"](1), facts.Ready(1, ("https://x",), 9.0, 7.5, 1.0)])
    kind = price_class(request_)
    assert store.prices() == {kind: 7.5}
    store.close()
    with open_reader(path) as reader, Roster(derive_id, fold_id) as roster:
        roster.add_all([row], ProblemLog())
        assert reader.prices() == {kind: 7.5}
        assert roster.kinds() == Counter([kind])


def test_a_setting_that_chooses_is_priced_and_one_that_varies_is_not(tmp_path: Path) -> None:
    """Each seed would be a kind of its own, and its first request go alone; a quality may cost more."""
    rows = [
        Draft(
            f"test:{n}",
            Request("m", "p", extra=(("q", q), ("seed", n)), priced_by=f'{{"q": "{q}"}}'),
            f"r{n}",
        )
        for n, q in enumerate(["low", "low", "high"])
    ]
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(rows, ProblemLog())
        assert sorted(roster.kinds().values()) == [1, 2]
    assert len({price_class(row.request) for row in rows}) == 2


def test_a_comparison_writes_nothing(tmp_path: Path) -> None:
    """It may be made while a run writes the state."""
    path = state(tmp_path, drafts("0", "1"), 1)
    before = path.read_bytes()
    assert prospects(path, drafts("1", "2")) == [NEW, NEW]
    assert path.read_bytes() == before
