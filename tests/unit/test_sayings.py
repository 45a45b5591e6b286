"""What several shards say, told by one run to one person."""

from __future__ import annotations

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.jobs.procs.sayings import Sayings


class _Heard:
    """What a person reads, on a clock of their own."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        self.sayings = Sayings(Tally(announce=self.lines.append, now=lambda: self.now))

    def hear(self, shard: str, text: str, at: float = 0.0, *, is_stopping: bool = False) -> None:
        self.now = at
        self.sayings.tell(shard, text, is_stopping=is_stopping)


def test_the_same_news_of_several_shards_is_told_once_and_again_when_it_happens_again() -> None:
    """An outage in the morning and one in the evening are two, for all shards."""
    heard = _Heard()
    for at in (0.0, 3600.0):
        heard.hear("1/2", "The provider does not answer.", at)
        heard.hear("2/2", "The provider does not answer.", at + 1)
        heard.hear("1/2", "The provider answers again.", at + 20)
        heard.hear("2/2", "The provider answers again.", at + 20)
    news = ["shard 1/2: The provider does not answer.", "shard 1/2: The provider answers again."]
    assert heard.lines == news * 2


def test_what_one_shard_says_twice_is_told_twice() -> None:
    """It has happened twice to that one."""
    heard = _Heard()
    heard.hear("1/2", "row a failed")
    heard.hear("1/2", "row a failed", 1.0)
    assert heard.lines == ["shard 1/2: row a failed"] * 2


def test_what_holds_for_the_run_is_told_once_and_of_no_shard() -> None:
    """Warnings, where the key goes, and that a person has asked to stop."""
    heard = _Heard()
    for at in (0.0, 3600.0):
        heard.hear("1/2", "warning: a", at)
        heard.hear("2/2", "The key in K goes to http://127.0.0.1.", at)
        heard.hear("2/2", "Stopping: nothing more is submitted.", at, is_stopping=True)
    assert heard.lines == ["warning: a", "The key in K goes to http://127.0.0.1."]
