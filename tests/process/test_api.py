"""Programs that use the package, against the embedded service: what is made is made once."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pandas
import pytest

import nanobanana_batch as nb
from nanobanana_batch.results import read_results
from nanobanana_batch.service.ledger import read_ledger
from tests.process.harness import MODEL, cli, wrong_hashes
from tests.process.test_run import paid_so_far, until

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"


def rows(count: int) -> list[dict[str, Any]]:
    """Small pictures."""
    return [
        {"id": f"r{n}", "prompt": f"a cat, {n}", "model": MODEL, "aspect_ratio": "1:1", "resolution": "0.5K"}
        for n in range(count)
    ]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)


def paid(folder: Path) -> int:
    """Tasks that its embedded service was paid for."""
    return read_ledger(folder / ".service").summary.paid_tasks


def test_a_run_goes_on_from_rows_a_table_a_file_and_the_command_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The same rows in the same folder: each is paid for once. Nothing is printed to standard output."""
    first = nb.run(rows(4), out="out", provider="local", limit=2, progress=False)
    assert (first.counts[nb.RowStatus.COMPLETED], first.rows, first.exit_code) == (2, 2, 0)
    second = nb.run(pandas.DataFrame(rows(4)), out="out", provider="local")
    assert (second.counts[nb.RowStatus.COMPLETED], second.had_work) == (4, True)
    with open("rows.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows(1)[0]))
        table.writeheader()
        table.writerows(rows(4))
    assert not nb.run("rows.csv", out="out", provider="local").had_work
    assert capfd.readouterr().out == ""
    ended = cli("run", "rows.csv", "--out", "out", "--provider", "local", cwd=Path.cwd(), key=None)
    assert "There was nothing to do" in ended.stderr
    assert paid(first.folder) == 4
    assert wrong_hashes(first.folder) == []
    assert nb.open_run("out").to_pandas().equals(read_results("out"))


def test_a_folder_is_read_while_a_run_goes_on() -> None:
    """Also by another thread than that of the run."""
    has_come = threading.Event()

    def look(live: nb.Live) -> None:
        if live.completed:
            has_come.set()

    outcomes = list[nb.Outcome]()
    going = threading.Thread(
        target=lambda: outcomes.append(
            nb.run(rows(24), out="out", provider="local", concurrency=2, progress=look)
        )
    )
    going.start()
    try:
        assert has_come.wait(120)
        with nb.open_run("out") as run:
            made = [row for row in run.rows() if row.image]
            assert len(run) == 24
            assert made[0].open().size == (512, 512)
            assert run.status().counts["completed"] >= len(made)
    finally:
        going.join()
    assert outcomes[0].exit_code == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_goes_on_while_a_run_is_awaited(backend: str) -> None:
    """Of whichever kind; a function is called meanwhile."""
    turns, seen = 0, list[nb.Live]()

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0.01)
            turns += 1

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(count)
            outcome = await nb.run_async(rows(3), out="out", provider="local", progress=seen.append)
            assert outcome.exit_code == 0
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert turns > 5
    assert (seen[-1].completed, seen[-1].rows) == (3, 3)


def test_what_is_cancelled_leaves_nothing_paid_behind() -> None:
    """All that was paid for is there, and the next call makes the rest."""

    async def main() -> None:
        with anyio.CancelScope() as scope:

            def look(live: nb.Live) -> None:
                if live.completed:
                    loop_token.set()

            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    await anyio.to_thread.run_sync(loop_token.wait)
                    scope.cancel()

                group.start_soon(cancel)
                await nb.run_async(rows(60), out="out", provider="local", concurrency=4, progress=look)

    loop_token = threading.Event()
    anyio.run(main)
    counts = nb.open_run("out").status().counts
    assert 0 < counts["completed"] < 60
    assert counts["completed"] + counts["pending"] == 60
    assert paid(Path("out")) == counts["completed"]


LOOP = """
import asyncio
import nanobanana_batch as nb
model = {model!r}
for name in ("one", "two"):
    rows = [{{"prompt": f"{{name}} {{n}}", "model": model, "aspect_ratio": "1:1", "resolution": "0.5K"}}
            for n in range(60)]
    {call}
"""
CALL = "(rows, name=name, provider='local', concurrency=4)"


