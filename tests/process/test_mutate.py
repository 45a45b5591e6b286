"""The short form of `make mutate`: a mutation of each kind, judged by the strict provider's ledger."""

from __future__ import annotations

from tests.campaign.mutate import spend
from tests.campaign.strict.cases import cases

_CHOSEN = (
    "submit id removed (ends)",
    "submit id strange id (all)",
    "submit bytes status 403 page (ends)",
    "task status word (ends)",
    "task results[] object (all)",
    "task results removed (begins)",
    "failed task error.code secret (all)",
    "link bytes html (ends)",
)


def test_a_provider_that_answers_otherwise_costs_nothing_twice_and_loses_nothing() -> None:
    """Ids, status words, results, pages of a proxy and of a link host; `make mutate` has all of them."""
    by_name = {case.name: case for case in cases()}
    verdicts = spend([by_name[name] for name in _CHOSEN], 1, 3, None, lambda verdict: None)
    assert [verdict.line() for verdict in verdicts if verdict.bad or not verdict.applied] == []
    assert len(verdicts) == len(_CHOSEN)
