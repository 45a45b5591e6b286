"""A shard's process and who has started it: what is heard late, and what is not heard at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

import anyio
import pytest

from nanobanana_batch.jobs.procs import child
from nanobanana_batch.jobs.procs.child import Wire
from nanobanana_batch.sharing.link import LinkLost
from nanobanana_batch.sharing.values import Grant, Report

LONG_S = 60.0


@dataclass
class Ends:
    """A shard's end, and the other one."""

    wire: Wire
    questions: IO[bytes]
    answers: IO[bytes]

    def answer(self, concurrency: int) -> None:
        """To the question that is out."""
        self.answers.write(Grant(concurrency=concurrency).as_json().encode() + b"\n")

    def heard(self) -> Report:
        """The next question."""
        kind, value = json.loads(self.questions.readline())
        assert kind == "report"
        return Report.from_json(value)


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Nobody answers by himself."""
    heard, answers = os.pipe()
    questions, told = os.pipe()
    with (
        os.fdopen(heard, "rb") as hears,
        os.fdopen(told, "wb") as tells,
        os.fdopen(questions, "rb") as asked,
        os.fdopen(answers, "wb", buffering=0) as answered,
    ):
        yield Ends(Wire(hears, tells, 1), asked, answered)


def test_who_is_suspended_does_not_answer_and_is_asked_once(ends: Ends) -> None:
    """So the shard knows that it hears nothing; the answer counts when it comes."""
    report = Report(1, "a")

    async def check() -> None:
        ends.wire.answers_within_s = 0.0
        for _ in range(3):
            with pytest.raises(LinkLost):
                await ends.wire.exchange(report)
        assert not ends.wire.is_heard
        ends.wire.answers_within_s = LONG_S
        ends.answer(7)
        assert (await ends.wire.exchange(report)).concurrency == 7
        assert ends.wire.is_heard
        ends.answer(8)
        assert (await ends.wire.exchange(replace(report, in_flight=5))).concurrency == 8

    anyio.run(check)
    assert [ends.heard().in_flight, ends.heard().in_flight] == [0, 5]


def test_an_answer_that_may_have_waited_for_long_is_none(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process was stopped meanwhile: what it was granted may be another one's by now."""
    clock = [100.0]
    monkeypatch.setattr(child, "steady_s", lambda: clock[0])

    async def check() -> None:
        ends.wire.answers_within_s = 0.0
        with pytest.raises(LinkLost):
            await ends.wire.exchange(Report(1, "a"))
        clock[0] += 30.0
        ends.wire.answers_within_s = LONG_S
        ends.answer(7)
        ends.answer(3)
        assert (await ends.wire.exchange(Report(1, "a", in_flight=5))).concurrency == 3

    anyio.run(check)
    assert [ends.heard().in_flight, ends.heard().in_flight] == [0, 5]


def test_that_a_shard_has_finished_is_told_also_behind_a_question_that_is_out(ends: Ends) -> None:
    """Others could not have what it leaves."""
    report = Report(1, "a")

    async def check() -> None:
        ends.wire.answers_within_s = 0.0
        with pytest.raises(LinkLost):
            await ends.wire.exchange(report)
        ends.wire.answers_within_s = LONG_S
        ends.answer(1)
        ends.answer(2)
        assert (await ends.wire.exchange(replace(report, is_finished=True))).concurrency == 2

    anyio.run(check)
    assert [ends.heard().is_finished, ends.heard().is_finished] == [False, True]
