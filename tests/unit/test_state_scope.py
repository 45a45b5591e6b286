"""A run pays for rows of its scope, and for no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanobanana_batch.model import RowStatus
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.scope import EVERY_ROW, Scope
from nanobanana_batch.state.store import Repeat, Store
from tests.unit.test_state_store import FACTS, PATH_TO, drafts, intent, take

ROWS = 6
SCOPES = st.builds(
    Scope,
    before=st.none() | st.integers(0, ROWS + 1),
    only=st.none() | st.frozensets(st.integers(0, ROWS + 1)),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rows; the second and the fifth have failed."""
    path = tmp_path_factory.mktemp("state") / "state.sqlite3"
    store = Store(path)
    take(store, drafts(*map(str, range(ROWS))))
    for attempt, row in enumerate((2, 5), 1):
        store.apply([intent(row, attempt=attempt), *(FACTS[name](attempt) for name in PATH_TO[Phase.FAILED])])
    store.close()
    return path


@given(scope=SCOPES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_every_question_about_a_scope_has_the_same_answer(path: Path, scope: Scope) -> None:
    """What is to be sent, what is to be repeated, and what is counted."""
    wanted = [position for position in range(ROWS) if scope.holds(position)]
    store = Store(path)
    new = [row.position for row in store.new_rows(-1, scope, ROWS)]
    again = store.rows_to_repeat(Repeat(frozenset({Phase.FAILED}), retryable_below=3), scope)
    store.close()
    with open_reader(path) as reader:
        counts = reader.counts(scope)
        failures = reader.failures(scope)
    assert new == [position for position in wanted if position not in (1, 4)]
    assert list(again) == [position + 1 for position in wanted if position in (1, 4)]
    assert (counts[RowStatus.PENDING], counts[RowStatus.FAILED]) == (len(new), len(again))
    assert sum(found.rows for found in failures) == len(again)


def test_a_row_that_has_left_the_manifest_is_in_no_scope() -> None:
    """Not even in that of every row."""
    assert not EVERY_ROW.holds(None)
    assert not Scope(only=frozenset({0})).holds(None)
