"""Nodes and drivers that die in the middle: each row is paid once and each image there, says the ledger."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.fleet import Fleet, ended, key_is_told, limiters, machines, service, until

pytest.importorskip("ray", reason="Ray is not installed: `pip install nanobanana-batch[ray]`")
pytestmark = pytest.mark.filterwarnings("ignore")
ROWS = 12


Begin = Callable[[int, str], Fleet]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begin]:
    """A run of so many shards, by a name of its own: all of them on the same machines."""
    folder = tmp_path_factory.mktemp("cluster")
    with service(folder, latency_s=2.0) as running, machines(2) as found:
        yield lambda shards, name: Fleet(running, found, shards, name, ROWS)


def test_machines_that_die_with_their_disks_are_replaced(fleet: Begin) -> None:
    """All of them at once, while tasks run: another machine reads from the journal what was paid."""
    run = fleet(2, "nodes")
    driver = run.start("--bring-to", str(run.bench.folder / "brought"))
    until(lambda: run.told("Accepted") >= 4)
    run.machines.kill(2)
    shutil.rmtree(run.out)
    run.machines.add(2)
    code, err = ended(driver)
    assert code == 0, err
    assert "knows more than" in err
    assert run.images() == run.images(run.bench.folder / "brought") == ROWS
    assert run.paid() == ROWS
    assert key_is_told(Path("/tmp/ray/session_latest").resolve()) == []


def test_a_driver_that_is_killed_is_started_again(fleet: Begin) -> None:
    """Ray ends what it had begun; the same command goes on, and a node dies meanwhile."""
    run = fleet(2, "driver")
    driver = run.start()
    until(lambda: run.told("Accepted") >= 4)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    driver = run.start()
    paid = run.told("Accepted")
    until(lambda: run.told("Accepted") > paid)
    run.machines.kill(1)
    run.machines.add(1)
    code, err = ended(driver)
    assert code == 0, err
    assert run.images() == ROWS
    assert run.paid() == ROWS


def test_images_of_a_shard_that_had_ended_are_fetched_again_where_its_machine_dies(
    fleet: Begin,
) -> None:
    """Two of three shards are at work at a time: nothing is there any more of the one that was ready."""
    run = fleet(3, "ended")
    driver = run.start()
    until(lambda: _has_said(driver, " has ended."))
    run.machines.kill(2)
    shutil.rmtree(run.out)
    run.machines.add(2)
    code, err = ended(driver)
    assert code == 0, err
    assert "had ended is gone, with its images" in err
    assert run.paid() == ROWS
    assert run.images() == ROWS


@pytest.mark.parametrize("asks", [signal.SIGINT, signal.SIGTERM])
def test_who_asks_to_stop_is_told_what_is_left_and_the_same_command_goes_on(
    fleet: Begin, asks: signal.Signals
) -> None:
    """What is paid for is collected first; the next run pays for the rest."""
    run = fleet(2, f"asked-{asks.name}")
    driver = run.start("--rate", "30")
    until(lambda: run.told("Accepted") >= 2)
    os.kill(driver.pid, asks)
    code, err = ended(driver)
    paid = run.paid()
    assert code == 130, err
    assert paid < ROWS
    assert f"{paid} of {ROWS} rows completed ({ROWS - paid} pending)." in err
    assert "Run the same command again to go on." in err
    assert run.images() == paid
    code, err = ended(run.start())
    assert code == 0, err
    assert run.images() == run.paid() == ROWS


def test_who_asks_twice_leaves_at_once_and_pays_for_nothing_twice(fleet: Begin) -> None:
    """What is on its way is found again by the next run."""
    run = fleet(2, "twice")
    driver = run.start("--rate", "30")
    until(lambda: run.told("Accepted") >= 2)
    os.kill(driver.pid, signal.SIGINT)
    until(lambda: _has_said(driver, "Interrupt again to stop at once."))
    os.kill(driver.pid, signal.SIGINT)
    code, err = ended(driver)
    assert code == 130, err
    assert re.search(r"of \d+ rows completed. On their way were", err)  # a shard may have not begun
    assert "run the same command again soon" in err
    code, err = ended(run.start())
    assert code == 0, err
    assert run.images() == run.paid() == ROWS


def _has_said(driver: subprocess.Popen[str], text: str) -> bool:
    assert driver.stderr is not None
    return text in driver.stderr.readline()


def test_who_shares_the_limits_dies_and_no_more_is_spent_than_was_allowed(
    fleet: Begin,
) -> None:
    """It comes back, hears from all what they have cost, and goes on from there."""
    run = fleet(2, "limiter")
    driver = run.start("--max-credits", "48", "--rate", "60")
    until(lambda: run.told("Accepted") >= 3)
    for pid in limiters(run.machines):
        os.kill(pid, signal.SIGKILL)
    code, err = ended(driver)
    assert code == 3, err
    assert "Who shares the limits was started again." in err
    assert run.paid() == run.images() == 8
    assert "48" in err
