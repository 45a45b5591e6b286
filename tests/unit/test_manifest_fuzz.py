"""Some hundred manifests of every kind that nobody would write; `make campaign` has twenty thousand."""

from __future__ import annotations

from pathlib import Path

from tests.campaign.fuzz_manifest import KINDS, fuzz


def test_whatever_stands_in_a_manifest_is_planned_or_told(tmp_path: Path) -> None:
    """Exit code 0 or 2 with a sentence, no traceback, nothing left behind, and both ends are met."""
    found = fuzz(tmp_path, examples=300, seed=1)
    assert found.wrong == []
    assert found.ended.total() >= 290
    assert {what.rpartition(",")[0] for what in found.ended} == set(KINDS)
    assert {what.rpartition(" ")[2] for what in found.ended} == {"0", "2"}
