"""A plan says what a run would do with this manifest and this folder, and refuses what a run refuses."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.cli import main
from nanobanana_batch.cli.plan_text import plan_text
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import ProfileError, StateFailed, TooManyRows, UsageError
from nanobanana_batch.jobs import order as order_job
from nanobanana_batch.jobs import run as run_job
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.jobs.pilot import choose_pilot
from nanobanana_batch.jobs.plan import Terms, find_request, find_row, make_plan
from nanobanana_batch.model import Request
from nanobanana_batch.providers.profile import load_profile
from nanobanana_batch.providers.tasks.encoding import encode
from nanobanana_batch.state import facts
from nanobanana_batch.state.comparison import Prospect
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
from tests.unit.fake_provider import picture
from tests.unit.test_state_store import FACTS, PATH_TO, intent

MODEL = "gemini-3.1-flash-image-preview"
MANIFEST = f"""\
name: skylines
defaults: {{model: {MODEL}}}
prompt: "{{style:a}} skyline of {{city}}"
rows:
  - {{id: tokyo, city: Tokyo, resolution: 1K}}
  - {{id: lagos, city: Lagos, model: nano-banana-beta}}
  - {{city: Oslo, resolution: 1K}}
matrix:
  style: [ink, photo]
  aspect_ratio: [16:9, 1:1]
