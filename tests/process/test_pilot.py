"""A pilot is a part of its run: the service's ledger says that no row of it is paid for twice."""

from __future__ import annotations

import re
from pathlib import Path

from nanobanana_batch.model import RowStatus
from nanobanana_batch.results import read_results
from nanobanana_batch.service.options import Faults
from nanobanana_batch.state.reader import open_reader
from tests.process.harness import MODEL, Bench, bench, cli
from tests.process.test_run import until

FACTORS = {"style": ["ink", "photo", "oil"], "mood": ["calm", "busy"], "aspect_ratio": ["1:1", "16:9"]}
ROWS = 2 * 3 * 2 * 2


def manifest(folder: Path, factors: dict[str, list[str]] = FACTORS) -> Path:
    """A product of factors over two rows; the order of the factors is that of the rows."""
    path = folder / "product.yaml"
    lines = [f"  {name}: [{', '.join(values)}]" for name, values in factors.items()]
    path.write_text(
        f'defaults: {{model: {MODEL}, resolution: 0.5K}}\nprompt: "{{style}} {{mood}} {{city}}"\n'
        "rows: [{city: Oslo}, {city: Lagos}]\nmatrix:\n" + "\n".join(lines) + "\n"
    )
    return path


def levels(it: Bench) -> set[str]:
    """All levels that the completed rows show."""
    frame = read_results(it.out)
    done = frame[frame["status"] == "completed"]
    return {str(value) for name in FACTORS for value in done[name]}


def test_a_pilot_pays_for_its_rows_once_and_the_run_for_the_others(tmp_path: Path) -> None:
    """Also when the rows were put into another order between two pilots."""
    with bench(tmp_path, manifest(tmp_path), latency_s=0.2) as it:
        pilot = it.finish("--pilot", "6")
        assert pilot.returncode == 0, pilot.stderr
        assert (
            "Pilot: 6 of 24 rows, with every value of style (3), mood (2), aspect_ratio (2)." in pilot.stderr
        )
        assert "6 of 6 rows completed" in pilot.stderr
        assert levels(it) == {level for values in FACTORS.values() for level in values}
        assert "refused  0% to 39% (95% sure; it was 0 of 6)" in pilot.stderr
        assert "left     18 rows" in pilot.stderr
        assert re.search(r"cost     about \d+ credits, \$[\d.]+ \(by this folder's replies\)", pilot.stderr)
        assert re.search(r"time     about \d+ s \(64 at once, \d+ s a row as seen here\)", pilot.stderr)
        manifest(tmp_path, dict(reversed(FACTORS.items())))
        again = it.finish("--pilot", "6")
        assert "nothing was sent" in again.stderr
        assert list(it.bodies_paid().values()) == [1] * 6
        whole = it.finish()
        assert f"{ROWS} of {ROWS} rows completed" in whole.stderr
        assert list(it.bodies_paid().values()) == [1] * ROWS


def test_a_pilot_collects_what_was_paid_for_before(tmp_path: Path) -> None:
    """Rows that another run left running are fetched although the pilot is about others."""
    with bench(tmp_path, manifest(tmp_path), latency_s=0.2) as it:
        whole = it.finish("--limit", "3")
        assert whole.returncode == 0
        (it.out / "images" / read_results(it.out)["image"][0].removeprefix("images/")).unlink()
        pilot = it.finish("--pilot", "6")
        assert pilot.returncode == 0, pilot.stderr
        frame = read_results(it.out)
        assert list(frame["status"][:3]) == ["completed"] * 3
        assert all((it.out / image).is_file() for image in frame["image"] if image)
        assert set(it.bodies_paid().values()) == {1}


def test_a_pilot_tells_why_rows_failed_and_how_many_are_likely_to(tmp_path: Path) -> None:
    """Exit 1; one line a reason, with an example."""
    faults = Faults(refuse_task=1.0)
    with bench(tmp_path, manifest(tmp_path), latency_s=0.1, faults=faults) as it:
        pilot = it.finish("--pilot", "4", "--max-failures", "100")
    assert pilot.returncode == 1
    assert re.search(r"  4 refused: content_policy_violation: .+ \(first: .+\)\n", pilot.stderr)
    assert "refused  51% to 100% (95% sure; it was 4 of 4)" in pilot.stderr


def test_a_pilot_that_is_too_small_sends_nothing(tmp_path: Path) -> None:
    """Exit 2, no folder, and it is said how many rows are needed."""
    path = manifest(tmp_path)
    for words, said in (
        (("--pilot", "2"), "style has the most: 3"),
        (("--pilot", "9", "--limit", "9"), "--limit and --pilot"),
    ):
        ended = cli("run", str(path), "--provider", "local", "--out", "out", *words, cwd=tmp_path, key=None)
        assert ended.returncode == 2
        assert said in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_that_would_cost_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    """Once a price is known nothing new is paid for; within the limit nothing is said, a part may be made."""
    with bench(tmp_path, manifest(tmp_path), latency_s=0.1) as it:
        first = it.finish("--limit", "1", "--max-credits", "1000")
        assert "is not enough" not in first.stderr
        assert sum(it.bodies_paid().values()) == 1
        refused = it.finish("--max-credits", "30")
        assert refused.returncode == 3
        assert "--max-credits 30 is not enough" in refused.stderr
        assert sum(it.bodies_paid().values()) == 1
        part = it.finish("--max-credits", "30", "--limit", "2")
        assert "is not enough" not in part.stderr
        assert sum(it.bodies_paid().values()) == 2


def running(it: Bench) -> int:
    """Tasks that the state knows, as far as there is one."""
    state = it.out / "state.sqlite3"
    if not state.is_file():
        return 0
    with open_reader(state) as reader:
        return reader.counts()[RowStatus.RUNNING]


def test_a_price_list_refuses_before_the_first_request(tmp_path: Path) -> None:
    """Nothing has to be paid to find out that it is too much, and a large sum is written out."""
    with bench(tmp_path, manifest(tmp_path), latency_s=0.1) as it:
        profile = tmp_path / "quick.yaml"
        profile.write_text(profile.read_text() + f"prices: {{{MODEL}: 80000}}\nprices_as_of: 2026-11-01\n")
        refused = it.finish("--max-credits", "1234567")
        assert refused.returncode == 3
        assert "--max-credits 1,234,567 is not enough" in refused.stderr
        assert "estimated at 1,920,000 credits" in refused.stderr
        assert "Nothing new is paid for: give a higher limit" in refused.stderr
        assert it.tasks_paid() == set()


def test_a_refused_run_still_collects_what_is_paid_for(tmp_path: Path) -> None:
    """A limit that is too low keeps new rows from being sent, not images from being fetched."""
    with bench(tmp_path, manifest(tmp_path), latency_s=2.0) as it:
        killed = it.start("--limit", "2")
        until(lambda: running(it) == 2)  # their replies are on disk, and so is what they cost
        killed.kill()
        killed.communicate()
        refused = it.finish("--max-credits", "17")
        assert refused.returncode == 3, refused.stderr
        assert "Nothing new is paid for" in refused.stderr
        assert sorted(read_results(it.out)["status"]).count("completed") == 2
        assert len(it.tasks_paid()) == 2
