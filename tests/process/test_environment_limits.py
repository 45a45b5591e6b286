"""Signals at any time, few descriptors, odd masks and homes: told in a sentence, or survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from nanobanana_batch.service.embedded import EmbeddedService
from tests.process.harness import wrong_hashes
from tests.process.surroundings import Place, as_nobody, ended, environment, until

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


# --- signals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_before_the_work_ends_it_with_130(place: Place, number: signal.Signals) -> None:
    """While a manifest is still coming in: nothing was sent, no folder, no temporary file stays."""
    temporary = place.folder / "temporary"
    temporary.mkdir()
    words = ["-" if word == str(place.manifest) else word for word in place.words("--format", "csv")]
    process = place.start(words, env=environment(TMPDIR=str(temporary)), stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("prompt\n" * 50_000)
    process.stdin.flush()
    until(lambda: any(path.stat().st_size for path in temporary.iterdir()))
    process.send_signal(number)
    end = ended(process)
    place.is_clean(end)
    assert (end.code, end.err.strip()) == (130, "nanobanana-batch: interrupted")
    assert not place.paid()
    assert not place.out.exists()
    assert list(temporary.iterdir()) == []


def test_a_signal_while_rows_are_being_checked_ends_it_with_130(place: Place) -> None:
    """The same in the midst of a long manifest."""
    rows = "\n".join(f"picture {n},gemini-3.1-flash-image-preview" for n in range(300_000))
    place.manifest.write_text(f"prompt,model\n{rows}\n")
    process = place.start(place.words())
    until(lambda: is_spilling(process.pid))
    process.send_signal(signal.SIGTERM)
    end = ended(process)
    place.is_clean(end)
    assert (end.code, place.paid()) == (130, {})
    assert not place.out.exists()


def is_spilling(pid: int) -> bool:
    """Whether a process has a temporary file of SQLite's open: its rows are more than fit into memory."""
    with suppress(OSError):
        return any("etilqs" in os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


@pytest.fixture
def many(service: EmbeddedService, tmp_path: Path) -> Place:
    """So many rows that a signal finds some of them not paid for yet."""
    return Place(tmp_path, service, rows=40)


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGHUP], [signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP], [signal.SIGTERM, signal.SIGHUP]],
)
def test_what_is_paid_for_is_collected_after_a_signal(many: Place, numbers: list[signal.Signals]) -> None:
    """A terminal that closes may send SIGHUP twice, and a service manager after SIGTERM: that is no haste."""
    process = many.start(many.words("--concurrency", "2"))
    until(lambda: len(many.paid()) >= 2)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.001)  # two of a kind at once are one
    end = ended(process)
    many.is_clean(end)
    assert end.code == 130, end
    counts = json.loads(ended(many.start(["status", str(many.out), "--json"])).out)["counts"]
    assert counts["completed"] == sum(many.paid().values()) < many.rows
    many.completes()


def test_a_signal_that_is_none_of_its_business_ends_nothing(place: Place) -> None:
    """SIGPIPE, as of any stream; and SIGINT, where a script has put it into the background."""
    process = place.start(place.words("--concurrency", "1"), shell="trap '' INT;")
    until(place.paid)
    process.send_signal(signal.SIGPIPE)
    process.send_signal(signal.SIGINT)
    assert (end := ended(process)).code == 0, end
    place.is_whole()


