"""The short forms of the crowd campaign: started together, interrupted at many moments."""

from __future__ import annotations

from pathlib import Path

from tests.campaign.crowd import interrupts, pairs


def test_of_two_runs_started_together_one_works_and_one_leaves(tmp_path: Path) -> None:
    """Exit 4 for the one that comes second; every row paid once. The campaign does this 50 times."""
    tally = pairs(tmp_path, 3)
    assert tally.tries == 3
    assert tally.paid_twice == 0
    assert tally.unfinished == 0
    assert set(tally.exits or {}) <= {0, 4}


def test_interrupts_at_many_moments_lose_nothing(tmp_path: Path) -> None:
    """From start-up to the end; each run is resumed and complete. The campaign steps by 10 ms."""
    tally = interrupts(tmp_path, step_s=0.25, until_s=1.25)
    assert tally.tries == 5
    assert tally.paid_twice == 0
    assert tally.unfinished == 0
