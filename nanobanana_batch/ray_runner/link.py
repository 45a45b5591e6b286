"""A shard's way to the limiter: a call of Ray's, in a thread, so that the shard's own work goes on."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from nanobanana_batch.jobs.procs.counts import counts_of
from nanobanana_batch.sharing.link import LinkLost
from nanobanana_batch.sharing.values import Grant, Report

if TYPE_CHECKING:
    from nanobanana_batch.engine.tally import Tally

_ANSWERS_WITHIN_S = 10.0


class RayLink:
    """A `Link` of one shard; what it says beside that goes the same way."""

    def __init__(self, shard: int, limiter: Any, tally: Tally, said: deque[str]) -> None:
        self.shard = shard
        self._limiter = limiter
        self._tally = tally
        self._said = said

    async def exchange(self, report: Report) -> Grant:
        """See `Link`."""
        return await anyio.to_thread.run_sync(self._exchange, report)

    def _exchange(self, report: Report) -> Grant:
        import ray
        from ray.exceptions import ActorDiedError, RayError

        said = [self._said.popleft() for _ in range(len(self._said))]
        try:
            asked = self._limiter.exchange.remote(report.as_json(), counts_of(self._tally), said)
            return Grant.from_json(ray.get(asked, timeout=_ANSWERS_WITHIN_S))
        except ActorDiedError as error:
            raise LinkLost("the process that shares the limits has ended", is_for_good=True) from error
        except (RayError, TimeoutError) as error:
            self._said.extendleft(reversed(said))
            raise LinkLost(
                f"no answer of the process that shares the limits: {type(error).__name__}"
            ) from error
