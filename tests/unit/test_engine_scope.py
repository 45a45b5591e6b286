"""A run over certain rows pays for no other, and looks after everything that was paid for before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Unknown
from nanobanana_batch.state.scope import Scope
from tests.unit.beside import stop_now_at
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import Night, night
from tests.unit.wire import failed

DONE, PENDING, UNKNOWN, FAILED = RowStatus.COMPLETED, RowStatus.PENDING, RowStatus.UNKNOWN, RowStatus.FAILED
PROMPTS = [f"picture {n}" for n in range(8)]


def only(*positions: int, **changes: object) -> Settings:
    """A run over these rows."""
    return replace(Settings(**changes), scope=Scope(only=frozenset(positions)))  # type: ignore[arg-type]


def test_only_the_chosen_rows_are_sent(tmp_path: Path) -> None:
    """Wherever they stand; a second run over the same rows sends nothing."""
    it = Night(tmp_path, FakeProvider(), PROMPTS, settings=only(1, 6, 7))
    it.run()
    it.run()
    assert it.statuses() == [PENDING, DONE, PENDING, PENDING, PENDING, PENDING, DONE, DONE]
    assert len(it.provider.tasks) == 3


def test_running_tasks_of_other_rows_are_collected(tmp_path: Path) -> None:
    """They are paid for."""
    it = Night(tmp_path, FakeProvider(latency_s=500.0), PROMPTS[:3])

    it.run(stop_now_at(5.0))
    assert it.statuses() == [RowStatus.RUNNING] * 3
    it.prompts, it.settings = PROMPTS, only(5)
    it.run()
    assert it.statuses() == [DONE, DONE, DONE, PENDING, PENDING, DONE, PENDING, PENDING]
    assert len(it.provider.tasks) == 4


def test_an_unknown_request_of_another_row_is_not_sent_again(tmp_path: Path) -> None:
    """Not even when the person asks for such requests to be sent: they are about the chosen rows."""
    provider = FakeProvider(lists_tasks=False, remembers_keys=False)
    provider.on_submit = lambda n: Unknown("reset") if n == 0 else None
    it = Night(tmp_path, provider, PROMPTS[:1], settings=Settings(resolve_tries=0))
    it.run()
    assert it.statuses() == [UNKNOWN]
    it.prompts, it.settings = PROMPTS[:3], only(2, on_unknown=OnUnknown.RESUBMIT, resolve_tries=0)
    it.run()
    assert it.statuses() == [UNKNOWN, PENDING, DONE]
    assert len(provider.tasks) == 1


def test_failed_rows_get_another_attempt_only_if_they_are_chosen(tmp_path: Path) -> None:
    """Each costs as much as a new one."""
    provider = FakeProvider(on_read=lambda n, task: failed(task.id, "service_error"))
    it = Night(tmp_path, provider, PROMPTS[:2], settings=Settings(max_attempts=1))
    it.run()
    assert it.statuses() == [FAILED, FAILED]
    provider.on_read = lambda n, task: None
    it.settings = only(1)
    it.run()
    assert it.statuses() == [FAILED, DONE]
    assert len(provider.tasks) == 3


def test_only_the_first_rows_are_sent_under_a_limit(tmp_path: Path) -> None:
    """--limit counts rows of the manifest."""
    provider = FakeProvider()
    it = night(tmp_path, provider, 30, scope=Scope(before=7))
    it.run()
    assert it.statuses() == [DONE] * 7 + [PENDING] * 23
