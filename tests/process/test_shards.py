"""A manifest in several folders, by several processes: judged by what the service was asked to charge for."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import nanobanana_batch as nb
from nanobanana_batch.errors import DiskFailed
from nanobanana_batch.jobs.procs import run as procs
from nanobanana_batch.service.ledger import read_ledger
from tests.campaign.kill_shards import campaign, children
from tests.process.harness import KEY, Bench, bench, cli, small_manifest

ROWS = 24


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Bench]:
    """A service, and a manifest of a few rows."""
    with bench(tmp_path, small_manifest(tmp_path, ROWS), latency_s=0.2) as found:
        yield found


def results(folder: Path) -> list[dict[str, str]]:
    """The lines of a results.csv."""
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def paid(it: Bench) -> int:
    """Requests that were charged for."""
    return len(read_ledger(it.data).tasks)


def test_shards_on_their_own_make_each_row_once_and_are_merged_in_order(it: Bench) -> None:
    """Each in its folder below the manifest's; together they have what one run has."""
    for number in (2, 1):
        plan = cli("plan", str(it.manifest), *it.where, "--shard", f"{number}/2", "--json", cwd=it.folder)
        planned = json.loads(plan.stdout)
        before = paid(it)
        done = cli("run", str(it.manifest), *it.where, "--shard", f"{number}/2", cwd=it.folder)
        assert done.returncode == 0, done.stderr
        assert planned["to_submit"] == planned["groups"][0]["to_submit"] == paid(it) - before
    assert paid(it) == ROWS
    home = it.folder / "outputs" / "small"
    folders = sorted(str(each) for each in home.glob("shard-*"))
    half_written = home / f".results.csv.{2**31 - 2}.part"  # by one that was killed
    half_written.write_text("id,")
    merged = cli("merge", *folders, *it.where[:2], cwd=it.folder)
    assert merged.returncode == 0, merged.stderr
    assert not half_written.exists()
    assert f"{ROWS} of {ROWS} rows completed in 2 folders" in merged.stdout
    rows = results(home)
    assert [row["id"] for row in rows] == [f"row-{n}" for n in range(ROWS)]
    assert all((home / row["image"]).is_file() for row in rows)
    assert {row["folder"] for row in rows} == {"shard-1-of-2", "shard-2-of-2"}
    half = cli("merge", folders[0], *it.where[:2], "--out", str(it.folder), cwd=it.folder)
    assert half.returncode == 1
    assert "Not among them, and in no number here: shard 2/2." in half.stdout
    of_home = cli("merge", str(home), *it.where[:2], cwd=it.folder)
    assert of_home.returncode == 2
    assert "It holds the folders of shards" in of_home.stderr


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        (["--shard", "1/2"], ["--shard", "1/3"], "divided by 2"),
        (["--shard", "1/2"], [], "divided by 2"),
        (["--shard", "1/2"], ["--procs", "3"], "divided by 2"),
        ([], ["--shard", "1/2"], "worked on without --shard"),
        (["--shard", "1/2", "--out", "o"], ["--shard", "2/2", "--out", "o"], "was worked on for shard 1/2"),
        (["--shard", "1/2", "--out", "o"], ["--out", "o"], "was worked on for shard 1/2"),
        (["--out", "o"], ["--shard", "1/2", "--out", "o"], "worked on for all of its manifest"),
    ],
)
def test_what_would_pay_rows_in_two_folders_is_refused(
    it: Bench, first: list[str], then: list[str], told: str
) -> None:
    """With what to do; `plan` says the same, and nothing is sent."""
    begun = cli("run", str(it.manifest), *it.where, *first, cwd=it.folder)
    assert begun.returncode == 0, begun.stderr
    before = paid(it)
    done = cli("run", str(it.manifest), *it.where, *then, cwd=it.folder)
    assert done.returncode == 2
    assert told in done.stderr
    if "--procs" not in then:
        planned = cli("plan", str(it.manifest), *it.where, *then, cwd=it.folder)
        assert told in planned.stderr
    assert paid(it) == before


