"""`status` tells money as plans and runs do, and reads for it no more than it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nanobanana_batch.cli.outcome_text import standing_text
from nanobanana_batch.files.folder import STATE_NAME, find
from nanobanana_batch.jobs.connection import CONNECTION, Connection, price_book
from nanobanana_batch.jobs.outlook import priced_standing
from nanobanana_batch.provider_names import BUILT_IN
from nanobanana_batch.providers.profile import load_profile
from nanobanana_batch.state.store import Store
from tests.exports.finished import Made, make_folder

PENDING = Made("still", end="pending")


def folder_of(place: Path, provider: str, rows: tuple[Made, ...] = (Made("done"),)) -> Path:
    """That of a run by this provider."""
    folder = make_folder(place, rows)
    store = Store(folder / STATE_NAME)
    store.remember(CONNECTION, Connection(provider).as_text())
    store.close()
    return folder


@pytest.mark.parametrize("rows", [(Made("done"),), (Made("done"), PENDING)], ids=["all done", "one to pay"])
@pytest.mark.parametrize("provider", BUILT_IN)
def test_what_a_dollar_buys_is_what_the_profile_says(
    tmp_path: Path, provider: str, rows: tuple[Made, ...]
) -> None:
    """Whether the profile has to be read for what is left, or not."""
    found = priced_standing(find(folder_of(tmp_path / "out", provider, rows)))
    assert found.credits_per_usd == price_book(load_profile(provider), None).credits_per_usd
    assert (found.left is not None) is (len(rows) > 1)


def test_a_profile_of_ones_own_is_read(tmp_path: Path) -> None:
    """Nothing else knows what it says; and only where a person names it."""
    profile = tmp_path / "mine.yaml"
    profile.write_text("extends: evolink\nname: mine\ncredits_per_usd: 12\n")
    folder = find(folder_of(tmp_path / "out", str(profile)))
    assert priced_standing(folder, Connection(str(profile))).credits_per_usd == 12
    assert priced_standing(folder).credits_per_usd is None


def test_a_folder_that_knows_no_provider_has_no_money(tmp_path: Path) -> None:
    """As one that only planned, or was made by an older program."""
    found = priced_standing(find(make_folder(tmp_path / "out", [Made("done"), PENDING])))
    assert found.credits_per_usd is None
    assert found.left is not None


@pytest.mark.parametrize(
    ("provider", "rows", "told"),
    [
        ("local", (PENDING,), "left to pay: nothing: placeholders are drawn on this machine"),
        (
            "local",
            (Made("done"), PENDING),
            "left to pay: about 4 credits (by this folder's replies); nobody pays for placeholders",
        ),
        ("unified", (PENDING,), "left to pay: unknown: no price is told before the first reply"),
    ],
    ids=["nothing known", "counted", "paid for"],
)
def test_what_is_left_of_placeholders_is_said_to_cost_nobody_anything(
    tmp_path: Path, provider: str, rows: tuple[Made, ...], told: str
) -> None:
    """Whether the service has counted credits yet, or not."""
    found = priced_standing(find(folder_of(tmp_path / "out", provider, rows)))
    assert told in [line.strip() for line in standing_text(found).splitlines()]


def test_looking_at_a_finished_folder_reads_neither_profile_nor_catalogue(tmp_path: Path) -> None:
    """They take longer than all the rest of it."""
    folder = folder_of(tmp_path / "out", "evolink")
    program = (
        "import json, sys; from nanobanana_batch.cli import commands;"
        f" commands.main(['status', {str(folder)!r}], standalone_mode=False);"
        " print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *said, loaded = done.stdout.splitlines()
    assert "$" in "".join(said)
    heavy = {"yaml", "pydantic", "nanobanana_batch.catalog", "nanobanana_batch.providers.profile"}
    assert not heavy & set(json.loads(loaded))
