"""Lines of rows for which nothing was sent are as of any row, and no row is missing or there twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.files.standing import Look
from nanobanana_batch.model import RowStatus
from nanobanana_batch.results import cells_of, column_names, csv_pieces, written
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.reports import RowReport, Waiting
from nanobanana_batch.state.scope import EVERY_ROW
from nanobanana_batch.state.store import Store
from nanobanana_batch.waiting_lines import WaitingLines
from tests.unit.test_results_csv import ODD
from tests.unit.test_state_store import drafts, intent, take

VARIABLES = ["mood", "100%", "prompt"]
TEXTS = st.one_of(
    st.sampled_from(["", *ODD, "\ue0000\ue000", "%s"]),
    st.text(st.characters(codec="utf-8"), max_size=9),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The state of an output folder."""
    store = Store(tmp_path / "state.sqlite3")
    yield store
    store.close()


def line_of(row: RowReport) -> str:
    """As any row is written."""
    return written([cells_of(row, VARIABLES)]).decode()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "id": TEXTS,
                "prompt": TEXTS,
                "model": st.sampled_from(["m", "a,b", "\ue0000\ue000", "re\rturn", '"', "%d"]),
                "variables": st.dictionaries(st.sampled_from([*VARIABLES, "other"]), TEXTS),
                "variant": st.integers(1, 3),
                "first": st.booleans(),
            }
        ),
        max_size=6,
    )
)
def test_a_waiting_row_has_the_line_that_any_row_has(rows: list[dict[str, object]]) -> None:
    """Whatever its texts are; what has to be quoted is, and what stands between them is each row's own."""
    lines = WaitingLines(VARIABLES, line_of)
    for row in rows:
        asked = [("prompt", row["prompt"]), ("model", row["model"]), ("web_search", True)]
        request = json.dumps(dict(asked if row["first"] else asked[::-1]), ensure_ascii=False)
        variables, variant = json.dumps(row["variables"]), int(str(row["variant"]))
        waiting = Waiting(str(row["id"]), "r1-0f", request, variant, variables, "m:1")
        assert lines.line(waiting) == line_of(waiting.report())


def test_the_texts_around_are_made_once(store: Store, tmp_path: Path) -> None:
    """Else nothing would be won."""
    asked: list[str] = []

    def told(row: RowReport) -> str:
        asked.append(row.id)
        return line_of(row)

    take(store, drafts(*"abcdef"))
    lines = WaitingLines(VARIABLES, told)
    with open_reader(tmp_path / "state.sqlite3") as reader:
        found = [lines.line(row) for row in reader.rows_as_kept() if isinstance(row, Waiting)]
    assert len(found) == 6
    assert len(asked) == 1


@pytest.mark.parametrize("sent", [(), (1,), (3,), (6,), (1, 2, 5), (1, 2, 3, 4, 5, 6)])
def test_sent_rows_stand_between_waiting_ones_in_their_order(
    store: Store, tmp_path: Path, sent: tuple[int, ...]
) -> None:
    """The file is what one row after the other gives."""
    take(store, drafts(*"abcdef"))
    store.apply([intent(row, row) for row in sent])
    with open_reader(tmp_path / "state.sqlite3") as reader:
        rows = list(reader.rows())
        assert sum(row.status is not RowStatus.PENDING for row in rows) == len(sent)
        whole = written([column_names(["n"]), *(cells_of(row, ["n"]) for row in rows)])
        assert b"".join(csv_pieces(reader, Look(tmp_path))) == whole


def test_a_row_that_is_sent_meanwhile_is_neither_lost_nor_told_twice(store: Store, tmp_path: Path) -> None:
    """`results` may be asked for while a run goes on."""
    take(store, drafts(*"abc"))
    with open_reader(tmp_path / "state.sqlite3") as reader:

        def sent(query: str) -> None:
            if "attempt IS NULL ORDER BY" in query:
                store.apply([intent(2)])

        db: sqlite3.Connection = reader._db
        db.set_trace_callback(sent)
        rows = list(reader.rows_as_kept())
        db.set_trace_callback(None)
    assert [row.id for row in rows] == ["row-a", "row-b", "row-c"]
    assert [row.row for row in store.new_rows(-1, EVERY_ROW, 9)] == [1, 3]


@pytest.mark.parametrize(
    "damage", ['request = \'{"prompt": "a", "no": 1}\'', "request = '3'", "variables = '[1]'"]
)
def test_a_damaged_row_is_told_as_such(store: Store, tmp_path: Path, damage: str) -> None:
    """In the words in which it is told where each row is looked at."""
    take(store, drafts("a"))
    with sqlite3.connect(tmp_path / "state.sqlite3") as db:
        db.execute(f"UPDATE rows SET {damage}")
    with open_reader(tmp_path / "state.sqlite3") as reader:
        with pytest.raises(StateFailed) as told:
            list(reader.rows())
        with pytest.raises(StateFailed) as refused:
            list(csv_pieces(reader, Look(tmp_path)))
    assert str(refused.value) == str(told.value)


def test_a_request_with_two_prompts_is_written_as_it_is_read() -> None:
    """The last of them is what is sent."""
    lines = WaitingLines(VARIABLES, line_of)
    for first in "ba":
        request = json.dumps({"prompt": first, "model": "m"})[:-1] + ', "prompt": "b"}'
        waiting = Waiting("x", "r1-0f", request, 1, "{}", "m:1")
        assert waiting.report().request.prompt == "b"
        assert lines.line(waiting) == line_of(waiting.report())