def test_a_state_that_was_made_anew_is_not_of_another_shard(it: Bench) -> None:
    """It remembers no shard; its rows tell."""
    done = cli("run", str(it.manifest), *it.where, "--shard", "1/2", "--out", "o", cwd=it.folder)
    assert done.returncode == 0, done.stderr
    (it.folder / "o" / "state.sqlite3").unlink()
    cli("audit", "o", "--rebuild", cwd=it.folder)
    before = paid(it)
    wrong = cli("run", str(it.manifest), *it.where, "--shard", "2/2", "--out", "o", cwd=it.folder)
    assert wrong.returncode == 2
    assert "rows that are not in it" in wrong.stderr
    right = cli("run", str(it.manifest), *it.where, "--shard", "1/2", "--out", "o", cwd=it.folder)
    assert right.returncode == 0, right.stderr
    assert paid(it) == before


def test_the_first_rows_are_those_of_the_whole_manifest(it: Bench) -> None:
    """All shards together make what one run with the same limit makes."""
    for number in (1, 2, 3):
        limited = ("--shard", f"{number}/3", "--limit", "7")
        assert cli("run", str(it.manifest), *it.where, *limited, cwd=it.folder).returncode == 0
    assert paid(it) == 7


def test_processes_make_all_rows_and_end_as_one(it: Bench) -> None:
    """A single outcome, one table in manifest order, and nothing to do the next time."""
    done = it.finish("--procs", "2")
    assert done.returncode == 0, done.stderr
    assert f"{ROWS} of {ROWS} rows completed." in done.stderr
    assert [row["id"] for row in results(it.out)] == [f"row-{n}" for n in range(ROWS)]
    again = it.finish("--procs", "2")
    assert "nothing was sent" in again.stderr
    assert paid(it) == ROWS


def test_all_processes_together_stay_within_what_may_be_spent(it: Bench) -> None:
    """A folder of each; the limit is that of all. The next run knows what all of them have cost."""
    first = it.finish("--procs", "2", "--limit", "2")
    assert first.returncode == 0, first.stderr
    price = sum(float(row["credits"] or 0) for row in results(it.out)) / 2
    done = it.finish("--procs", "2", "--max-credits", str(8 * price), "--limit", "8")
    assert done.returncode == 0, done.stderr
    refused = it.finish("--procs", "2", "--max-credits", str(10 * price))
    assert refused.returncode == 3
    assert refused.stderr.count("is not enough: all shards together are estimated at") == 1
    assert "Run the same command again" not in refused.stderr
    assert paid(it) == 8


def test_one_interrupt_collects_in_all_processes(it: Bench) -> None:
    """Who interrupts the run has asked each of them; afterwards none is left, and the run goes on."""
    process = it.start("--procs", "2", "--concurrency", "2")
    while paid(it) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    started = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.count("Stopping: nothing more is submitted") == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    rows = results(it.out)
    assert sum(row["status"] == "completed" for row in rows) == paid(it)
    assert it.finish("--procs", "2").returncode == 0
    assert paid(it) == ROWS


