"""Placeholders and real images never stand in one folder, in whichever order the two runs come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.errors import UsageError
from nanobanana_batch.pipeline import refuse_mixing
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import Night

REAL, LOCAL, LOOPBACK = "evolink@api.evolink.ai", "local", "evolink@127.0.0.1"


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
    ("made_by", "now"), [(LOCAL, REAL), (LOOPBACK, REAL), (REAL, LOCAL), (REAL, LOOPBACK)]
)
def test_mixing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_by: str, now: str) -> None:
    """The message names who made the images and the way out."""
    store = folder_made_by(made_by, tmp_path, monkeypatch)
    with pytest.raises(UsageError, match="--out") as caught:
        refuse_mixing(store.providers(), now)
    store.close()
    assert made_by in str(caught.value)


@pytest.mark.parametrize(
    ("made_by", "now"), [(LOCAL, LOOPBACK), (REAL, REAL), (REAL, "unified@api.example.com")]
)
def test_the_same_kind_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_by: str, now: str
) -> None:
    """Two services on this machine, or two real providers, may share a folder."""
    store = folder_made_by(made_by, tmp_path, monkeypatch)
    before = store.providers()
    refuse_mixing(store.providers(), now)
    assert store.providers() == before == [made_by]
    store.close()
