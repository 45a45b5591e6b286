"""Runs in real time without the pauses that are meant for hosts and providers, not for tests."""

from __future__ import annotations

import pytest

from nanobanana_batch.engine import owed, run
from nanobanana_batch.engine.stages import download


def without_pauses(patch: pytest.MonkeyPatch) -> None:
    """Whatever fails or rests is looked at again at once; what is looked at, and how often, stays."""
    patch.setattr(owed, "_SCOUT_FIRST_S", 0.1)
    patch.setattr(run, "_LOOK_AT_REST_S", 0.1)
    patch.setattr(download, "backoff_s", lambda tries, first_s: 0.05)
