"""A run never edits its own images over and over, and nobody pays for edits of placeholders."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import UsageError
from nanobanana_batch.jobs import run as run_job
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order, folder_of, open_ordered, refuse_parents
from nanobanana_batch.jobs.plan import make_plan
from tests.unit.earlier_run import MODEL, Earlier, make_run

REAL, LOCAL, LOOPBACK = "evolink@api.evolink.ai", "local", "evolink@127.0.0.1"
EDIT = f'defaults: {{model: {MODEL}}}\nfrom: first\nimages: "{{image}}"\nprompt: make it night\n'


def an_order(folder: Path, made_by: str, provider: str = "local", out: str = "edits") -> Order:
    """Edits of a run whose images a provider of this name has made."""
    if not (folder / "first").exists():
        make_run(folder / "first", [Earlier("lighthouse"), Earlier("mill")], provider=made_by)
    manifest, key = folder / "edit.yaml", folder / "key"
    manifest.write_text(EDIT)
    key.write_text("a-key-of-nobody")
    return Order(manifest, folder / out, Connection(provider, key_file=key))


def someone_real(folder: Path) -> str:
    """A provider that counts as real, since its host is not loopback by name; nothing listens there."""
    path = folder / "paid.yaml"
    path.write_text("extends: evolink\nname: paid\nkey_env: PAID_KEY\nbase_url: https://127.0.0.2:1\n")
    return str(path)


def refused_by_both(order: Order) -> str:
    """The sentence with which `run` and `plan` refuse an order."""
    with pytest.raises(UsageError) as by_run:
        run_job.run(order, Settings(max_outage_s=0.0), Tally())
    with pytest.raises(UsageError) as by_plan:
        make_plan(order, 0)
    assert str(by_run.value) == str(by_plan.value)
    return str(by_run.value)


@pytest.mark.parametrize("made_by", [LOCAL, LOOPBACK])
def test_placeholders_are_not_sent_to_a_real_provider(tmp_path: Path, made_by: str) -> None:
    """Said before anything is made or sent, with the place and the way out."""
    message = refused_by_both(an_order(tmp_path, made_by, someone_real(tmp_path)))
    assert message.startswith("edit.yaml:2:7: from: first holds placeholders")
    assert "paid@127.0.0.2:1" in message
    assert "--provider local" in message
    assert not (tmp_path / "edits").exists()


@pytest.mark.parametrize(("made_by", "now"), [(REAL, REAL), (REAL, LOCAL), (LOCAL, LOOPBACK)])
def test_everything_else_may_be_edited(tmp_path: Path, made_by: str, now: str) -> None:
    """Real images by anybody; placeholders by a service on this machine, to try a chain at no cost."""
    order = an_order(tmp_path, made_by)
    manifest = open_ordered(order)
    refuse_parents(manifest, folder_of(order, manifest), now)
    assert [parent.name for parent in manifest.parents] == ["first"]


def test_the_runs_own_folder_is_refused(tmp_path: Path) -> None:
    """Each run would find the images of the one before, and pay for edits of them."""
    order = an_order(tmp_path, LOCAL, out="first")
    before = (tmp_path / "first" / "state.sqlite3").read_bytes()
    message = refused_by_both(order)
    assert message.startswith("edit.yaml:2:7: from: first is the folder that this run writes to")
    assert (tmp_path / "first" / "state.sqlite3").read_bytes() == before


def test_the_runs_own_folder_is_refused_under_another_name(tmp_path: Path) -> None:
    """A link to it is the same folder."""
    an_order(tmp_path, LOCAL)
    (tmp_path / "alias").symlink_to(tmp_path / "first")
    assert "is the folder that this run writes to" in refused_by_both(an_order(tmp_path, LOCAL, out="alias"))
