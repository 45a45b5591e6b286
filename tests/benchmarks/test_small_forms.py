"""The small form of each benchmark runs to its end, and its figures are possible ones; none is judged."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path

import pytest

from benchmarks import row, throttled
from benchmarks.account import Account, Terms, Verdict
from benchmarks.lines import Scale
from benchmarks.model_workers import Seen
from benchmarks.process import carried_out
from benchmarks.registry import entry
from benchmarks.row import KEY, bare
from benchmarks.simulate import WAYS, Plan, by_engines, by_model, off
from benchmarks.stub import Manner, serving

BRIEF = ("simulate", "exports", "checks", "kinds")
"""Those of which the small form takes seconds; `make bench BENCH_FLAGS=--quick` has the others."""

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the stub server needs a C compiler"
)


@pytest.mark.parametrize("name", BRIEF)
def test_a_small_form_gives_figures(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line has a name of its own and a figure that can be one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = list(entry(name).load()(Scale.QUICK))
    assert len({line.name for line in found}) == len(found) > 1
    assert all(line.figure is not None and 0 <= line.figure < math.inf for line in found)


# --- the stub server -----------------------------------------------------------------------------------


@needs_a_compiler
def test_the_loop_without_state_makes_each_row(tmp_path: Path) -> None:
    """It is what the product is held against, so it does all of the work; the stub counts."""
    with serving(Manner(0.01, image_bytes=5_000)) as stub:
        ended = carried_out(bare(tmp_path, 6, 3, stub))
        counts = stub.counts()
    assert ended.exit_code == 0, ended.said
    assert (counts["submits"], counts["reads"], counts["downloads"], counts["others"]) == (6, 6, 6, 0)
    images = [path.read_bytes() for path in tmp_path.glob("*.png")]
    assert len(set(images)) == 6
    assert all(image.startswith(b"\x89PNG") for image in images)


@needs_a_compiler
def test_a_run_where_requests_are_turned_away_is_whole() -> None:
    """Each row is made once, and each 429 is one more request; the stub throws the same dice each time."""
    ran = throttled.spent("wait 1 s", 12, 12, 0.05)
    assert ran.turned_away == 1
    assert ran.requests > 12 + ran.turned_away
    assert ran.seconds > 0


@needs_a_compiler
def test_a_whole_row_and_the_server_are_accounted_for_alone() -> None:
    """Memory is that of the product and not of a compiler, nor of who started it."""
    ran = row.measure("run", 4, 4, 5_000)
    assert (ran.way, ran.rows) == ("run", 4)
    assert 20 < ran.peak_mib < 200
    assert 0 < ran.cpu_ms_a_row * 4 / 1e3 < 60
    assert 0 <= ran.server_share < 1


def test_memory_is_that_of_the_process_alone() -> None:
    """Who starts it may be large: here by 300 MB."""
    held = bytearray(300 << 20)
    ended = carried_out(["sleep", "0.3"])
    assert ended.exit_code == 0
    assert 0 < ended.peak_mib < 60
    assert len(held) > 0


def test_what_a_process_says_and_how_it_ends_is_told() -> None:
    """Both streams, and the code."""
    ended = carried_out(["sh", "-c", "echo one; echo two >&2; exit 3"], {"WHATEVER": KEY})
    assert (ended.exit_code, ended.said) == (3, "one\ntwo\n")


# --- the simulation ------------------------------------------------------------------------------------


def test_an_account_takes_its_limit_and_no_more() -> None:
    """A bucket of two seconds' worth that is filled steadily, and nothing in an outage."""
    account = Account(Terms(600.0, (100.0, 200.0)))
    at_once = [account.ask(1.0) for _ in range(30)]
    assert at_once.count(Verdict.TAKEN) == 20
    assert [account.ask(1.0 + n / 10) for n in range(1, 11)].count(Verdict.TAKEN) in (9, 10)
    assert (account.ask(150.0), account.probe(150.0), account.read(150.0)) == (Verdict.DOWN, False, False)
    assert (account.ask(200.0), account.first_after_outage) == (Verdict.TAKEN, 200.0)


@pytest.mark.parametrize("way", WAYS)
def test_the_model_goes_as_real_engines_do(way: str) -> None:
    """Three of each, through an outage: every row once, and about as long, in virtual time."""
    plan = Plan(3, 180, 15.0, 300.0, 5.0)
    real, seen = by_engines(way, plan)
    model = by_model(way, plan, seen)
    assert real.taken == model.taken == 180
    assert real.took_s > 300 < model.took_s
    # Where nobody knows of the others, who finds his part last is chance.
    assert off(real, model, plan.outage_s) < (4.0 if way == "nobody" else 1.5)
    assert real.back_after_s < 60 > model.back_after_s


def test_a_limit_that_is_divided_or_shared_is_kept() -> None:
    """Nobody is turned away; where nobody knows of the others, some are."""
    plan = Plan(4, 2_000, math.inf, 0.0, 60.0)
    seen = Seen((2.0, 3.0), 0.2, 0.0)
    found = {way: by_model(way, plan, seen) for way in WAYS}
    assert [found[way].turned_away == 0 for way in WAYS] == [True, True, False]
    assert found["shared"].took_s < found["divided"].took_s
    assert found["shared"].exchanges > 0
