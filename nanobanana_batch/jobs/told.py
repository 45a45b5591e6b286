"""A job whose troubles and whose end a person's own programs are told of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nanobanana_batch.errors import NanobananaError
from nanobanana_batch.live.hooks import Hooks, telling

if TYPE_CHECKING:
    from nanobanana_batch.engine.tally import Tally
    from nanobanana_batch.jobs.outcome import Outcome


def told(hooks: Hooks, tally: Tally, job: Callable[[], Outcome]) -> Outcome:
    """Do the job; however it ends by itself, by an error too, `--on-end` is started afterwards."""
    if hooks.are_none:
        return job()
    with telling(hooks, tally) as teller:
        try:
            outcome = job()
        except NanobananaError as error:
            teller.end({"exit_code": error.exit_code, "text": str(error), "reason": str(error)})
            raise
        teller.end(_about(outcome))
    return outcome


def _about(outcome: Outcome) -> Mapping[str, Any]:
    counts = {status.value: count for status, count in outcome.counts.items()}
    done = f"{counts['completed']:,} of {outcome.rows:,} rows completed"
    return {
        "exit_code": outcome.exit_code,
        "text": f"{done}. {outcome.stop_reason}".strip(),
        "reason": outcome.stop_reason,
        "folder": str(outcome.folder),
        "results": str(outcome.results),
        "rows": outcome.rows,
        **counts,
        "credits_used": outcome.credits_used,
        "credits_reserved": outcome.credits_reserved,
        "interrupted": outcome.interrupted,
        "failures": [
            {"rows": each.rows, "status": each.status.value, "code": each.code, "message": each.message}
            for each in outcome.failures
        ],
    }