def test_a_run_that_ignores_ctrl_c_stops_all_processes_when_it_is_asked_to_otherwise(it: Bench) -> None:
    """A shell has `cmd &` ignore SIGINT, and all that it starts: by which it stops its processes."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = it.start("--procs", "2", "--concurrency", "2")
    finally:
        signal.signal(signal.SIGINT, before)
    while paid(it) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert paid(it) < ROWS
    assert sum(row["status"] == "completed" for row in results(it.out)) == paid(it)


def test_a_process_that_is_killed_is_started_again(it: Bench) -> None:
    """And pays for nothing twice."""
    process = it.start("--procs", "2", "--concurrency", "4")
    while paid(it) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "was ended by signal 9; it is started again" in said
    assert set(it.bodies_paid().values()) == {1}
    assert paid(it) == ROWS


def test_where_the_run_is_killed_its_processes_end_without_a_word(it: Bench) -> None:
    """Nobody hears them any more: that is no error of theirs. The same command goes on."""
    process = it.start("--procs", "2", "--concurrency", "4")
    while paid(it) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    _, said = process.communicate(timeout=60)  # until the last of them has ended: it is their stream, too
    assert "Traceback" not in said, said
    assert it.finish("--procs", "2").returncode == 0
    assert paid(it) == ROWS


def test_kills_of_shards_and_of_the_run_pay_nothing_twice_and_lose_nothing(tmp_path: Path) -> None:
    """The short form of the campaign."""
    found = campaign(tmp_path, rows=60, procs=2, kills=4, seed=5)
    assert found.kills >= 4
    assert found.paid_twice == 0, found
    assert found.lost == 0, found
    assert found.completed + found.failed + found.held == found.rows == 60


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--procs", "2", "--shard", "1/2"], "give one of them"),
        (["--procs", "5", "--concurrency", "4"], "--procs 5 is more than --concurrency 4"),
        (["--shard", "3/2"], "is no shard such as 1/4"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(it: Bench, flags: list[str], told: str) -> None:
    """With exit 2."""
    done = it.finish(*flags)
    assert done.returncode == 2
    assert told in done.stderr
    assert paid(it) == 0


def test_what_is_wrong_for_all_shards_is_told_once_and_as_of_the_run(it: Bench) -> None:
    """A manifest with a mistake, and a limit that all of them reach."""
    mistaken = it.folder / "mistaken.csv"
    mistaken.write_text("prompt,model,resolution\na cat,gemini-3.1-flash-image-preview,9K\n")
    told = cli("run", str(mistaken), *it.where, "--procs", "2", cwd=it.folder)
    assert told.returncode == 2
    assert "shard" not in told.stderr
    assert told.stderr.count("9K") == 1
    assert not (it.folder / "outputs").exists(), "nothing was begun, and nothing is left behind"
    limited = it.finish("--procs", "2", "--max-credits", "30")
    assert limited.returncode == 3
    assert "The key in" not in limited.stderr.replace("The key in", "", 1)


def test_where_one_process_cannot_begin_none_sends(it: Bench) -> None:
    """The folder of the second one is another manifest's part."""
    other = ("--shard", "1/2", "--out", str(it.out / "shard-2-of-2"))
    wrong = cli("run", str(it.manifest), *it.where, *other, cwd=it.folder)
    assert wrong.returncode == 0, wrong.stderr
    before = paid(it)
    done = it.finish("--procs", "2")
    assert done.returncode == 2, done.stderr
    assert "was worked on for shard 1/2" in done.stderr
    assert paid(it) == before


