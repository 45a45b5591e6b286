"""Submitting: what is sent, under which name, and what becomes of a request with another answer than yes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency
from nanobanana_batch.state.lifecycle import Phase
from tests.unit.beside import within
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import NEVER_S, night
from tests.unit.watched import Watched
from tests.unit.wire import BAD_REQUEST, accepted, failed, slow, unavailable

DONE, FAILED, UNKNOWN = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.UNKNOWN
HONOURED, UNPROVEN, IGNORED = Idempotency.HONOURED, Idempotency.UNPROVEN, Idempotency.IGNORED


def test_a_request_that_hangs_for_ever_is_cut_short_and_held(tmp_path: Path) -> None:
    """A POST without end does not keep its slot for ever, and its row may have been paid."""
    provider = FakeProvider(idempotency=IGNORED, lists_tasks=False, submit_s=5000.0)
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.took_s < 600
    assert it.statuses() == [UNKNOWN]


def test_a_name_that_a_stranger_has_is_not_reserved(tmp_path: Path) -> None:
    """The row's name is known before it is paid for, and is its own."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "row-0.webp").write_bytes(b"mine")
    it = night(tmp_path, FakeProvider(), 1)
    it.run()
    assert re.fullmatch(r"images/row-0~[0-9a-f]{10}\.png", str(it.rows()[0].path))


def test_a_row_keeps_its_name_when_it_is_made_again(tmp_path: Path) -> None:
    """The name that was reserved at the first attempt is that of the second."""
    provider = FakeProvider()
    provider.on_read = lambda n, task: failed(task.id) if task.id == "task-0" else None
    it = night(tmp_path, provider, 1)
    it.run()
    assert it.statuses() == [FAILED]
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.FAILED}))
    it.run()
    assert it.rows()[0].path == "images/row-0.png"


def test_a_request_that_may_be_repeated_is(tmp_path: Path) -> None:
    """A provider's "send it again" ends no row."""
    again = slow(words="once more")
    it = night(tmp_path, FakeProvider(on_submit=lambda n: again if n == 0 else None), 2)
    it.run()
    assert it.statuses() == [DONE] * 2


@pytest.mark.parametrize("trust", [IGNORED, HONOURED, UNPROVEN])
def test_after_a_503_nobody_asks_before_the_time_it_says(tmp_path: Path, trust: Idempotency) -> None:
    """Neither the next request, nor the repetition of this one, nor the question for its key."""
    provider = Watched(idempotency=trust, lists_tasks=False)
    provider.on_submit = lambda n: unavailable(300.0) if n == 0 else None
    it = night(tmp_path, provider, 2, submit_concurrency=1)
    it.run(within(NEVER_S))
    assert provider.submitted_at[1] - provider.submitted_at[0] >= 300
    assert all(at >= 300 for at in provider.probed_at)


def test_two_answers_at_once_with_one_task_are_one_answer(tmp_path: Path) -> None:
    """The second of two rows that are told the same task in the same moment is held, and the run goes on."""
    provider = FakeProvider(remembers_keys=False, lists_tasks=False)
    provider.on_submit = lambda n: accepted("task-0") if n == 1 else None
    it = night(tmp_path, provider, 2, submit_concurrency=2)
    it.run()
    assert sorted(it.statuses()) == [DONE, UNKNOWN]


def test_a_rejected_row_is_not_met_again_in_the_run_that_retries_it(tmp_path: Path) -> None:
    """`retry --only failed` tries each row once, however it ends."""
    provider = FakeProvider(on_submit=lambda n: BAD_REQUEST)
    it = night(tmp_path, provider, 5)
    it.run()
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.REJECTED}))
    it.run(within(NEVER_S))
    assert provider.submits == 10