"""
PRICED = """\
extends: local
name: local
prices: {gemini-3.1-flash-image-preview: {1K: 3}}
prices_as_of: 2026-11-21
"""


@dataclass(frozen=True)
class Desk:
    """A manifest, and the folder for its images."""

    manifest: Path
    out: Path

    def order(self, provider: str = "local", **changes: Any) -> Order:
        """What is asked for."""
        return replace(Order(self.manifest, self.out, Connection(provider)), **changes)

    def sent(self, *phases: Phase | None, provider: str = "local") -> None:
        """Make the folder that of an earlier run whose first rows ended so."""
        self.out.joinpath("images").mkdir(parents=True)
        store = Store(self.out / "state.sqlite3")
        with expanded(open_ordered(self.order())) as roster:
            store.take_manifest(Taken(roster, "skylines", ("city", "style")))
        for row, phase in enumerate(phases, 1):
            if phase is not None:
                its = [FACTS[name](row) for name in PATH_TO[phase]]
                store.apply([intent(row, attempt=row, stem=f"s{row}", provider=provider), *its])
        store.close()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Twelve rows, nothing made, and nothing paid in any other folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    (tmp_path / "skylines.yaml").write_text(MANIFEST)
    (tmp_path / "priced.yaml").write_text(PRICED)
    return Desk(tmp_path / "skylines.yaml", tmp_path / "out")


def test_a_first_plan_pays_for_everything_and_guesses_at_nothing(desk: Desk) -> None:
    """No price list, no reply, no latency: all of that is said to be unknown."""
    plan = make_plan(desk.order("evolink"), 2)
    assert (plan.rows, plan.to_submit, plan.to_collect, plan.gone) == (12, 12, 0, 0)
    assert [(group.model, group.resolution, group.rows, group.credits) for group in plan.groups] == [
        (MODEL, "1K", 8, None),
        ("nano-banana-beta", None, 4, None),
    ]
    assert plan.aspect_ratios == {"16:9": 6, "1:1": 6}
    assert (plan.cost.unpriced, plan.duration.seconds) == (12, None)
    assert [row.id for row in plan.first_rows] == ["tokyo-ink-16-9", "tokyo-ink-1-1"]
    assert not desk.out.exists()


def test_rows_stand_where_the_folder_left_them(desk: Desk) -> None:
    """Paid for, collected and left alone add up to all rows."""
    desk.sent(Phase.SAVED, Phase.FAILED, Phase.REFUSED, Phase.ACCEPTED, Phase.UNKNOWN, Phase.NOT_SENT)
    plan = make_plan(desk.order())
    assert {word: count for word, count in plan.counts.items() if count} == {
        Prospect.DONE: 1,
        Prospect.AGAIN: 1,
        Prospect.REFUSED: 1,
        Prospect.RUNNING: 1,
        Prospect.UNKNOWN: 1,
        Prospect.NEW: 7,
    }
    assert (plan.to_submit, plan.to_collect) == (8, 2)
    assert make_plan(desk.order(), terms=Terms(max_attempts=1)).to_submit == 7


def test_a_plan_leaves_nothing_behind(desk: Desk, tmp_path: Path) -> None:
    """Neither in the folder of the run nor in one that rows come from."""
    desk.sent(Phase.SAVED)
    (desk.out / "images" / "s1.png").write_bytes(picture("s1"))
    text = f'from: {desk.out.name}\nprompt: "{{row.prompt}}"\ndefaults: {{model: {MODEL}}}\n'
    (desk.out.parent / "edit.yaml").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    make_plan(desk.order())
    find_row(desk.order(), "tokyo-ink-16-9")
    make_plan(desk.order(manifest=desk.out.parent / "edit.yaml", out=tmp_path / "edited"))
    assert sorted(tmp_path.rglob("*")) == before


def test_prices_come_from_replies_then_from_the_list(desk: Desk, tmp_path: Path) -> None:
    """What the folder has cost counts towards the limit."""
    plan = make_plan(desk.order(str(tmp_path / "priced.yaml")), terms=Terms(max_credits=23.0))
    assert (plan.cost.credits, plan.cost.by_profile, plan.cost.unpriced) == (24.0, 8, 4)
    assert plan.cost.profile_day == "2026-11-21"
    assert plan.cost.is_over(23.0)
    desk.sent(Phase.SAVED)
    plan = make_plan(desk.order(str(tmp_path / "priced.yaml")))
    assert (plan.cost.credits, plan.cost.by_replies, plan.cost.spent) == (7 * 4.0, 7, 3.0)
    assert plan.duration.seconds == 3.0


def test_the_same_request_twice_is_told(desk: Desk) -> None:
    """With the ids of those that come second."""
    desk.manifest.write_text(
        f"defaults: {{model: {MODEL}, prompt: p}}\nrows: [{{id: a}}, {{id: b}}, {{id: c}}]\n"
    )
    plan = make_plan(desk.order())
    assert (plan.repeated, plan.repeated_ids) == (2, ("b", "c"))


def test_the_same_request_twice_is_told_with_one_derived_id(desk: Desk) -> None:
    """They differ in digits only; and one row asks, two rows ask."""
    desk.manifest.write_text(f"defaults: {{model: {MODEL}, prompt: p}}\nrows: [{{}}, {{}}]\n")
    plan = make_plan(desk.order())
    said = f"1 row asks for the very same as an earlier one, and it is paid for: {plan.repeated_ids[0]}\n"
    assert said in plan_text(plan)
    desk.manifest.write_text(f"defaults: {{model: {MODEL}, prompt: p}}\nrows: [{{}}, {{}}, {{}}]\n")
    plan = make_plan(desk.order())
    assert (plan.repeated, len(plan.repeated_ids)) == (2, 1)
    assert (
        f"2 rows ask for the very same as an earlier one, and each is paid for: {plan.repeated_ids[0]}, ..."
        in (plan_text(plan))
    )


def test_a_plan_says_what_is_drawn_and_what_is_picked(desk: Desk) -> None:
    """Of all combinations, and of another run's completed rows; nothing where all are taken."""
    assert make_plan(desk.order()).picked == ()
    desk.manifest.write_text(MANIFEST + "sample: {n: 5, seed: 7}\n")
    assert "\n  sample  5 of 12 combinations, seed 7\n" in plan_text(make_plan(desk.order()))
    desk.manifest.write_text(MANIFEST)
    desk.sent(*[Phase.SAVED] * 4)
    for n in range(1, 5):
        (desk.out / "images" / f"row-{n - 1}.png").write_bytes(picture("a"))
    text = f'defaults: {{model: {MODEL}}}\nfrom: out\nprompt: "{{style}}"\nimages: "{{image}}"\n'
    desk.manifest.with_name("edit.yaml").write_text(f"{text}where: {{style: ink}}\n")
    edit = desk.order(manifest=desk.manifest.with_name("edit.yaml"), out=desk.out.with_name("edits"))
    plan = make_plan(edit)
    assert "\n  from     out: 2 of 4 completed rows\n" in plan_text(plan)
    desk.manifest.with_name("edit.yaml").write_text(text)
    assert make_plan(edit).picked == ()