@pytest.mark.parametrize(
    ("call", "code", "last"),
    [
        (f"nb.run{CALL}", 1, "Interrupted: interrupted; the same call goes on in outputs/one"),
        (f"asyncio.run(nb.run_async{CALL})", -signal.SIGINT, "KeyboardInterrupt"),
    ],
    ids=["run", "run_async"],
)
def test_an_interrupted_program_ends_and_has_what_was_paid_for(
    tmp_path: Path, call: str, code: int, last: str
) -> None:
    """It does not go on with the next manifest; called again it makes the rest."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP.format(model=MODEL, call=call)],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    one = tmp_path / "outputs" / "one"
    until(lambda: paid_so_far(one / ".service") >= 3)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (code, "")
    assert "Stopping: nothing more is submitted" in err
    assert err.splitlines()[-1].endswith(last)
    assert not (tmp_path / "outputs" / "two").exists()
    counts = nb.open_run(one).status().counts
    assert 0 < counts["completed"] < 60
    assert counts["completed"] + counts["pending"] == 60
    assert paid(one) == counts["completed"]


def test_what_is_lost_is_found_and_fetched() -> None:
    """`audit` says what is not explained, and with `repair` sets it right; there is nothing to retry."""
    nb.run(rows(2), out="out", provider="local", progress=False)
    Path("out/images/r0.png").unlink()
    assert [found.kind for found in nb.audit("out").findings] == ["missing"]
    assert nb.open_run("out").row("r0").image is None
    assert nb.audit("out", repair=True, provider="local", progress=False).findings == ()
    assert nb.open_run("out").row("r0").open().size == (512, 512)
    assert not nb.retry("out", "failed", progress=False).had_work
    with pytest.raises(nb.UsageError, match="has no row nobody"):
        nb.retry("out", "failed", rows=["nobody"], progress=False)
    assert paid(Path("out")) == 2


def test_a_pilot_says_what_the_rest_will_cost() -> None:
    """As on the command line."""
    outcome = nb.run(rows(5), out="out", provider="local", pilot=2, progress=False)
    assert outcome.projection
    assert (outcome.rows, outcome.projection.rows_left) == (2, 3)
    assert nb.plan(rows(5), out="out", provider="local").to_submit == 3


def test_two_runs_of_one_folder_do_not_meet() -> None:
    """The second one has sent nothing; runs of two folders go on side by side in one process."""
    ends = dict[str, object]()
    has_come = threading.Event()

    def run(out: str, progress: Any) -> None:
        try:
            ends[out] = nb.run(rows(12), out=out, provider="local", concurrency=2, progress=progress)
        except nb.NanobananaError as error:
            ends[out] = error

    def look(live: nb.Live) -> None:
        if live.completed and not has_come.is_set():
            has_come.set()

    threads = [
        threading.Thread(target=run, args=("out", look)),
        threading.Thread(target=run, args=("b", False)),
    ]
    for thread in threads:
        thread.start()
    try:
        assert has_come.wait(120)
        with pytest.raises(nb.FolderInUse):
            nb.run(rows(12), out="out", provider="local", progress=False)
    finally:
        for thread in threads:
            thread.join()
    assert [end.exit_code for end in ends.values() if isinstance(end, nb.Outcome)] == [0, 0]


def test_what_the_page_shows_can_be_carried_out() -> None:
    """From its first line to its last, in one program."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 5
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "3 3 0.0\n3 18.0 \n" in done.stdout
    assert "cats:1 resolution '9K' is not allowed" in done.stdout
    assert re.search(r"^3 of 3 ", done.stdout, re.M)


def test_the_page_names_every_public_function() -> None:
    """And no other."""
    text = PAGE.read_text(encoding="utf-8")
    functions = {name for name in nb.__all__ if name.islower()}
    assert {name for name in functions if re.search(rf"(`|nb\.|await ){name}\(", text)} == functions
    assert set(re.findall(r"\bnb\.(\w+)", text)) <= {*nb.__all__}


STRICT = """
from pathlib import Path
from typing import assert_type

import pandas

import nanobanana_batch as nb

plan = nb.plan("m.yaml", provider="local", max_credits=3, pilot=4)
assert_type(plan, nb.Plan)
options: nb.RunOptions = {"max_outage": "2h", "max_failures": 3, "defaults": {"web_search": True}}
outcome = nb.run([{"prompt": "a cat", "n": 3}], name="x", progress=lambda live: live.done_at, **options)
assert_type(outcome, nb.Outcome)
assert_type(outcome.counts[nb.RowStatus.COMPLETED], int)
nb.run(["a cat"], out=Path("out"), progress=False)
nb.run(pandas.DataFrame(), name="x")
nb.run(({"prompt": str(n)} for n in range(3)), name="x", rate=None)


async def later() -> None:
    assert_type(await nb.run_async(Path("m.csv")), nb.Outcome)


with nb.open_run(outcome.folder) as run:
    assert_type(run, nb.RunFolder)
    assert_type(run.status(), nb.Standing)
    for row in run.rows():
        assert_type(row, nb.Row)
        assert_type(row.image, Path | None)
        assert_type(row.open().size, tuple[int, int])
        row.image.name  # type: ignore[union-attr]
    run.to_pandas().head()
    len(run)
assert_type(nb.audit("out", repair=True).findings[0].advice, str)
assert_type(nb.retry("out", "failed", rows=["a"]), nb.Outcome)
try:
    pass
except nb.Interrupted as interrupt:
    assert_type(interrupt.outcome, nb.Outcome)
except nb.ManifestError as error:
    assert_type(error.problems, tuple[nb.Problem, ...])

nb.rum  # type: ignore[attr-defined]
nb.run(3)  # type: ignore[arg-type]
nb.run("m.yaml", concurency=3)  # type: ignore[call-arg]
nb.run("m.yaml", rate="fast")  # type: ignore[arg-type]
nb.run("m.yaml", on_unknown="guess")  # type: ignore[arg-type]
nb.retry("out", "all")  # type: ignore[arg-type]
row.id = "another"  # type: ignore[misc]
"""
"""What is marked to be ignored has to be an error: else the mark is one."""


def test_a_strictly_typed_program_is_checked_by_what_the_package_says(tmp_path: Path) -> None:
    """What is right passes, and slips are found before anything is run."""
    program = tmp_path / "program.py"
    program.write_text(STRICT, encoding="utf-8")
    done = subprocess.run(  # from here, so that what lint has found out about the package is not found anew
        [sys.executable, "-m", "mypy", "--strict", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert (done.stdout, done.returncode) == ("Success: no issues found in 1 source file\n", 0)
