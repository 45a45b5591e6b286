"""A machine dies with its folder, or two go on at once: each row is paid once, says the service's ledger."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.results import read_results
from tests.process.harness import Bench, bench, small_manifest, wrong_hashes
from tests.process.surroundings import until

ROWS = 8


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A service that remembers no keys: what was sent and is sent anew is paid for twice."""
    folder = tmp_path_factory.mktemp("journal")
    with bench(folder, small_manifest(folder, ROWS), latency_s=2.0, idempotency="ignored") as running:
        yield running


def told(journal: Path) -> str:
    return b"".join(path.read_bytes() for path in sorted(journal.glob("*.jsonl"))).decode()


def another_machine(it: Bench) -> Bench:
    """It sees the journal, and none of the folders of others."""
    return replace(it, out_name=f"{it.out_name}-again")


def paid_of(it: Bench, before: set[str]) -> int:
    return len(it.tasks_paid() - before)


@pytest.mark.parametrize("is_bounded", [False, True])
def test_a_machine_that_dies_with_its_folder_is_replaced(it: Bench, is_bounded: bool) -> None:
    """By one with an empty folder: it finds what is running by its tasks, and pays for what is left."""
    it = it.another(small_manifest(it.folder, ROWS, f"dies-{is_bounded}"))
    before, journal = it.tasks_paid(), it.folder / f"journal-{is_bounded}"
    flags = ("--journal", str(journal), *(("--concurrency", "3") if is_bounded else ()))
    process = it.start(*flags)
    until(lambda: told(journal).count('"fact":"Accepted"') >= (3 if is_bounded else ROWS))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    shutil.rmtree(it.out)
    other = another_machine(it)
    ended = other.finish(*flags)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"The journal at .* knows more than", ended.stderr)
    assert list(read_results(other.out)["status"]) == ["completed"] * ROWS
    assert wrong_hashes(other.out) == []
    assert paid_of(it, before) == ROWS


def test_of_two_machines_at_once_the_later_one_pays(it: Bench) -> None:
    """The first stops before it pays for anything more; what it has paid for, both have."""
    it = it.another(small_manifest(it.folder, 24, "both"))
    before, journal = it.tasks_paid(), it.folder / "journal-both"
    flags = ("--journal", str(journal), "--concurrency", "3")
    first = it.start(*flags)
    until(lambda: told(journal).count('"fact":"Accepted"') >= 3)
    other = another_machine(it)
    ended = other.finish(*flags)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 3, err
    assert "was taken over on the machine" in err
    assert ended.returncode == 0, ended.stderr
    assert paid_of(it, before) == 24


def test_a_folder_whose_journal_cannot_be_reached_pays_for_nothing(it: Bench) -> None:
    it = it.another(small_manifest(it.folder, 2, "unreachable"))
    before, blocked = it.tasks_paid(), it.folder / "blocked"
    blocked.write_text("a file")
    ended = it.finish("--journal", str(blocked / "journal"))
    assert ended.returncode in (2, 3)
    assert "Traceback" not in ended.stderr
    assert paid_of(it, before) == 0