def test_a_dry_run_of_several_processes_knows_what_they_have_paid_for(it: Bench) -> None:
    """It reads the folders that they would work in, and says the sums."""
    run = ("run", str(it.manifest), *it.where, "--out", "o", "--procs", "2")
    before = cli(*run, "--dry-run", cwd=it.folder)
    assert f"All: {ROWS} rows, {ROWS} to pay for: " in before.stdout, before.stderr
    assert cli(*run, "--limit", "10", cwd=it.folder).returncode == 0
    after = cli(*run, "--dry-run", cwd=it.folder)
    assert f"All: {ROWS} rows, {ROWS - 10} to pay for: " in after.stdout, after.stderr
    as_json = cli(*run, "--dry-run", "--json", cwd=it.folder)
    assert sum(plan["to_submit"] for plan in json.loads(as_json.stdout)) == ROWS - 10
    assert paid(it) == 10
    on_ray = ("--dry-run", "--ray", "auto", "--journal", "j", "--json")
    of_cluster = cli(*run[:-2], *on_ray, "--shards", "2", cwd=it.folder)
    assert of_cluster.stdout == as_json.stdout, "the shards are the same wherever they are made"
    otherwise = cli(*run[:-2], *on_ray, "--shards", "3", cwd=it.folder)
    assert (otherwise.returncode, "divided by 2" in otherwise.stderr) == (2, True)
    refused = cli(*run, "--dry-run", "--shard", "1/2", cwd=it.folder)
    assert (refused.returncode, "--procs and --shard" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--shards", "4"], "--shards and --bring-to need --ray"),
        (["--bring-to", "there"], "--shards and --bring-to need --ray"),
        (["--ray", "here"], "--ray needs --shards"),
        (["--ray", "here", "--shards", "2", "--procs", "2"], "--ray and --procs"),
        (["--ray", "here", "--shards", "2"], "--ray needs --journal"),
        (["--ray", "here", "--shards", "2", "--journal", "j", "--shard", "1/2"], "without --shard"),
        (["--ray", "here", "--shards", "2", "--journal", "j", "--bring-to", "ftp://there"], "--bring-to"),
        (["--journal", "ftp://there/cats"], "--journal"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(it: Bench, flags: list[str], told: str) -> None:
    """Else it would say what never comes."""
    for also in ([], ["--dry-run"]):
        refused = it.finish(*flags, *also)
        assert refused.returncode == 2
        assert told in refused.stderr


def test_without_room_for_the_table_what_was_paid_is_told(
    it: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk is full when all is made: the images are there, and the same command writes the table."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    monkeypatch.setattr(procs, "write_merged", full)
    where = {"provider": it.where[1], "base_url": it.where[3]}
    with pytest.raises(DiskFailed), caplog.at_level("INFO", logger="nanobanana_batch"):
        nb.run(it.manifest, out=it.out, procs=2, limit=4, progress=False, **where)  # type: ignore[arg-type]
    assert paid(it) == 4
    (told,) = [line for line in caplog.messages if line.startswith("All shards together: ")]
    assert told.startswith("All shards together: 4 of 4 rows completed; credits used so far: ")
    assert not told.endswith(": 0.")


def full(folders: object, home: object) -> Path:
    """As where nothing is left of the disk."""
    raise DiskFailed("The disk is full (writing results.csv).")


def is_shard(pid: int) -> bool:
    """The service is a process, too."""
    return b"nanobanana_batch.jobs.procs" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_process_that_says_nothing_is_told_once_with_the_time(
    it: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is stopped, and goes on later; the others have made their rows meanwhile."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    where = {"provider": it.where[1], "base_url": it.where[3]}

    def stop_one() -> None:
        until = time.monotonic() + 60.0
        while paid(it) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        monkeypatch.setattr(procs, "_SILENT_LOOKS", 8)  # from here on: to begin takes longer
        stopped = next(pid for pid in children(os.getpid()) if is_shard(pid))
        os.kill(stopped, signal.SIGSTOP)
        try:
            until = time.monotonic() + 60.0
            while time.monotonic() < until and not any("said nothing" in line for line in caplog.messages):
                time.sleep(0.05)
        finally:
            os.kill(stopped, signal.SIGCONT)

    stopper = threading.Thread(target=stop_one)
    stopper.start()
    with caplog.at_level("INFO", logger="nanobanana_batch"):
        nb.run(it.manifest, out=it.out, procs=2, concurrency=2, progress=False, **where)  # type: ignore[arg-type]
    stopper.join()
    told = [line for line in caplog.messages if "has said nothing" in line or "is heard again" in line]
    assert re.fullmatch(r"shard (\d)/2 has said nothing since \d\d:\d\d:\d\d: .*", told[0])
    assert re.fullmatch(r"shard (\d)/2 is heard again, since \d\d:\d\d:\d\d\.", told[1])
    assert len(told) == 2
    assert paid(it) == ROWS


def test_the_place_of_shards_is_not_taken_for_a_folder_that_has_lost_its_state(it: Bench) -> None:
    """Nothing is lost: the shard's own folder is named."""
    run = ("run", str(it.manifest), *it.where, "--out", "o", "--limit", "2")
    assert cli(*run, "--procs", "2", cwd=it.folder).returncode == 0
    done = cli(*run, "--shard", "1/2", cwd=it.folder)
    assert done.returncode == 2
    assert "o holds the folders of shards" in done.stderr
    assert "--out o/shard-1-of-2" in done.stderr
    assert paid(it) == 2


def test_shards_of_different_versions_of_a_manifest_are_not_all_of_it(it: Bench) -> None:
    """New rows of a shard that was not run again are in no state: all that is known is complete."""
    run = ("run", str(it.manifest), *it.where)
    merge = ("merge", *(f"outputs/small/shard-{number}-of-2" for number in (1, 2)), *it.where[:2])
    for number in (1, 2):
        assert cli(*run, "--shard", f"{number}/2", cwd=it.folder).returncode == 0
    small_manifest(it.folder, ROWS + 8)
    assert cli(*run, "--shard", "2/2", cwd=it.folder).returncode == 0
    half = cli(*merge, cwd=it.folder)
    assert half.returncode == 1
    assert "Shards of small were made of different versions of the manifest" in half.stdout
    assert cli(*run, "--shard", "1/2", cwd=it.folder).returncode == 0
    whole = cli(*merge, cwd=it.folder)
    assert (whole.returncode, "different versions" in whole.stdout) == (0, False)
    assert paid(it) == ROWS + 8


def test_shards_of_different_divisions_are_told_and_none_of_them_is_called_missing(it: Bench) -> None:
    """Who ran the missing ones of either would pay for rows that the other has."""
    run = ("run", str(it.manifest), *it.where, "--limit", "1")
    for shard, folder in (("1/2", "one"), ("2/3", "other")):
        assert cli(*run, "--shard", shard, "--out", folder, cwd=it.folder).returncode == 0
    done = cli("merge", "one", "other", *it.where[:2], cwd=it.folder)
    assert done.returncode == 1
    assert "Shards of small are of different divisions" in done.stdout
    assert "Not among them" not in done.stdout


def test_a_persons_own_table_is_not_written_over(it: Bench) -> None:
    """Neither by a merge nor at the end of a run in processes, which is refused before it pays."""
    run = ("run", str(it.manifest), *it.where, "--out", "o", "--limit", "2")
    merge = ("merge", "o/shard-1-of-2", "o/shard-2-of-2", *it.where[:2])
    own = it.folder / "o" / "results.csv"
    own.parent.mkdir()
    own.write_text("my,own\nfirst,table\n")
    refused = cli(*run, "--procs", "2", cwd=it.folder)
    assert (refused.returncode, "is not a table of this program" in refused.stderr) == (2, True)
    assert paid(it) == 0
    own.unlink()
    assert cli(*run, "--procs", "2", cwd=it.folder).returncode == 0
    assert "Results: o/results.csv" in cli(*merge, cwd=it.folder).stdout, "its own is written anew"
    own.write_text("my,own\nfirst,table\n")
    assert cli(*merge, cwd=it.folder).returncode == 2
    assert own.read_text() == "my,own\nfirst,table\n"
    elsewhere = cli(*merge, "--out", "new/week", cwd=it.folder)
    assert "Results: new/week/results.csv" in elsewhere.stdout, elsewhere.stderr
    assert results(it.folder / "new" / "week")[0]["folder"].endswith("o/shard-1-of-2")


def test_folders_in_which_the_same_row_was_paid_for_are_not_merged(it: Bench) -> None:
    """That is money: it is told, with the credits, and no table is written."""
    for name in ("a", "b"):
        made = cli("run", str(it.manifest), *it.where, "--limit", "3", "--out", name, cwd=it.folder)
        assert made.returncode == 0, made.stderr
    done = cli("merge", "a", "b", *it.where[:2], cwd=it.folder)
    assert done.returncode == 2
    assert "3 rows were paid for in more than one of these folders" in done.stderr
    assert "row-0 in a (" in done.stderr
    assert not (it.folder / "results.csv").exists()


def test_a_folder_and_its_copy_are_no_money_paid_twice(it: Bench) -> None:
    """Nor is one that is named twice: a person would look for a loss that there is not."""
    made = cli("run", str(it.manifest), *it.where, "--limit", "3", "--out", "a", cwd=it.folder)
    assert made.returncode == 0, made.stderr
    (it.folder / "link").symlink_to("a")
    for others, told in (
        (["a"], "a and a are the same folder"),
        (["./b/../a"], "are the same folder"),
        (["link"], "a and link are the same folder"),
        (["b"], "a and b tell of the same payments"),
        (["b", "c"], "a and b and c tell of the same payments"),
    ):
        for name in ("b", "c"):
            shutil.copytree(it.folder / "a", it.folder / name, dirs_exist_ok=True)
        done = cli("merge", "a", *others, *it.where[:2], cwd=it.folder)
        assert done.returncode == 2
        assert told in done.stderr
        assert "paid for in more" not in done.stderr
    assert not (it.folder / "results.csv").exists()


def test_a_copy_that_went_on_has_paid_for_rows_twice(it: Bench) -> None:
    """Only for those that both have sent."""
    run = ("run", str(it.manifest), *it.where, "--as-copy")
    assert cli(*run, "--limit", "3", "--out", "a", cwd=it.folder).returncode == 0
    shutil.copytree(it.folder / "a", it.folder / "b")
    for name in ("a", "b"):
        assert cli(*run, "--limit", "5", "--out", name, cwd=it.folder).returncode == 0
    done = cli("merge", "a", "b", *it.where[:2], cwd=it.folder)
    assert done.returncode == 2
    assert "2 rows were paid for in more than one of these folders" in done.stderr
    assert "row-3 in a (" in done.stderr


PAGE = (Path(__file__).parents[2] / "docs" / "shards.md").read_text(encoding="utf-8")
SKYLINES = """name: skylines
defaults: {model: nano-banana-beta}
matrix: {n: [1, 2, 3, 4, 5, 6]}
prompt: "{n}"
"""


def recipe(kind: str) -> str:
    """What the page shows of a kind, at the embedded service."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)
    return str(found).replace("--concurrency 16", "--concurrency 16 --provider local")


def typed(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """As in a shell that finds this program."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **variables}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_the_recipe_for_make_makes_all_shards(tmp_path: Path) -> None:
    """And one table of them; with nothing to do it does nothing."""
    (tmp_path / "skylines.yaml").write_text(SKYLINES)
    (tmp_path / "Makefile").write_text(recipe("make"))
    made = typed("make", "-k", "-j2", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    rows = results(tmp_path / "outputs" / "skylines")
    assert [row["status"] for row in rows] == ["completed"] * 6


def test_the_recipe_for_slurm_makes_each_shard(tmp_path: Path) -> None:
    """What Slurm starts, with the number that it gives."""
    (tmp_path / "skylines.yaml").write_text(SKYLINES)
    (tmp_path / "shards.sh").write_text(recipe("bash"))
    for number in ("1", "2", "3", "4"):
        done = typed("bash", "shards.sh", cwd=tmp_path, SLURM_ARRAY_TASK_ID=number)
        assert done.returncode == 0, done.stderr
    folders = sorted(map(str, (tmp_path / "outputs" / "skylines").glob("shard-*")))
    assert typed("nanobanana-batch", "merge", *folders, cwd=tmp_path).returncode == 0
    assert len(results(tmp_path / "outputs" / "skylines")) == 6


def test_a_limit_that_is_one_shards_alone_is_told(it: Bench) -> None:
    """Nobody else knows of it; all together may spend more."""
    done = cli("run", str(it.manifest), *it.where, "--shard", "1/4", "--max-credits", "500", cwd=it.folder)
    assert "--max-credits 500 is the limit of shard 1/4 alone; all 4 together may cost 2,000" in done.stderr


def test_placeholders_of_several_processes_cost_nothing(it: Bench) -> None:
    """The sum says what each of its parts says."""
    run = ("run", str(it.manifest), "--provider", "local", "--out", "free", "--procs", "2", "--dry-run")
    planned = cli(*run, cwd=it.folder)
    assert f"All: {ROWS} rows, {ROWS} to pay for: nothing: placeholders are drawn" in planned.stdout


def test_the_folder_in_which_shards_stand_is_told_from_one_of_them(it: Bench) -> None:
    """With what to name instead."""
    assert it.finish("--procs", "2", "--limit", "2").returncode == 0
    done = cli("status", str(it.out), cwd=it.folder)
    assert done.returncode == 2
    told = re.search("It holds the folders of shards: `nanobanana-batch (merge [^`]+)` tells", done.stderr)
    assert told is not None, done.stderr
    merged = cli(*shlex.split(told[1]), cwd=it.folder)
    assert f"2 of {ROWS} rows completed in 2 folders" in merged.stdout, merged.stderr
