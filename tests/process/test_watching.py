"""A run looked at from outside while it goes on, and the programs that are told of it, as real processes."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nanobanana_batch.files.folder import LIVE_NAME
from nanobanana_batch.service.options import Faults
from tests.process.harness import MODEL, Bench, bench, cli, small_manifest, start_cli

WRITES = "import os, sys; open(sys.argv[1], 'a').write(os.environ['NANOBANANA_EVENT'] + ' ')"


def until(check: Callable[[], bool], deadline_s: float = 60) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + deadline_s
    while not check():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def status(it: Bench) -> dict[str, object]:
    """What `status --json` says."""
    found = cli("status", str(it.out), "--json", cwd=it.folder)
    assert found.returncode == 0, found.stderr
    told: dict[str, object] = json.loads(found.stdout)
    return told


def test_status_tells_what_a_run_does_that_is_going_on(tmp_path: Path) -> None:
    """In flight and allowed, by its own word; and nothing any more when it has ended."""
    with bench(tmp_path, small_manifest(tmp_path, 12), latency_s=600.0) as it:
        run = it.start("--concurrency", "4")
        until(lambda: (it.out / LIVE_NAME).exists())
        until(lambda: status(it)["live"]["in_flight"] == 4)  # type: ignore[index]
        live = status(it)["live"]
        assert isinstance(live, dict)
        assert (live["state"], live["in_flight_allowed"], live["rows"]) == ("sending", 4, 12)
        text = cli("status", str(it.out), cwd=it.folder).stdout
        assert "sending · 4 in flight of 4 allowed" in text
        run.send_signal(signal.SIGINT)
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)
        assert status(it)["live"] is None
        assert not (it.out / LIVE_NAME).exists()


def test_what_a_killed_run_left_is_no_news(tmp_path: Path) -> None:
    """Nobody works there any more, whatever the file says."""
    with bench(tmp_path, small_manifest(tmp_path, 4), latency_s=600.0) as it:
        run = it.start()
        until(lambda: (it.out / LIVE_NAME).exists())
        run.kill()
        run.communicate(timeout=60)
        assert (it.out / LIVE_NAME).exists()
        assert status(it)["live"] is None


def test_watching_ends_with_the_run(tmp_path: Path) -> None:
    """Without a terminal: a look a minute, the last one when it is over."""
    with bench(tmp_path, small_manifest(tmp_path, 4), latency_s=0.2) as it:
        assert it.finish().returncode == 0
        found = cli("status", str(it.out), "--watch", "--json", cwd=it.folder)
    [line] = found.stdout.splitlines()
    assert json.loads(line)["counts"]["completed"] == 4


def test_a_run_says_where_it_expects_callbacks_and_listens_there(tmp_path: Path) -> None:
    """Port 0 is any free one: nobody else knows which, and whoever leads a front there has to."""
    with bench(tmp_path, small_manifest(tmp_path, 1), latency_s=600.0) as it:
        run = it.start("--callback-url", "https://front.example/nb", "--callback-listen", "127.0.0.1:0")
        assert run.stderr is not None
        lines: Iterator[str] = iter(run.stderr.readline, "")
        found = next(filter(None, map(re.compile(r"front\.example/nb .* (127[\d.]+):(\d+)").search, lines)))
        with socket.create_connection((found[1], int(found[2])), timeout=60) as call:
            call.sendall(b"POST /nb/%032x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % 7)
            assert call.makefile("rb").readline().split()[1] == b"204"
        run.kill()
        run.communicate(timeout=60)


def test_a_provider_that_cannot_call_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    """With what to leave out."""
    path = small_manifest(tmp_path, 1)
    words = ("--provider", "local-unified", "--callback-url", "https://front.example/nb", "--out", "o")
    ended = cli("run", str(path), *words, cwd=tmp_path)
    assert ended.returncode == 2
    assert "does not offer callbacks; nothing was sent. Leave out --callback-url" in ended.stderr
    assert not (tmp_path / "o").exists()


def test_status_knows_what_the_last_run_was_about_and_why_rows_failed(tmp_path: Path) -> None:
    """`--limit 3` of five rows, of which one is refused."""
    lines = [f"row-{n},picture {n},{MODEL},1:1,0.5K" for n in range(5)]
    manifest = tmp_path / "few.csv"
    manifest.write_text("\n".join(["id,prompt,model,aspect_ratio,resolution", *lines]) + "\n")
    faults = Faults(refuse_task=1.0)
    with bench(tmp_path, manifest, latency_s=0.1, faults=faults) as it:
        assert it.finish("--limit", "3").returncode == 1
        text = cli("status", str(it.out), cwd=it.folder).stdout
    assert "the last run was about 3 rows of these (3 refused)" in text
    assert "3 refused: " in text
    assert "(first: row-0)" in text


def test_programs_are_told_of_trouble_and_of_the_end(tmp_path: Path) -> None:
    """The service is away while rows are sent; the summary says how long that was waited for."""
    log = tmp_path / "log"
    command = f'{sys.executable} -c "{WRITES}" {log}'
    with bench(tmp_path, small_manifest(tmp_path, 30), latency_s=0.3) as it:
        it.service.stop()
        run = it.start("--on-end", command, "--on-trouble", command, "--max-outage", "3s")
        _out, err = run.communicate(timeout=120)
    assert run.returncode == 3, err
    assert re.search(r"Waited \d+ s for a provider that gave no answers\.", err)
    events = log.read_text().split()
    assert events[-1] == "end"
    assert "trouble" in events


def test_a_program_that_is_not_there_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    """Nothing is sent, and no folder is made."""
    with bench(tmp_path, small_manifest(tmp_path, 3)) as it:
        ended = it.finish("--on-end", "no-such-mailer --to me")
        assert ended.returncode == 2
        assert "no-such-mailer" in ended.stderr
        assert not it.out.exists()
        assert not it.tasks_paid()


def test_a_log_without_a_terminal_has_times(tmp_path: Path) -> None:
    """Each event on its own line; with --no-progress as it was."""
    manifest = small_manifest(tmp_path, 2)
    with bench(tmp_path, manifest, latency_s=0.1) as it:
        timed = it.finish()
    first = timed.stderr.splitlines()[0]
    assert "goes to" in first
    assert first[2] == first[5] == ":"
    plain = start_cli("run", str(manifest), "--provider", "local", "--no-progress", cwd=tmp_path)
    _out, err = plain.communicate(timeout=120)
    assert plain.returncode == 0
    assert not err[:1].isdigit() or ":" not in err[:3]
