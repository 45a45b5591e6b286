"""Every bad manifest of the table is told as the table says: reviewed by eye, and held here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.bad_manifests import Case, answer, cases

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_manifest_is_told_as_the_table_says(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, the message in full, nothing on stdout, and nothing created."""
    monkeypatch.setattr(sys, "argv", [])
    assert answer(case, tmp_path) == (2, "", case.says)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {*case.files, "cat.png", "notes.png", "moving.png", "large.png"}


def test_the_table_is_long_and_tells_no_secret() -> None:
    """Each case is another one, and what looks like a key is in no answer."""
    assert len(CASES) >= 100
    assert len({(case.kind, case.title) for case in CASES}) == len(CASES)
    assert not [case for case in CASES if "not-a-real-one" in case.says]
