"""What shards say, told as by one run: news that several of them have is told once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanobanana_batch.engine.tally import Tally

_SAME_NEWS_S = 60.0
"""What another shard says within so many seconds is the same news; later it may have happened again."""
_OF_THE_RUN = ("warning: ", "The key in ")
"""What holds for all shards begins so."""


class Sayings:
    """Tells a person what shards say."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._said: dict[str, tuple[str, float]] = {}
        """Who said a text last, and when."""

    def tell(self, shard: str, text: str, *, is_stopping: bool) -> None:
        """One text of one shard. That they stop is said by who has asked them, if a person has."""
        if text.startswith(_OF_THE_RUN):
            self._tally.say_once(text)
        elif not (is_stopping and text.startswith("Stopping: ")) and self._is_news(shard, text):
            self._tally.announce(f"shard {shard}: {text}")

    def _is_news(self, shard: str, text: str) -> bool:
        now = self._tally.now()
        self._said = {said: one for said, one in self._said.items() if now - one[1] < _SAME_NEWS_S}
        before, self._said[text] = self._said.get(text), (shard, now)
        return before is None or before[0] == shard