def test_no_signal_changes_the_code_of_what_has_ended() -> None:
    """While the interpreter cleans up, which takes a while on a busy machine."""
    code = (
        "import atexit, os, sys; from nanobanana_batch.cli import main; sys.argv = ['x', '--version'];"
        "atexit.register(lambda: [os.kill(os.getpid(), n) for n in (2, 15, 1)]); main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


# --- descriptors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [12, 24])
def test_too_few_descriptors_are_told_before_anything_is_paid(place: Place, limit: int) -> None:
    """One sentence that says how many are needed."""
    end = place.run(shell=f"ulimit -n {limit};")
    place.refuses(end)
    assert "ulimit -n 1024" in end.err
    assert not place.out.exists()


@pytest.mark.parametrize(
    ("limit", "redirects"),
    [(33, ""), (32, "2>&-"), (40, "<&- >&- 2>&-"), (48, ""), (64, "2>/dev/full")],
)
def test_with_few_descriptors_less_is_done_at_a_time(
    service: EmbeddedService, tmp_path: Path, limit: int, redirects: str
) -> None:
    """All is made, slowly, and it is said why."""
    place = Place(tmp_path, service, rows=24)
    end = place.run(shell=f"ulimit -n {limit};", redirects=redirects)
    assert end.code == 0, end
    place.is_clean(end)
    if not redirects:
        assert f"Only {limit} files and connections may be open at once" in end.err
    place.is_whole()


def test_the_service_of_a_run_has_few_descriptors_too(place: Place) -> None:
    """It inherits the limit, and serves what a run of that limit asks of it."""
    words = ["run", str(place.manifest), "--out", str(place.out), "--provider", "local"]
    end = ended(place.start(words, shell="ulimit -n 40; umask 0;", redirects="2>&-"))
    assert end.code == 0, end
    assert wrong_hashes(place.out) == []


def test_a_soft_limit_is_raised_in_silence(place: Place) -> None:
    """What the system allows for the asking is asked for."""
    end = place.run(shell="ulimit -Sn 20;")
    assert end.code == 0, end
    assert "may be open" not in end.err
    place.is_whole()


# --- masks, homes, temporary folders ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "mask"), [("root", "0777"), ("nobody", "0"), ("nobody", "0777"), ("nobody", "0277")]
)
def test_a_mask_is_survived_or_told(
    open_folder: Path, service: EmbeddedService, mask: str, user: str
) -> None:
    """Where a process may not even use what it has made, that is said before anything is paid."""
    if user == "root" and os.geteuid():
        pytest.skip("only the superuser may use what nobody may")
    via = as_nobody() if user == "nobody" else ""
    place = Place(open_folder, service)
    for path in open_folder.iterdir():
        path.chmod(0o644)
    end = place.run(shell=f"umask {mask};", via=via)
    place.is_clean(end)
    if user == "nobody" and mask in ("0777", "0277"):
        place.refuses(end)
        os.chmod(place.out, 0o755)
    else:
        assert end.code == 0, end
    place.completes()


@pytest.mark.parametrize(
    "change",
    [
        {"HOME": None},
        {"HOME": "/nonexistent", "TMPDIR": "/dev/null"},
        {"HOME": "/proc", "TMPDIR": "/proc"},
        {"HOME": None, "TMPDIR": "/nonexistent", "PATH": None},
        {"HOME": "", "TMPDIR": "", "LANG": None, "USER": None},
    ],
    ids=str,
)
def test_a_run_does_without_home_and_temporary_folder(place: Place, change: dict[str, str | None]) -> None:
    """Neither a short run nor `doctor` needs them; a manifest from a pipe is kept elsewhere."""
    end = place.run(env=environment(**change))
    assert end.code == 0, end
    place.is_clean(end)
    place.is_whole()


def test_doctor_tells_of_the_surroundings(place: Place) -> None:
    """A line for each, with what to do; and no crash."""
    odd = {
        "HOME": "/nonexistent",
        "TMPDIR": "/nonexistent",
        "HTTPS_PROXY": "http://somebody:proxy-password@[bad",
        "SSL_CERT_FILE": "/nonexistent",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "LC_ALL": "C",
    }
    words = ["doctor", "--base-url", "https://api.nanobanana.test", "--out", str(place.out), "--json"]
    end = ended(place.start(words, env=environment(**odd), shell="ulimit -n 64;"))
    place.is_clean(end)
    assert end.code == 1
    checks = {check["name"]: check["verdict"] for check in json.loads(end.out)["checks"]}
    told = {name: checks[name] for name in ("proxy", "certificates")}
    assert told == {"proxy": "problem", "certificates": "problem"}
    noted = {name: checks[name] for name in ("open files", "locale", "home", "temporary files")}
    assert set(noted.values()) == {"note"}
