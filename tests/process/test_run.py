"""The command line as a process: against a service on a real port, killed, interrupted and resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobanana_batch.results import read_results
from nanobanana_batch.service.ledger import read_ledger
from nanobanana_batch.service.options import Faults
from tests.campaign.kill import many
from tests.process.harness import KEY, MODEL, Bench, bench, cli, small_manifest, start_cli, wrong_hashes


def until(check: Callable[[], bool], deadline_s: float = 60) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + deadline_s
    while not check():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def paid_so_far(data: Path) -> int:
    """Tasks charged for by a service that may only just be making its files."""
    try:
        return read_ledger(data).summary.paid_tasks
    except sqlite3.OperationalError:
        return 0


def paid(it: Bench) -> int:
    """Tasks that the service has charged for."""
    return read_ledger(it.data).summary.paid_tasks


def test_a_manifest_becomes_images_and_results(tmp_path: Path) -> None:
    """Every row completed, each paid once, each file with its hash; a second run sends nothing at all."""
    with bench(tmp_path, small_manifest(tmp_path, 20), latency_s=0.2) as it:
        first = it.finish()
        assert (first.returncode, first.stdout) == (0, "")
        assert "20 of 20 rows completed" in first.stderr
        assert wrong_hashes(it.out) == []
        assert list(it.bodies_paid().values()) == [1] * 20
        written = (it.out / "results.csv").stat().st_mtime_ns
        it.service.stop()
        second = it.finish()
    assert second.returncode == 0
    assert (it.out / "results.csv").stat().st_mtime_ns == written


def test_half_a_table_of_a_run_that_was_killed_goes_with_the_next_command_that_works(tmp_path: Path) -> None:
    """With a run that has nothing to do, too; a command that only looks changes nothing."""
    with bench(tmp_path, small_manifest(tmp_path, 2), latency_s=0.1) as it:
        assert it.finish().returncode == 0
        half = it.out / f".results.csv.{2**31 - 2}.part"
        commands = {"run": [str(it.manifest), "--out", str(it.out)], "audit": [str(it.out), "--repair"]}
        for command, words in commands.items():
            half.write_text("id,")
            cli("status", str(it.out), cwd=it.folder)
            assert half.exists()
            assert cli(command, *words, *it.where, cwd=it.folder).returncode == 0
            assert not half.exists(), command


def test_a_run_without_a_proxy_loads_neither_httpx_nor_what_it_does_not_show(tmp_path: Path) -> None:
    """They take as long as some hundred rows; no library of the tests (trio) comes in with them either."""
    program = (
        "import atexit, sys; heavy = {'httpx', 'httpcore', 'trio', 'h11', 'tqdm'};"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))));"
        "from nanobanana_batch.cli import main; main()"
    )
    with bench(tmp_path, small_manifest(tmp_path, 2), latency_s=0.1) as it:
        words = ["run", str(it.manifest), *it.where, "--out", str(it.out), "--no-progress"]
        ended = subprocess.run(
            [sys.executable, "-c", program, *words],
            env={**os.environ, "EVOLINK_API_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


def test_local_needs_no_key_and_resumes_on_its_own_data(tmp_path: Path) -> None:
    """`--provider local` completes without a key; the service goes away with the run, its tasks stay."""
    table = small_manifest(tmp_path, 12)
    words = ("run", str(table), "--provider", "local", "--out", "out")
    killed = start_cli(*words, cwd=tmp_path, key=None)
    data = tmp_path / "out" / ".service"
    until(lambda: paid_so_far(data) >= 3)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    done = cli(*words, cwd=tmp_path, key=None)
    assert done.returncode == 0, done.stderr
    assert read_ledger(data).summary.paid_tasks == 12
    assert wrong_hashes(tmp_path / "out") == []


def test_a_run_says_what_is_worth_a_warning(tmp_path: Path) -> None:
    """On stderr, before anything is paid for."""
    text = f"defaults: {{model: {MODEL}}}\nprompt: a cat\nmatrix:\n  take: [one, two]\n"
    (tmp_path / "twice.yaml").write_text(text)
    done = cli("run", "twice.yaml", "--provider", "local", "--out", "out", cwd=tmp_path, key=None)
    assert (done.returncode, done.stdout) == (0, "")
    assert "warning: twice.yaml:4:3: take: no prompt, images or id uses it" in done.stderr


@pytest.mark.parametrize(("says", "submits"), [("honoured", 8), ("unproven", 8), ("ignored", 1)])
def test_kill_9_pays_nothing_twice_and_loses_nothing(tmp_path: Path, says: str, submits: int) -> None:
    """The short form of the kill campaign; `make campaign` is the long one."""
    verdict = many(tmp_path, 4, submits=submits, says=says, seed=11, rows=150 if says == "unproven" else 80)
    assert verdict.kills == 4
    assert verdict.paid_twice == 0
    assert verdict.lost == 0
    assert verdict.completed + verdict.failed + verdict.held == verdict.rows
    assert verdict.failed > 0
    assert (verdict.held, verdict.differing) == (0, 0) or says == "ignored"


def test_the_first_interrupt_drains_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """SIGINT: exit 130, everything paid is collected, nothing is unknown; then the rest."""
    with bench(tmp_path, small_manifest(tmp_path, 40), latency_s=0.5) as it:
        process = it.start("--concurrency", "4")
        until(lambda: paid(it) >= 6)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Run the same command again" in said
        counts = json.loads(cli("status", str(it.out), "--json", cwd=tmp_path).stdout)["counts"]
        assert counts["completed"] == paid(it)
        assert counts["completed"] + counts["pending"] == 40
        assert it.finish().returncode == 0
        assert list(it.bodies_paid().values()) == [1] * 40


def test_two_interrupts_stop_at_once_and_lose_nothing(tmp_path: Path) -> None:
    """The second signal leaves running tasks for the next run, which collects them."""
    with bench(tmp_path, small_manifest(tmp_path, 20), latency_s=4.0) as it:
        process = it.start()
        until(lambda: paid(it) >= 8)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert it.finish().returncode == 0
        assert list(it.bodies_paid().values()) == [1] * 20


def test_a_second_process_leaves_at_once_having_sent_nothing(tmp_path: Path) -> None:
    """Exit 4 for the loser; the winner is not disturbed."""
    with bench(tmp_path, small_manifest(tmp_path, 10), latency_s=2.0) as it:
        winner = it.start()
        until(lambda: paid(it) >= 1)
        winner.send_signal(signal.SIGSTOP)  # so that it is there, however long the other takes to begin
        loser = it.finish()
        winner.send_signal(signal.SIGCONT)
        assert loser.returncode == 4
        assert "Another run" in loser.stderr
        winner.communicate(timeout=60)
        assert winner.returncode == 0
        assert list(it.bodies_paid().values()) == [1] * 10


def test_status_answers_while_a_run_is_going(tmp_path: Path) -> None:
    """`status --json` reads the state next to the writer."""
    with bench(tmp_path, small_manifest(tmp_path, 10), latency_s=2.0) as it:
        process = it.start()
        until(lambda: paid(it) >= 10)
        counts = json.loads(cli("status", str(it.out), "--json", cwd=tmp_path).stdout)["counts"]
        assert sum(counts.values()) == 10
        assert counts["completed"] == 0
        process.communicate(timeout=60)


def test_used_up_credits_end_with_3_and_a_sentence(tmp_path: Path) -> None:
    """402: what was paid for is collected, the rest waits for credits."""
    with bench(tmp_path, small_manifest(tmp_path, 10), latency_s=0.2, credits=13) as it:
        done = it.finish()
        assert done.returncode == 3
        assert "credits" in done.stderr
        frame = read_results(it.out)
        assert (frame["status"] == "completed").sum() == paid(it) > 0


def test_a_failed_row_ends_with_1(tmp_path: Path) -> None:
    """Finished, but not all rows completed: Make must not call it done."""
    faults = Faults(next={"refuse_task": 1})
    with bench(tmp_path, small_manifest(tmp_path, 3), latency_s=0.2, faults=faults) as it:
        done = it.finish()
        assert done.returncode == 1
        assert sorted(read_results(it.out)["status"]) == ["completed", "completed", "refused"]


def test_a_deleted_image_is_fetched_again_without_paying(tmp_path: Path) -> None:
    """While the links live, a file that vanished comes back; the ledger does not move."""
    with bench(tmp_path, small_manifest(tmp_path, 5), latency_s=0.2) as it:
        it.finish()
        before = (it.out / "results.csv").read_bytes()
        (it.out / "images" / "row-3.png").unlink()
        assert it.finish().returncode == 0
        assert (it.out / "images" / "row-3.png").is_file()
        assert (it.out / "results.csv").read_bytes() == before
        assert paid(it) == 5


def test_the_key_is_in_no_byte_that_a_run_writes(tmp_path: Path) -> None:
    """Neither state, results, images, logs, the service's ledger nor the screen hold the key."""
    with bench(tmp_path, small_manifest(tmp_path, 5), latency_s=0.2) as it:
        said = it.finish()
    assert KEY not in said.stdout + said.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_wrong_values_of_every_kind_are_told_at_once_and_nothing_is_sent(tmp_path: Path) -> None:
    """Exit 2 with each bad row named; no output folder, no request."""
    kinds = [
        ("aspect_ratio", "16:10"),
        ("resolution", "8K"),
        ("model", "nano-banana-9"),
        ("output_format", "gif"),
        ("web_search", "perhaps"),
        ("thinking_level", "huge"),
        ("images", "ftp://x/y.png"),
        ("image_search", "7"),
    ]
    fields = [name for name, _ in kinds if name != "model"]
    lines = []
    for n in range(100):
        name, value = kinds[n % len(kinds)]
        given = {"model": MODEL, name: value}
        lines.append(
            ",".join([f"r{n}", f"prompt {n}", given["model"], *(given.get(field, "") for field in fields)])
        )
    table = tmp_path / "bad.csv"
    table.write_text("\n".join([",".join(["id", "prompt", "model", *fields]), *lines]) + "\n")
    with bench(tmp_path, table) as it:
        done = it.finish()
        assert done.returncode == 2
        places = [line for line in done.stderr.splitlines() if line.startswith("    ")]
        assert {str(n + 2) for n in range(100)} == set(re.findall(r"\d+", " ".join(places)))
        assert "100 problems of 8 kinds; nothing was sent." in done.stderr
        assert not it.out.exists()
        assert paid(it) == 0
