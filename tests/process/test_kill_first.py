"""The short form of `tests.campaign.kill_first`: each moment of a first run, and each signal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaign.kill_first import Table, Verdict, afresh, again


@pytest.mark.parametrize("kind", [afresh, again])
def test_a_first_run_that_is_ended_at_any_moment_leaves_nothing_but_what_the_next_one_goes_on_with(
    tmp_path: Path, kind: Callable[..., Verdict]
) -> None:
    """Of few rows, but as many bytes: another process reads them, and a state begins under another name."""
    seen = kind(tmp_path, Table(tmp_path / "large.csv", 9000), kills=5, span_s=2.0, seed=1)
    assert seen.is_well, seen
    assert seen.kills + seen.ended == 5
    assert seen.stood["reads apart"], seen
    assert seen.paid >= 40
