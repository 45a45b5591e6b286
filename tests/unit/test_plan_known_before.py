"""What a plan knows before anything was paid for in a folder: sizes, pictures, and prices from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.cli.plan_text import plan_text
from nanobanana_batch.jobs import connection, outcome
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order
from nanobanana_batch.jobs.plan import Terms, make_plan
from nanobanana_batch.pricing.earlier import earlier_prices, remember_prices
from nanobanana_batch.state.prices import PriceClass
from tests.unit.fake_provider import picture
from tests.unit.test_cli_commands import Run, left_by, manifest, run

__all__ = ["run"]

PRO = "gemini-3-pro-image-preview"
NAME = "evolink@api.evolink.ai"


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No list, and nothing paid."""
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def order(text: str, provider: str = "evolink") -> Order:
    """Of a table."""
    Path("p.csv").write_text(text)
    return Order(Path("p.csv"), connection=Connection(provider))


def test_the_resolution_that_the_provider_will_choose_is_named() -> None:
    """Its money is taken for that one; where nobody can ask for one there is none to name."""
    plan = make_plan(order(f"prompt,model\na,{PRO}\nb,nano-banana-beta\n"))
    assert [(group.model, group.resolution, group.default_resolution) for group in plan.groups] == [
        (PRO, None, "2K"),
        ("nano-banana-beta", None, None),
    ]
    assert f"  {PRO}  2K by default " in plan_text(plan)


def test_a_new_folder_knows_what_was_paid_in_another() -> None:
    """With its day, where neither profile nor list says; a free service has no prices."""
    asked = order(f"prompt,model,resolution\na,{PRO},1K\nb,{PRO},1K\n")
    assert "unknown" in plan_text(make_plan(asked))
    remember_prices(NAME, {PriceClass(PRO, "1K", 0, False, False, None): 8.0})
    plan = make_plan(asked)
    assert (plan.cost.credits, plan.cost.by_earlier) == (16.0, 2)
    text = plan_text(plan)
    assert (
        f"about 16 credits, $0.235 (estimate, as you paid in another folder on {plan.cost.earlier_day})"
        in text
    )
    assert "over --max-credits" in plan_text(make_plan(asked, terms=Terms(max_credits=10)))
    free = make_plan(order(f"prompt,model,resolution\na,{PRO},1K\n", "local"))
    assert "cost  nothing: placeholders are drawn on this machine" in plan_text(free)


@pytest.mark.parametrize("is_practice", [True, False])
def test_a_run_remembers_what_it_paid(run: Run, monkeypatch: pytest.MonkeyPatch, is_practice: bool) -> None:
    """For real money only."""
    for job in (connection, outcome):
        monkeypatch.setattr(job, "is_practice", lambda name: is_practice)
    assert run("run", manifest(Path(), 1), "--provider", "local", "--out", "out").code == 0
    assert [paid.credits for paid in earlier_prices("local").values()] == ([] if is_practice else [8.0])


def test_an_edit_names_its_pictures_and_what_is_uploaded() -> None:
    """Each content once, with its size; what stands at an address is not uploaded."""
    Path("a.png").write_bytes(picture("a"))
    Path("b.png").write_bytes(picture("b"))
    Path("copy.png").write_bytes(picture("a"))
    link = "https://example.com/c.png"
    rows = [f"x{n},{PRO},1K,{name}" for n, name in enumerate(("a.png", "b.png", "copy.png", link, link, ""))]
    plan = make_plan(order("\n".join(["prompt,model,resolution,images", *rows])))
    assert plan.uploads is not None
    size_bytes = len(picture("a")) + len(picture("b"))
    assert (plan.uploads.rows, plan.uploads.files, plan.uploads.links) == (5, 2, 1)
    assert plan.uploads.size_bytes == size_bytes
    assert [(one.name, one.width, one.height) for one in plan.uploads.pictures] == [
        ("a.png", 8, 6),
        ("b.png", 8, 6),
    ]
    text = " ".join(plan_text(plan).split())
    assert f"edits 5 rows of 2 local pictures and 1 link: a.png (8x6, {len(picture('a'))} bytes), " in text
    assert (
        f"uploads at most 2 files, {size_bytes} bytes in all, once each, however many rows use them" in text
    )


def test_a_dry_run_is_a_plan(run: Run, tmp_path: Path) -> None:
    """Word for word, without a key, and nothing is made; a limit shows its part."""
    path = manifest(tmp_path)
    dry, plan = run("run", path, "--dry-run"), run("plan", path)
    assert (dry.code, dry.out, dry.err) == (0, plan.out, plan.err)
    assert run("run", path, "--dry-run", "--pilot", "2").out == run("plan", path, "--pilot", "2").out
    part = run("run", path, "--dry-run", "--limit", "2").out
    assert "limit   2 of 3 rows\n" in part
    assert "2 to pay for: unknown" in part
    assert [name for name in left_by(tmp_path) if name != "home"] == ["m.csv"]