def test_every_warning_is_called_one(desk: Desk) -> None:
    """Without a number, which would read as a count."""
    desk.manifest.write_text(MANIFEST.replace("[16:9, 1:1]", "[16:9]") + "  a: [1, 2]\n  b: [1, 2]\n")
    plan = make_plan(desk.order())
    assert len(plan.warnings) == 2
    assert plan_text(plan).count("\n  warning  ") == 2


def test_a_ratio_that_is_not_asked_for_is_called_so(desk: Desk) -> None:
    """Beside those that are."""
    desk.manifest.write_text(
        f"defaults: {{model: {MODEL}, prompt: p}}\nrows: [{{aspect_ratio: 1:1}}, {{id: b}}, {{id: c}}]\n"
    )
    assert "\n  ratios  2 not given, 1 of 1:1\n" in plan_text(make_plan(desk.order()))


def test_what_is_gone_is_told_by_what_came_of_it(desk: Desk) -> None:
    """Made, or only sent."""
    desk.sent(Phase.SAVED, Phase.SAVED, Phase.ACCEPTED)
    kept = [line for line in MANIFEST.splitlines() if "id: tokyo" not in line]
    desk.manifest.write_text("\n".join(kept) + "\n")
    plan = make_plan(desk.order())
    assert (plan.gone, plan.gone_made) == (3, 2)
    said = (
        "  3  gone        sent earlier (2 made), no longer in the manifest; what is paid is still fetched\n"
    )
    assert said in plan_text(plan)
    made = replace(plan, gone=2)
    assert "  2  gone        made earlier, no longer in the manifest\n" in plan_text(made)


# --- a pilot ---------------------------------------------------------------------------------------


def test_a_pilot_is_planned_with_its_rows_and_its_cost(desk: Desk) -> None:
    """Those that `run --pilot` would make; what is made already costs nothing."""
    desk.sent(*[Phase.SAVED] * 6)
    plan = make_plan(desk.order(), 20, pilot=5)
    assert plan.pilot is not None
    with expanded(open_ordered(desk.order())) as roster:
        positions = choose_pilot(roster, ("style", "aspect_ratio"), 5).positions
        ids = [row.id for row in roster.rows() if row.position in positions]
    assert [row.id for row in plan.first_rows] == ids
    done = sum(row.status is Prospect.DONE for row in plan.first_rows)
    assert 0 < done < 5
    assert (plan.pilot.rows, plan.pilot.to_submit, plan.to_submit) == (5, 5 - done, 6)
    assert plan.pilot.levels == {"style": 2, "aspect_ratio": 2, "model": 2, "resolution": 2}
    text = plan_text(plan)
    assert "  pilot   5 of 12 rows, with every value of style (2), aspect_ratio (2), model (2)" in text
    assert f"\n          {5 - done} to pay for: " in text
    assert "more\n" not in text.partition("prompt")[2]
    assert "and 3 more" in plan_text(make_plan(desk.order(), 2, pilot=5))


def test_the_limit_is_that_of_the_pilot(desk: Desk, tmp_path: Path) -> None:
    """The rows that it does not make do not count."""
    order = desk.order(str(tmp_path / "priced.yaml"))
    assert "over --max-credits 20" in plan_text(make_plan(order, terms=Terms(max_credits=20.0)))
    assert "budget" not in plan_text(make_plan(order, terms=Terms(max_credits=20.0), pilot=4))


def test_a_pilot_that_a_run_refuses_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few rows, or too many to read."""
    with pytest.raises(UsageError, match="--pilot 1 is too few"):
        make_plan(desk.order(), pilot=1)
    monkeypatch.setattr(order_job, "MAX_ROWS", 11)
    with pytest.raises(TooManyRows):
        make_plan(desk.order(), pilot=4)


# --- refused as a run refuses it -------------------------------------------------------------------


def test_a_plan_and_a_run_refuse_to_mix_with_one_sentence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Placeholders are there, real images would come."""
    monkeypatch.setenv("EVOLINK_API_KEY", "k")
    desk.sent(Phase.SAVED)
    said = set()
    for attempt in (
        lambda: make_plan(desk.order("evolink")),
        lambda: find_row(desk.order("evolink"), "tokyo-ink-1-1"),
        lambda: run_job.run(desk.order("evolink"), Settings(), Tally()),
    ):
        with pytest.raises(UsageError, match="would mix them; nothing was sent") as caught:
            attempt()
        said.add(str(caught.value))
    assert len(said) == 1


