"""What was paid is remembered beside all folders, and never stands in anybody's way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nanobanana_batch.pricing.earlier import Paid, earlier_prices, remember_prices
from nanobanana_batch.state.prices import PriceClass

NAME = "evolink@api.evolink.ai"
HEAD = '{"what": "nanobanana-batch prices that were paid", "version": '
KIND = PriceClass("m", "1K", 0, False, False, None)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "nanobanana-batch" / "prices-paid.json"


def test_what_was_paid_is_known_in_the_next_folder(file: Path) -> None:
    """By provider and kind of request; the later word counts, and others stay."""
    remember_prices(NAME, {KIND: 4.0, KIND._replace(resolution="4K"): 9.0})
    remember_prices("other@example.com", {KIND: 7.0})
    remember_prices(NAME, {KIND: 5.0})
    found = earlier_prices(NAME)
    assert {kind: paid.credits for kind, paid in found.items()} == {
        KIND: 5.0,
        KIND._replace(resolution="4K"): 9.0,
    }
    assert earlier_prices("other@example.com")[KIND].credits == 7.0
    assert (file.stat().st_mode & 0o777, len(os.listdir(file.parent))) == (0o600, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        HEAD + '1, "paid": [["a", ["m"], "x", "1"]]}',
        HEAD + '1, "paid": [["a", ["m"], 1e999, "2026-01-01"]]}',
        HEAD + '1, "paid": [["a", [["m"]], 1, "2026-01-01"]]}',
        HEAD + '2, "paid": []}',
        "[" * 100_000,
        " " * (5 << 20),
    ],
)
def test_a_file_that_cannot_be_used_is_as_if_it_were_not_there(file: Path, text: str) -> None:
    """And is replaced by the next run."""
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert earlier_prices(NAME) == {}
    remember_prices(NAME, {KIND: 4.0})
    assert earlier_prices(NAME)[KIND].credits == 4.0


def test_where_there_is_no_place_for_it_nothing_is_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run ends by that."""
    file.parent.parent.write_text("a file")
    remember_prices(NAME, {KIND: 4.0})
    for name in ("XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    remember_prices(NAME, {KIND: 4.0})
    assert earlier_prices(NAME) == {}


def test_somebody_elses_file_is_not_believed(file: Path) -> None:
    """Neither is a pipe waited for."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    remember_prices(NAME, {KIND: 4.0})
    os.chown(file, 12345, 12345)
    assert earlier_prices(NAME) == {}
    file.unlink()
    os.mkfifo(file)
    assert earlier_prices(NAME) == {}


def test_it_does_not_grow_for_ever(file: Path) -> None:
    """The oldest are forgotten first."""
    remember_prices(NAME, {KIND: 1.0})
    told = json.loads(file.read_text())
    told["paid"][0][3] = "2020-01-01"
    file.write_text(json.dumps(told))
    remember_prices(NAME, {KIND._replace(images=n): 2.0 for n in range(1, 1001)})
    found = earlier_prices(NAME)
    assert (len(found), KIND in found) == (1000, False)
    assert isinstance(found[KIND._replace(images=1)], Paid)
