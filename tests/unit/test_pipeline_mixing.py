"""Placeholders and real images never stand in one folder, in whichever order the two runs come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.errors import UsageError
from nanobanana_batch.jobs.order import refuse_mixing
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import Night

REAL, LOCAL, LOOPBACK = "evolink@api.evolink.ai", "local", "evolink@127.0.0.1"
REAL_ELSEWHERE = "for real images: --out outputs/tiere-real, or delete the folder."
PLACEHOLDERS_ELSEWHERE = "for placeholders: --out outputs/tiere-local."


def folder_made_by(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A folder whose images a provider of this name has made."""

    class Named(FakeProvider):
        pass

    offered = FakeProvider().capabilities
    monkeypatch.setattr(Named, "capabilities", property(lambda self: replace(offered, name=name)))
    it = Night(folder, Named(), ["one"])
    it.run()
    return Store(folder / "state.sqlite3")


@pytest.mark.parametrize(
    ("made_by", "now", "there", "ways"),
    [
        (LOCAL, REAL, "placeholders (--provider local)", f"them: --provider local; {REAL_ELSEWHERE}"),
        (LOOPBACK, REAL, "placeholders (", f"--provider evolink at 127.0.0.1; {REAL_ELSEWHERE}"),
        (REAL, LOCAL, "real images (--provider evolink at api.evolink.ai)", PLACEHOLDERS_ELSEWHERE),
        (REAL, LOOPBACK, "real images (", PLACEHOLDERS_ELSEWHERE),
    ],
)
def test_mixing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_by: str, now: str, there: str, ways: str
) -> None:
    """It is said what is there, how to go on with it, and where the other may be."""
    store = folder_made_by(made_by, tmp_path, monkeypatch)
    with pytest.raises(UsageError, match="would mix them; nothing was sent") as caught:
        refuse_mixing(Path("outputs/tiere"), store.providers(), now)
    store.close()
    assert str(caught.value).startswith(f"outputs/tiere holds {there}")
    assert ways in str(caught.value)
    assert ("delete" in ways) == (made_by != REAL)


@pytest.mark.parametrize(
    ("made_by", "now"), [(LOCAL, LOOPBACK), (REAL, REAL), (REAL, "unified@api.example.com")]
)
def test_the_same_kind_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_by: str, now: str
) -> None:
    """Two services on this machine, or two real providers, may share a folder."""
    store = folder_made_by(made_by, tmp_path, monkeypatch)
    before = store.providers()
    refuse_mixing(tmp_path, store.providers(), now)
    assert store.providers() == before == [made_by]
    store.close()