def test_a_plan_refuses_a_folder_that_lost_its_state(desk: Desk) -> None:
    """It would say that everything is to be paid for, which a run would not do."""
    desk.sent(Phase.SAVED)
    (desk.out / "images" / "a.png").write_bytes(b"x")
    (desk.out / ".run.lock").touch()
    (desk.out / "state.sqlite3").unlink()
    with pytest.raises(StateFailed, match="nobody knows any more what was paid for"):
        make_plan(desk.order())


def test_a_plan_of_a_folder_needs_the_address_that_a_run_needs(desk: Desk) -> None:
    """Without it nobody could tell placeholders from images."""
    assert make_plan(desk.order("unified", manifest=_unified(desk))).rows == 1
    desk.sent(Phase.SAVED)
    with pytest.raises(ProfileError, match="no address"):
        make_plan(desk.order("unified", manifest=_unified(desk)))


def _unified(desk: Desk) -> Path:
    path = desk.manifest.with_name("unified.csv")
    path.write_text(f"prompt,model\np,{MODEL}\n")
    return path


# --- more rows than a run takes --------------------------------------------------------------------


def test_a_run_refuses_more_rows_than_it_takes_and_a_plan_counts_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers as of the rows themselves; nothing is created."""
    whole = make_plan(desk.order(), 2)
    monkeypatch.setattr(order_job, "MAX_ROWS", 11)
    with pytest.raises(TooManyRows, match=r"12 rows; a run takes at most 11, so nothing was sent"):
        run_job.run(desk.order(), Settings(), Tally())
    plan = make_plan(desk.order(), 2)
    assert (plan.is_expanded, plan.rows, plan.counts) == (False, 12, {})
    assert (plan.groups, plan.aspect_ratios, plan.cost) == (whole.groups, whole.aspect_ratios, whole.cost)
    assert [row.id for row in plan.first_rows] == [row.id for row in whole.first_rows]
    assert not desk.out.exists()


def test_a_thousand_million_rows_are_planned_without_being_made(desk: Desk) -> None:
    """Numbers, prices and the first rows."""
    desk.manifest.write_text(
        f'defaults: {{model: {MODEL}}}\nprompt: "{{a}} {{b}} {{c}}"\nmatrix:\n'
        "  a: {from: 1, to: 1000}\n  b: {from: 1, to: 1000}\n  c: {from: 1, to: 500}\n"
        "  resolution: [1K, 2K]\n"
    )
    plan = make_plan(desk.order(), 3)
    assert (plan.rows, [group.rows for group in plan.groups]) == (10**9, [5 * 10**8] * 2)
    assert [row.request.prompt for row in plan.first_rows] == ["1 1 1", "1 1 1", "1 1 2"]


@pytest.mark.parametrize("ask", [lambda order: find_row(order, "x"), lambda order: find_request(order, "x")])
def test_one_row_of_too_many_is_not_looked_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Order], object]
) -> None:
    """It would take hours."""
    monkeypatch.setattr(order_job, "MAX_ROWS", 11)
    with pytest.raises(TooManyRows):
        ask(desk.order())
    with pytest.raises(TooManyRows):
        make_plan(desk.order(), table=desk.manifest.with_name("rows.csv"))
    assert not desk.manifest.with_name("rows.csv").exists()


# --- one row ---------------------------------------------------------------------------------------


def test_a_row_is_shown_in_full(desk: Desk) -> None:
    """What it asks for, and what came of it."""
    desk.sent(Phase.SAVED, Phase.REFUSED)
    done = find_row(desk.order(), "tokyo-ink-16-9")
    assert (done.status, done.request.prompt) == (Prospect.DONE, "an ink skyline of Tokyo")
    assert (done.variables, done.variant, done.source) == (
        {"city": "Tokyo", "style": "ink"},
        1,
        "skylines.yaml:5",
    )
    assert (done.image, done.credits, done.price) == (str(desk.out / "images/row-0.png"), 3.0, 4.0)
    refused = find_row(desk.order(), "TOKYO-ink-1-1")
    assert (refused.status, refused.error_code) == (Prospect.REFUSED, "content_policy_violation")
    new = find_row(desk.order(), "tokyo-photo-1-1")
    assert (new.status, new.image, new.task_id, new.error_code) == (Prospect.NEW, None, None, None)


def test_an_id_that_there_is_not_is_told_with_a_near_one(desk: Desk) -> None:
    """In one sentence."""
    with pytest.raises(UsageError, match=r"has the id 'tokio-ink-1-1'\. Did you mean 'tokyo-ink-1-1'"):
        find_row(desk.order(), "tokio-ink-1-1")


def test_short_ids_are_near_each_other_by_one_slip(desk: Desk) -> None:
    """Of two letters too few agree to be alike in any other way; one letter is near everything."""
    desk.manifest.write_text(
        "defaults: {model: nano-banana-beta}\nrows: [{id: a, prompt: x}, {id: b, prompt: y}]\n"
    )
    with pytest.raises(UsageError, match="Did you mean 'b'"):
        find_row(desk.order(), "bb")
    with pytest.raises(UsageError, match="--out-csv"):
        find_row(desk.order(), "c")


def test_the_request_shown_is_the_one_that_is_sent(desk: Desk) -> None:
    """The same bytes, once the line breaks are out, and a place for the key instead of it."""
    shown = find_request(desk.order("evolink"), "lagos-ink-1-1")
    request = Request("nano-banana-beta", "an ink skyline of Lagos", "1:1")
    assert json.dumps(shown.body, ensure_ascii=False, separators=(",", ":")).encode() == encode(
        request, load_profile("evolink")
    )
    assert shown.url == "https://api.evolink.ai/v1/images/generations"
    assert shown.headers["Authorization"] == "Bearer <EVOLINK_API_KEY>"


def test_a_request_is_shown_with_the_files_that_the_provider_has(desk: Desk) -> None:
    """And with the names of those that are yet to be uploaded."""
    for name in ("a", "b"):
        desk.manifest.with_name(f"{name}.png").write_bytes(picture(name))
    desk.manifest.write_text(
        f"defaults: {{model: {MODEL}, prompt: p}}\nrows: [{{id: r, images: [a.png, b.png]}}]\n"
    )
    desk.sent()
    with expanded(open_ordered(desk.order())) as roster:
        (row,) = roster.rows()
    store = Store(desk.out / "state.sqlite3")
    first, second = (file.sha256 for file in row.request.files)
    for number, (sha256, expires_at) in enumerate(((first, 5.0), (first, 4e9), (second, 5.0)), 1):
        url = f"https://files/{number}"
        store.apply([facts.FileUploaded(number, "local", "me", sha256, f"f{number}", url, expires_at, 1.0)])
    store.close()
    body = find_request(desk.order(), "r").body
    assert body["image_urls"] == ["https://files/2", "<uploaded when sent: b.png>"]


# --- all rows as a table ---------------------------------------------------------------------------


def keys_of(order: Order) -> list[tuple[str, str]]:
    """Ids and row keys."""
    with expanded(open_ordered(order)) as roster:
        return [(row.id, row.key) for row in roster.rows()]


def test_the_table_of_a_plan_is_a_manifest_of_the_same_requests(desk: Desk, tmp_path: Path) -> None:
    """Same ids, same row keys, same variables; local files are found from where the table stands."""
    (tmp_path / "a.png").write_bytes(picture("a"))
    desk.manifest.write_text(
        MANIFEST.replace(
            "{city: Oslo, resolution: 1K}",
            '{city: "Oslo|\\r\\"é\\"", web_search: no, images: [a.png, https://x/b.png]}',
        )
        + "variables: [status]\n".replace("variables", "variables")
    )
    tables = tmp_path / "elsewhere"
    tables.mkdir()
    plan = make_plan(desk.order(), table=tables / "rows.csv")
    assert (plan.table, plan.warnings) == (str(tables / "rows.csv"), ())
    again = desk.order(manifest=tables / "rows.csv", allow_outside=(tmp_path,))
    assert keys_of(again) == keys_of(desk.order())
    with (tables / "rows.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["row_key"] for row in rows] == [key for _, key in keys_of(desk.order())]
    assert Counter(row["status"] for row in rows) == {"new": 12}
    assert rows[-1]["city"] == 'Oslo|\r"é"'
    make_plan(again, table=tables / "again.csv")
    last = desk.order(manifest=tables / "again.csv", allow_outside=(tmp_path,))
    assert keys_of(last) == keys_of(desk.order())


def test_variants_of_a_table_are_told_to_be_other_requests(desk: Desk, tmp_path: Path) -> None:
    """A table has no column for the number of a variant, which is part of the row key."""
    desk.manifest.write_text(MANIFEST + "variants: 2\n")
    plan = make_plan(desk.order(), table=tmp_path / "rows.csv")
    assert "12 rows with a variant_number above 1" in plan.warnings[-1]
    before, after = dict(keys_of(desk.order())), dict(keys_of(desk.order(manifest=tmp_path / "rows.csv")))
    assert before.keys() == after.keys()
    assert {id_ for id_ in before if before[id_] != after[id_]} == {id_ for id_ in before if "-v2" in id_}


@pytest.mark.parametrize("name", ["skylines.yaml", "none/rows.csv", "out"])
def test_a_table_takes_the_place_of_nothing_else(desk: Desk, tmp_path: Path, name: str) -> None:
    """Least of all that of the manifest."""
    desk.out.mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        make_plan(desk.order(), table=tmp_path / name)
    assert desk.manifest.read_text() == MANIFEST


@pytest.mark.parametrize("name", ["moods.csv", "state.sqlite3"])
def test_a_table_takes_only_the_place_of_an_earlier_one(desk: Desk, tmp_path: Path, name: str) -> None:
    """A state file overwritten would forget what was paid for, a source of rows cannot be had again."""
    path = tmp_path / name
    path.write_bytes(b"id,mood\nx,calm\n")
    with pytest.raises(UsageError, match="there already, and not a table that `plan` has written"):
        make_plan(desk.order(), table=path)
    assert path.read_bytes() == b"id,mood\nx,calm\n"
    path.write_bytes(b"")
    make_plan(desk.order(), table=path)
    desk.manifest.write_text(MANIFEST.replace("Oslo", "Bergen"))
    make_plan(desk.order(), table=path)
    assert "Bergen" in path.read_text()


# --- on the screen ---------------------------------------------------------------------------------

SCREEN = """\
skylines: 12 rows -> out
  8  to pay for  3 new, 4 changed (their old images stay), 1 failed and tried once more
  2  to collect  1 running, 1 unknown (may have been paid, so that they are looked for)
  1  done
  1  refused     `nanobanana-batch retry out --only refused` pays for them again

  model                           resolution  rows  to pay  credits
  gemini-3.1-flash-image-preview  1K             8       5       20
  nano-banana-beta                -              4       3        ?

  ratios  6 of 16:9, 6 of 1:1
  cost    at least 20 credits (by this folder's replies); nobody says what 3 more rows cost
  spent   10 credits in this folder so far
  time    about 3 s (64 at once, 3 s a row as seen here)
  budget  over --max-credits 20: a run makes nothing new

status   id                prompt                    model                           resolution  ratio
done     tokyo-ink-16-9    an ink skyline of Tokyo   gemini-3.1-flash-image-preview  1K          16:9
again    tokyo-ink-1-1     an ink skyline of Tokyo   gemini-3.1-flash-image-preview  1K          1:1
refused  tokyo-photo-16-9  a photo skyline of Tokyo  gemini-3.1-flash-image-preview  1K          16:9
... and 9 more
"""


def test_the_screen(desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Reviewed by eye: what costs money stands first, and why below it."""
    ended = (Phase.SAVED, Phase.FAILED, Phase.REFUSED, Phase.ACCEPTED, Phase.UNKNOWN)
    desk.sent(*ended, None, None, None, Phase.SAVED)
    desk.manifest.write_text(MANIFEST.replace("Oslo", "Bergen"))
    monkeypatch.chdir(desk.manifest.parent)
    monkeypatch.setenv("COLUMNS", "120")
    words = (
        "plan",
        "skylines.yaml",
        "--out",
        "out",
        "--provider",
        "local",
        "--rows",
        "3",
        "--max-credits",
        "20",
    )
    monkeypatch.setattr(sys, "argv", ["nanobanana-batch", *words])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == SCREEN
