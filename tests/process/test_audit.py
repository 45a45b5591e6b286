"""`audit` and `retry` on folders where something went wrong, against the service's ledger."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.results import read_results
from nanobanana_batch.service.options import Faults
from tests.process.harness import Bench, bench, cli, small_manifest
from tests.process.test_run import paid, until


def audit(it: Bench, *flags: str) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
    """Exit code, the whole answer, and the findings as (kind, what)."""
    done = cli("audit", str(it.out), "--json", *flags, cwd=it.folder)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    return done.returncode, found, [(one["kind"], one["what"]) for one in found["findings"]]


def test_a_clean_folder_is_explained_in_full(tmp_path: Path) -> None:
    """Every request, task, file and hash fits: exit 0, and the totals are those of the ledger."""
    with bench(tmp_path, small_manifest(tmp_path, 6), latency_s=0.2) as it:
        it.finish()
        code, found, findings = audit(it)
    totals = found["totals"]
    assert (code, findings) == (0, [])
    assert [totals[name] for name in ("attempts", "accepted", "saved", "files")] == [6, 6, 6, 6]
    assert totals["credits_used"] == totals["credits_reserved"] > 0


def test_every_kind_of_damage_is_listed_and_what_can_be_had_is_repaired(tmp_path: Path) -> None:
    """Missing, changed, stray and orphan files; repair fetches, pays nothing and overwrites nothing."""
    with bench(tmp_path, small_manifest(tmp_path, 6), latency_s=0.2) as it:
        it.finish()
        images = it.out / "images"
        (images / "row-1.png").unlink()
        (images / "row-2.png").write_bytes(b"edited by hand")
        shutil.copy(images / "row-3.png", images / "holiday.png")
        code, _, findings = audit(it)
        assert code == 1
        assert sorted(findings) == [
            ("changed", "images/row-2.png"),
            ("missing", "images/row-1.png"),
            ("stray", "images/holiday.png"),
        ]
        code, _, findings = audit(it, "--repair", *it.where)
        assert code == 1
        assert sorted(findings) == [("stray", "images/holiday.png"), ("stray", "images/row-2.png")]
        assert (images / "row-2.png").read_bytes() == b"edited by hand"
        assert (images / "row-1.png").is_file()
        (images / "holiday.png").unlink()
        (images / "row-2.png").unlink()
        assert audit(it)[0] == 0
        assert paid(it) == 6


def test_the_same_bytes_for_two_rows_are_flagged(tmp_path: Path) -> None:
    """A provider that hands out one image twice: both rows complete, the second says whose bytes it has."""
    faults = Faults(next={"same_image": 2})
    with bench(tmp_path, small_manifest(tmp_path, 4), latency_s=0.2, faults=faults) as it:
        said = it.finish("--submit-concurrency", "1")
        frame = read_results(it.out)
        assert list(frame["duplicate_of"]) == ["", "row-0", "", ""]
        assert "duplicate_of" in said.stderr
        code, _, findings = audit(it)
    assert code == 1
    assert findings == [("same_bytes", "row-1")]


def test_an_expired_row_is_an_orphan_until_it_is_made_again(tmp_path: Path) -> None:
    """Paid and lost: audit names the task; `retry --only expired` pays once more, and only for that row."""
    table = small_manifest(tmp_path, 3)
    with bench(tmp_path, table, latency_s=0.2, link_lifetime_s=0.0) as it:
        profile = tmp_path / "quick.yaml"
        profile.write_text(profile.read_text() + "link_lifetime_s: 0.01\n")
        it.finish()
        assert list(read_results(it.out)["status"]) == ["expired"] * 3
        code, _, findings = audit(it)
        assert (code, [kind for kind, _ in findings]) == (1, ["orphan"] * 3)
    with bench(tmp_path, table, latency_s=0.2) as it:
        where = it.where
        nothing = cli("retry", str(it.out), "--only", "failed", *where, cwd=it.folder)
        assert (nothing.returncode, paid(it)) == (1, 3)
        done = cli("retry", str(it.out), "--only", "expired", *where, cwd=it.folder)
        assert (done.returncode, paid(it)) == (0, 6)
        assert [kind for kind, _ in audit(it)[2]] == ["duplicate"] * 3 + ["orphan"] * 3


def test_unknown_rows_are_audited_and_sent_again_only_by_retry(tmp_path: Path) -> None:
    """A provider without keys and lists loses a reply: held, listed, and paid for again only on request."""
    faults = Faults(next={"lost_reply_after": 1})
    options: dict[str, Any] = {
        "latency_s": 0.2,
        "idempotency": False,
        "recent_list": False,
        "faults": faults,
    }
    with bench(tmp_path, small_manifest(tmp_path, 3), **options) as it:
        done = it.finish()
        assert done.returncode == 1
        assert "retry" in done.stderr
        assert sorted(read_results(it.out)["status"]) == ["completed", "completed", "unknown"]
        assert [kind for kind, _ in audit(it)[2]] == ["unknown"]
        assert it.finish().returncode == 1
        assert paid(it) == 3
        again = cli("retry", str(it.out), "--only", "unknown", *it.where, cwd=it.folder)
        assert again.returncode == 0, again.stderr
        assert paid(it) == 4
        code, _, findings = audit(it)
        assert (code, [kind for kind, _ in findings]) == (1, ["resent"])


@pytest.mark.parametrize("only", ["failed", "refused"])
def test_retry_pays_for_exactly_the_rows_that_ended_so(tmp_path: Path, only: str) -> None:
    """One failed and one refused row: each is made again only when it is asked for."""
    faults = Faults(next={"refuse_task": 1, "fail_task": 1}, fail_code="invalid_parameters")
    with bench(tmp_path, small_manifest(tmp_path, 4), latency_s=0.2, faults=faults) as it:
        it.finish()
        before = list(read_results(it.out)["status"])
        assert sorted(before) == ["completed", "completed", "failed", "refused"]
        done = cli("retry", str(it.out), "--only", only, *it.where, cwd=it.folder)
        after = list(read_results(it.out)["status"])
        assert done.returncode == 1
        assert [new for old, new in zip(before, after, strict=True) if old == only] == ["completed"]
        assert paid(it) == 5
        assert audit(it)[0] == 0


def test_a_run_is_left_alone_and_missed_when_it_is_killed(tmp_path: Path) -> None:
    """`audit` and `status` tell what is in flight from what is an orphan, and a kill from an end."""
    with bench(tmp_path, small_manifest(tmp_path, 4), latency_s=60.0) as it:
        run = it.start()
        until(lambda: paid(it) >= 4)
        until(lambda: standing(it)["counts"]["running"] == 4)
        code, found, findings = audit(it)
        assert (code, found["in_flight"], findings) == (0, 4, [])
        assert standing(it)["is_running"]
        run.kill()
        run.communicate()
        code, found, findings = audit(it)
        assert (code, found["in_flight"], [kind for kind, _ in findings]) == (1, None, ["orphan"] * 4)
        assert "did not end by itself" in cli("status", str(it.out), cwd=tmp_path).stdout


def test_status_says_why_the_last_run_stopped(tmp_path: Path) -> None:
    """The very sentence that the run ended with."""
    with bench(tmp_path, small_manifest(tmp_path, 4), latency_s=0.2, credits=1) as it:
        done = it.finish()
        last = standing(it)["last_run"]
        assert (done.returncode, last["exit_code"]) == (3, 3)
        assert last["reason"]
        assert last["reason"] in done.stderr
        assert last["reason"] in cli("status", str(it.out), cwd=tmp_path).stdout


def standing(it: Bench) -> dict[str, Any]:
    """What `status` knows."""
    found: dict[str, Any] = json.loads(cli("status", str(it.out), "--json", cwd=it.folder).stdout)
    return found


def test_the_state_may_stand_on_another_disk(tmp_path: Path) -> None:
    """--state-dir: the folder holds a pointer, every command follows it, and a second run resumes."""
    with bench(tmp_path, small_manifest(tmp_path, 3), latency_s=0.2) as it:
        elsewhere = tmp_path / "local disk"
        assert it.finish("--state-dir", str(elsewhere)).returncode == 0
        assert not (it.out / "state.sqlite3").exists()
        assert len(list(elsewhere.glob("*/state.sqlite3"))) == 1
        assert it.finish().returncode == 0
        assert paid(it) == 3
        assert audit(it)[0] == 0
        assert "completed: 3" in cli("status", str(it.out), cwd=tmp_path).stdout


def test_a_folder_that_lost_its_state_is_refused(tmp_path: Path) -> None:
    """Images, but no state: nobody knows what was paid for, so nothing is sent."""
    with bench(tmp_path, small_manifest(tmp_path, 3), latency_s=0.2) as it:
        it.finish()
        (it.out / "state.sqlite3").unlink()
        done = it.finish()
        assert done.returncode == 3
        assert "payments.jsonl tells of 3 paid requests" in done.stderr
        (it.out / "payments.jsonl").unlink()
        done = it.finish()
        assert done.returncode == 3
        assert "gone or empty" in done.stderr
        assert paid(it) == 3
