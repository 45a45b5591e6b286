"""The short form of the campaign of changed folders and profiles (`make fuzz-state`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.campaign.fuzz_state import CHANGES, fuzz
from tests.no_pauses import without_pauses


@pytest.mark.skipif(sys.platform != "linux", reason="the watch is the system's own (inotify)")
def test_a_changed_folder_or_profile_touches_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file of the person, no key, no traceback; each command ends by itself, with a code of ours."""
    without_pauses(monkeypatch)
    found = fuzz(tmp_path, examples=40, seed=11)
    assert found.wrong == []
    changes = {name.partition(",")[0] for name in found.ended}
    assert len(changes) >= len(set(CHANGES)) - 1
