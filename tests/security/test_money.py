"""Somebody's state holds requests that are not what its rows say; they are not paid for."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nanobanana_batch.engine.settings import OnUnknown
from nanobanana_batch.errors import StateFailed
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import Night
from tests.unit.test_engine_run import night

STOLEN = json.dumps({"model": "the-dearest", "prompt": "of a stranger", "resolution": "4K"}).encode()


def a_lost_row(tmp_path: Path, provider: FakeProvider) -> Night:
    """One of three requests had no answer."""
    provider.on_submit = lambda n: "lost" if n == 1 else None
    it = night(tmp_path, provider, 3)
    it.run()
    assert it.statuses().count(RowStatus.UNKNOWN) == 1
    provider.on_submit = lambda n: None
    return it


def changed(folder: Path, statement: str, *values: object) -> None:
    """By somebody who knows SQLite."""
    with closing(sqlite3.connect(folder / STATE_NAME)) as db, db:
        db.execute(statement, values)


@pytest.mark.parametrize("phase", ["unknown", "intent"])
def test_a_stored_body_that_is_not_what_its_row_says_is_not_sent(tmp_path: Path, phase: str) -> None:
    """Neither by a person's word, who was told what the row says, nor under its key."""
    provider = FakeProvider(remembers_keys=False, lists_tasks=False)
    a_lost_row(tmp_path, provider)
    changed(tmp_path, "UPDATE requests SET body = ? WHERE phase = 'unknown'", STOLEN)
    changed(tmp_path, "UPDATE attempts SET phase = ? WHERE phase = 'unknown'", phase)
    paid = provider.submits
    said: list[str] = []
    again = night(tmp_path, provider, 3, on_unknown=OnUnknown.RESUBMIT)
    again.on_announce = said.append
    again.run()
    assert provider.submits == paid
    assert again.statuses().count(RowStatus.UNKNOWN) == 1
    assert [text for text in said if "not what the row asks for" in text] == said[-1:]


def test_nor_under_a_key_that_the_provider_honours(tmp_path: Path) -> None:
    """The key is a stranger's, too: the provider would make a task of it."""
    provider = FakeProvider(idempotency=Idempotency.HONOURED)
    a_lost_row(tmp_path, FakeProvider(remembers_keys=False, lists_tasks=False))
    statement = "UPDATE requests SET body = ?, idempotency_key = ? WHERE phase = 'unknown'"
    changed(tmp_path, statement, STOLEN, "k" * 48)
    night(tmp_path, provider, 3).run()
    assert provider.submits == 0


def test_the_very_same_is_sent_again(tmp_path: Path) -> None:
    """As ever."""
    provider = FakeProvider(remembers_keys=False, lists_tasks=False)
    a_lost_row(tmp_path, provider)
    again = night(tmp_path, provider, 3, on_unknown=OnUnknown.RESUBMIT)
    again.run()
    assert again.statuses() == [RowStatus.COMPLETED] * 3


@pytest.mark.parametrize(
    "change",
    ["credits_used = -1e9", "credits_reserved = -1", "credits_expected = -1", "sent = 0", "sent = -5"],
)
def test_a_state_cannot_make_room_in_a_budget(tmp_path: Path, change: str) -> None:
    """By what nobody is charged: less than nothing."""
    night(tmp_path, FakeProvider(), 3).run()
    changed(tmp_path, f"UPDATE requests SET {change}")
    with pytest.raises(StateFailed, match="what no run writes"):
        Store(tmp_path / STATE_NAME)


@pytest.mark.parametrize("change", ["number = 3 WHERE number = 2", "number = 0 WHERE number = 1"])
def test_a_state_cannot_leave_images_out(tmp_path: Path, change: str) -> None:
    """A further one would be taken for another, or named after it: their numbers have no gaps."""
    night(tmp_path, FakeProvider(images=2), 3).run()
    changed(tmp_path, f"UPDATE images SET {change} AND attempt = 2")
    with pytest.raises(StateFailed, match="what no run writes"):
        Store(tmp_path / STATE_NAME)
