"""Nodes and drivers that die in the middle: each row is paid once and each image there, says the ledger."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.fleet import Fleet, Machines, ended, key_is_told, machines, service, until
from tests.process.harness import Bench

pytest.importorskip("ray", reason="Ray is not installed: `pip install nanobanana-batch[ray]`")
pytestmark = pytest.mark.filterwarnings("ignore")
ROWS = 12


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machines, Bench]]:
    folder = tmp_path_factory.mktemp("cluster")
    with service(folder, latency_s=2.0) as running, machines(2) as found:
        yield found, running


def test_machines_that_die_with_their_disks_are_replaced(fleet: tuple[Machines, Bench]) -> None:
    """All of them at once, while tasks run: another machine reads from the journal what was paid."""
    found, running = fleet
    run = Fleet(running, found, 2, "nodes", ROWS)
    before = running.tasks_paid()
    driver = run.start("--bring-to", str(running.folder / "brought"))
    until(lambda: run.told("Accepted") >= 4)
    found.kill(2)
    shutil.rmtree(run.out)
    found.add(2)
    code, err = ended(driver)
    assert code == 0, err
    assert "knows more than" in err
    assert run.images() == run.images(running.folder / "brought") == ROWS
    assert len(running.tasks_paid() - before) == ROWS
    assert key_is_told(Path("/tmp/ray/session_latest").resolve()) == []


def test_a_driver_that_is_killed_is_started_again(fleet: tuple[Machines, Bench]) -> None:
    """Ray ends what it had begun; the same command goes on, and a node dies meanwhile."""
    found, running = fleet
    run = Fleet(running, found, 2, "driver", ROWS)
    before = running.tasks_paid()
    driver = run.start()
    until(lambda: run.told("Accepted") >= 4)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    driver = run.start()
    paid = run.told("Accepted")
    until(lambda: run.told("Accepted") > paid)
    found.kill(1)
    found.add(1)
    code, err = ended(driver)
    assert code == 0, err
    assert run.images() == ROWS
    assert len(running.tasks_paid() - before) == ROWS
