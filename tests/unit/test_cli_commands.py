"""Each command says what is wrong in a sentence, ends with the right code, and leaves no traces."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nanobanana_batch.cli import main
from nanobanana_batch.cli.outcome_text import outcome_text
from nanobanana_batch.cli.text import diagnosis_text
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.files.standing import Files
from nanobanana_batch.jobs.connection import Connection, provider_name
from nanobanana_batch.jobs.doctor import Check, Diagnosis, Verdict
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.model import Draft, Image, Request, RowStatus
from nanobanana_batch.state import facts
from nanobanana_batch.state.last_run import remembered_end
from nanobanana_batch.state.store import Store
from tests.unit.test_state_store import FACTS, intent, take

KEY = "canary-key-5d1f"
MODEL = "gemini-3.1-flash-image-preview"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command in an empty folder, without any key."""
    monkeypatch.chdir(tmp_path)
    for name in ("EVOLINK_API_KEY", "NANOBANANA_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def command(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["nanobanana-batch", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return command


def manifest(folder: Path, rows: int = 3, **changes: str) -> Path:
    """A table of prompts; a change is made in its second row."""
    path = folder / "m.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "prompt", "model", "aspect_ratio", "resolution"])
        for n in range(rows):
            row = {
                "id": f"r{n}",
                "prompt": f"p {n}",
                "model": MODEL,
                "aspect_ratio": "1:1",
                "resolution": "1K",
            }
            table.writerow({**row, **(changes if n == 1 else {})}.values())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An output folder with one row completed, one running, one new."""
    path = tmp_path / "out"
    (path / "images").mkdir(parents=True)
    store = Store(path / "state.sqlite3")
    take(store, [Draft("m:1", Request("m", f"p{n}"), f"r{n}") for n in range(3)], ())
    store.apply([intent(1, attempt=1, stem="r0"), FACTS["Accepted"](1), FACTS["Ready"](1)])
    (path / "images" / "r0.png").write_bytes(b"cat!")
    digest = hashlib.sha256(b"cat!").hexdigest()
    store.apply([facts.Saved(1, Image("images/r0.png", "image/png", 9, 5, 4, digest), 1.0)])
    store.apply([intent(2, attempt=2, stem="r1"), FACTS["Accepted"](2)])
    store.close()
    return path


def left_by(run_folder: Path) -> list[str]:
    """Everything that stands in the folder of the test."""
    return sorted(path.name for path in run_folder.iterdir())


# --- nothing is sent, nothing is created -----------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "variable"), [("evolink", "EVOLINK_API_KEY"), ("unified", "NANOBANANA_API_KEY")]
)
def test_without_a_key_one_sentence_names_the_variable(
    run: Run, tmp_path: Path, provider: str, variable: str
) -> None:
    """Exit 2, before the rows are even read; no folder appears."""
    path = manifest(tmp_path)
    ended = run("run", path, "--provider", provider, "--base-url", "https://api.example.com", "--out", "out")
    assert (ended.code, ended.out) == (2, "")
    assert variable in ended.err
    assert "--provider local" in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert left_by(tmp_path) == ["m.csv"]


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}\r\nX-Other: 1", "schlüssel-canary"])
def test_a_key_that_cannot_be_one_is_not_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Exit 2; the text names the variable, never what is in it."""
    monkeypatch.setenv("EVOLINK_API_KEY", key)
    ended = run("run", manifest(tmp_path), "--out", "out")
    assert ended.code == 2
    assert "EVOLINK_API_KEY" in ended.err
    assert "canary" not in ended.err + ended.out
    assert left_by(tmp_path) == ["m.csv"]


def test_a_manifest_with_problems_lists_them_all_and_creates_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its row and what is allowed."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    path = manifest(tmp_path, aspect_ratio="7:5", resolution="9K")
    for command in ("run", "plan"):
        ended = run(command, path, "--out", "out")
        assert (ended.code, ended.out) == (2, "")
        assert "7:5" in ended.err
        assert "9K" in ended.err
        assert "16:9" in ended.err
        assert "m.csv" in ended.err
        assert "2 problems" in ended.err
        assert "Traceback" not in ended.err
        assert left_by(tmp_path) == ["m.csv"]


@pytest.mark.parametrize(
    "words",
    [
        ("run", "none.csv"),
        ("plan", "none.csv"),
        ("plan", "m.csv", "--provider", "nobody"),
        ("run", "m.csv", "--provider", "nobody"),
        ("run", "m.csv", "--provider", "none.yaml"),
        ("run", "m.csv", "--base-url", "http://api.example.com"),
        ("run", "m.csv", "--base-url", "nonsense"),
        ("run", "m.csv", "--key-file", "none.txt"),
        ("run", "m.csv", "--concurrency", "0"),
        ("run", "m.csv", "--max-credits", "nan"),
        ("run", "m.csv", "--max-credits", "inf"),
        ("run", "m.csv", "--max-credits", "1e999"),
        ("run", "m.csv", "--rate", "nan"),
        ("run", "m.csv", "--rate", "inf"),
        ("run", "m.csv", "--on-unknown", "guess"),
        ("run", "m.csv", "--defaults", "nonsense"),
        ("run",),
        ("nonsense",),
        ("status", "none"),
        ("results", "none"),
        ("serve", "--fault", "nonsense=1"),
        ("serve", "--latency", "fast"),
    ],
)
def test_wrong_usage_ends_with_2_and_creates_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A sentence, no traceback."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    manifest(tmp_path)
    ended = run(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.strip()
    assert "Traceback" not in ended.err
    assert KEY not in ended.err
    assert left_by(tmp_path) == ["m.csv"]


def test_an_output_folder_that_cannot_be_made_is_wrong_usage(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands where the folder is to be."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    (tmp_path / "out").write_text("a file")
    ended = run("run", manifest(tmp_path), "--out", "out")
    assert ended.code == 2
    assert "out" in ended.err
    assert "Traceback" not in ended.err
    assert (tmp_path / "out").read_text() == "a file"


def test_a_folder_in_use_ends_with_4(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """Having sent nothing and changed nothing."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    path = manifest(tmp_path)
    before = (folder / "state.sqlite3").read_bytes()
    with only_writer(folder):
        ended = run("run", path, "--out", folder, "--base-url", "http://127.0.0.1:9")
    assert ended.code == 4
    assert "nothing was sent" in ended.err
    assert (folder / "state.sqlite3").read_bytes() == before


def test_a_damaged_state_ends_with_3_and_stays_as_it_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """An emptied state file must not pass for a folder that has paid for nothing."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    path = manifest(tmp_path)
    for content in (b"", b"garbage" * 1000):
        (folder / "state.sqlite3").write_bytes(content)
        ended = run("run", path, "--out", folder, "--base-url", "http://127.0.0.1:9")
        assert ended.code == 3
        assert "state.sqlite3" in ended.err
        assert "Traceback" not in ended.err
        assert (folder / "state.sqlite3").read_bytes() == content


def test_a_manifest_that_is_none_is_told_before_a_missing_key(run: Run, tmp_path: Path) -> None:
    """Nobody gets a key for a manifest that cannot be read."""
    (tmp_path / "m.doc").write_text("a fox")
    (tmp_path / "m.csv").write_text("id,prompt,apsect_ratio\na,b,1:1\n")
    for path, said in (
        ("none.csv", "none.csv"),
        (".", "is a folder"),
        ("m.doc", "m.doc"),
        ("m.csv", "aspect"),
    ):
        ended = run("run", path, "--out", "out")
        assert ended.code == 2
        assert said in ended.err
        assert "EVOLINK_API_KEY" not in ended.err
    assert left_by(tmp_path) == ["m.csv", "m.doc"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("frobnicate",), "No such command 'frobnicate'."),
        (("form-image",), "No such command 'form-image'. Did you mean 'from-image'?"),
        (("Plan",), "No such command 'Plan'. Did you mean 'plan'?"),
        (("plan", "m.csv", "--foodstuff"), "No such option '--foodstuff'."),
        (
            ("plan", "m.csv", "--concurency", "4"),
            "No such option '--concurency'. Did you mean '--concurrency'?",
        ),
        (("plan", "m.csv", "-x"), "No such option '-x'."),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_word_that_is_none_is_answered_with_one_that_is_near(
    run: Run, words: tuple[str, ...], told: str
) -> None:
    """And not with whatever is the least far away: a wrong suggestion is worse than none."""
    end = run(*words)
    assert (end.code, end.out) == (2, "")
    assert end.err.splitlines()[-1] == f"Error: {told}"


def test_a_folder_is_no_manifest(run: Run, tmp_path: Path) -> None:
    """Unless prompts or pictures stand in it, also when it is called `.`."""
    (tmp_path / "skylines").mkdir()
    for name in (".", "skylines"):
        ended = run("plan", name)
        assert ended.code == 2
        assert " is a folder without rows: one of prompts has .txt files in it" in ended.err


def test_a_slip_in_a_name_is_told_once(run: Run, tmp_path: Path) -> None:
    """What is wrong, what to do if it is meant, and what it was to be."""
    (tmp_path / "m.csv").write_text("id,prompt,apsect_ratio\na,b,1:1\n")
    err = run("plan", "m.csv").err
    assert err.count("did you mean 'aspect_ratio'?") == err.count("apsect_ratio: ") == 1
    assert "did you mean 'aspect_ratio'?" in err
    assert "`--variables apsect_ratio`" in err


def test_every_problem_has_a_line_of_its_own_below_the_first(run: Run, tmp_path: Path) -> None:
    """The program's name stands in front once, and the lines that belong to it are indented."""
    lines = run(
        "plan", manifest(tmp_path, aspect_ratio="7:5", resolution="9K"), "--out", "out"
    ).err.splitlines()
    assert lines[0] == "nanobanana-batch: m.csv: 2 problems; nothing was sent."
    assert lines[1].startswith("  m.csv:3: ")
    assert lines[2].startswith("  m.csv:3: ")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("foo", "does not begin with https://"),
        ("ftp://api.example.com", "something else than https://"),
        ("https://", "names no host"),
        ("https://me:canary@api.example.com", "user name"),
        ("https://api.example.com?key=canary", "query"),
        ("https://api.example.com:port", "malformed"),
        ("http://api.example.com", "in clear"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    """The very thing, with an example, and without what may be a secret in it."""
    monkeypatch.setenv("EVOLINK_API_KEY", KEY)
    ended = run("run", manifest(tmp_path), "--base-url", url)
    assert ended.code == 2
    assert why in ended.err
    assert "canary" not in ended.err


def test_a_run_of_no_rows_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    """It would end with 0 and have made nothing."""
    ended = run("run", manifest(tmp_path), "--provider", "local", "--limit", "0")
    assert ended.code == 2
    assert "--limit" in ended.err
    assert left_by(tmp_path) == ["m.csv"]


# --- what the commands say -------------------------------------------------------------------------


def test_plan_says_what_would_be_made_and_creates_nothing(run: Run, tmp_path: Path) -> None:
    """Without any key."""
    ended = run("plan", manifest(tmp_path), "--out", "out", "--json", "--rows", "2")
    assert ended.code == 0
    plan = json.loads(ended.out)
    assert (plan["rows"], plan["to_submit"], plan["manifest"], plan["folder"]) == (3, 3, "m", "out")
    assert [(group["model"], group["rows"]) for group in plan["groups"]] == [(MODEL, 3)]
    assert [row["id"] for row in plan["first_rows"]] == ["r0", "r1"]
    assert plan["first_rows"][0]["request"]["prompt"] == "p 0"
    text = run("plan", manifest(tmp_path), "--out", "out", "--rows", "1")
    assert "3  to pay for" in text.out
    assert "p 0" in text.out
    assert "and 2 more" in text.out
    assert left_by(tmp_path) == ["m.csv"]


def test_plan_counts_what_is_there_already(run: Run, tmp_path: Path) -> None:
    """A row that was sent is not to be submitted; one that left is counted."""
    path = manifest(tmp_path)
    plan = json.loads(run("plan", path, "--out", "out", "--json").out)
    store_rows = [
        Draft("m:1", Request(MODEL, row["request"]["prompt"], "1:1", "1K"), row["id"])
        for row in plan["first_rows"]
    ]
    (tmp_path / "out").mkdir()
    store = Store(tmp_path / "out" / "state.sqlite3")
    take(store, [*store_rows[:2], Draft("m:9", Request("m", "left"), "left")], ())
    store.apply(
        [intent(1, attempt=1, stem="r0"), FACTS["Unanswered"](1), intent(3, attempt=2), FACTS["Accepted"](2)]
    )
    store.close()
    plan = json.loads(run("plan", path, "--out", "out", "--provider", "local", "--json").out)
    assert (plan["to_submit"], plan["counts"]["unknown"], plan["gone"]) == (2, 1, 1)


def test_status_as_json_and_as_text(run: Run, folder: Path) -> None:
    """Counts and credits, also while another process holds the folder."""
    with only_writer(folder):
        ended = run("status", folder, "--json")
        text = run("status", folder)
    found = json.loads(ended.out)
    assert (ended.code, found["rows"], found["credits_used"], found["credits_reserved"]) == (0, 3, 3.0, 4.0)
    assert {name: count for name, count in found["counts"].items() if count} == {
        "completed": 1,
        "running": 1,
        "pending": 1,
    }
    assert "completed: 1" in text.out
    assert "credits used: 3, reserved: 4" in text.out


def test_one_row_is_called_a_row(run: Run, tmp_path: Path) -> None:
    """1 row, 2 rows."""
    assert run("plan", manifest(tmp_path, 1), "--out", "out").out.startswith("m: 1 row -> out\n")
    assert run("plan", manifest(tmp_path, 2), "--out", "out").out.startswith("m: 2 rows -> out\n")
    store = Store(tmp_path / "state.sqlite3")
    take(store, [Draft("m:1", Request("m", "p"), "r")], ())
    store.close()
    assert run("status", tmp_path).out.startswith("test: 1 row in ")


def test_status_says_whether_a_run_is_going_on(run: Run, folder: Path) -> None:
    """For programs too."""
    with only_writer(folder):
        assert "A run is going on" in run("status", folder).out
        assert json.loads(run("status", folder, "--json").out)["is_running"] is True
    found = json.loads(run("status", folder, "--json").out)
    assert (found["is_running"], found["last_run"]) == (False, None)


def test_status_tells_what_is_being_sent_from_what_is_in_doubt(run: Run, folder: Path) -> None:
    """While a run goes on; an older request without an answer stays unknown, and so does all afterwards."""
    store = Store(folder / "state.sqlite3")
    take(store, [Draft("m:1", Request("m", f"p{n}"), f"r{n}") for n in range(6)], ())
    store.apply([replace(intent(5, attempt=3, stem="s5"), credits_expected=2.0)])
    store.close()
    store = Store(folder / "state.sqlite3")
    with remembered_end(store) as say:
        for row in (3, 4, 6):
            sent = replace(intent(row, attempt=store.next_attempt(), stem=f"s{row}"), at=0.0)
            store.apply([replace(sent, credits_expected=4.0)])
        store.apply([FACTS["Unanswered"](6)])
        with only_writer(folder):
            text, found = run("status", folder).out, json.loads(run("status", folder, "--json").out)
        say(0, "")
    store.close()
    assert "  being sent: 2\n" in text
    assert "  unknown: 2\n" in text
    assert "  credits used: 3, reserved: 4, being sent: 8, perhaps: 6\n" in text
    assert (found["being_sent"], found["counts"]["unknown"]) == (2, 2)
    assert found["being_sent"] + sum(found["counts"].values()) == found["rows"] == 6
    ended = run("status", folder).out
    assert "being sent" not in ended
    assert "  unknown: 4\n" in ended


@pytest.mark.parametrize("words", [("retry", "--only", "failed"), ("audit", "--repair")])
def test_where_nothing_is_to_be_done_no_key_is_needed(
    run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A completed folder of a real provider; the exit code is that of a folder in order."""
    folder = tmp_path / "out"
    (folder / "images").mkdir(parents=True)
    store = Store(folder / "state.sqlite3")
    take(store, [Draft("m:1", Request("m", "p"), "r")], ())
    content = b"x" * 100
    sha256 = hashlib.sha256(content).hexdigest()
    store.apply([intent(1, attempt=1, stem="r"), FACTS["Accepted"](1), FACTS["Ready"](1)])
    store.apply([facts.Saved(1, Image("images/r.png", "image/png", 9, 5, 100, sha256), 1.0)])
    store.close()
    (folder / "images" / "r.png").write_bytes(content)
    command, *others = words
    ended = run(command, folder, *others)
    assert ended.code == 0, ended.err
    assert "key" not in ended.err


def test_where_there_is_work_the_key_is_asked_for_before_anything_is_done(run: Run, folder: Path) -> None:
    """Exit 2, with no way out that the command does not have; the state is as it was."""
    store = Store(folder / "state.sqlite3")
    provider = provider_name(Connection("evolink", "http://127.0.0.1:9"))
    store.apply([intent(3, attempt=3, stem="r2", provider=provider), FACTS["Rejected"](3)])
    store.close()
    (folder / "images" / "r0.png").write_bytes(b"x" * 100)
    before = json.loads(run("status", folder, "--json").out)
    ended = run("retry", folder, "--only", "failed", "--base-url", "http://127.0.0.1:9")
    assert (ended.code, ended.err) == (
        2,
        "nanobanana-batch: There is no API key: set EVOLINK_API_KEY to yours.\n",
    )
    assert json.loads(run("status", folder, "--json").out) == before
    assert not (folder / "run.log").exists()


def test_a_retry_of_rows_that_do_not_exist_is_refused(run: Run, folder: Path) -> None:
    """With their names, and before anything is looked at; a row that exists is found by its id."""
    ended = run("retry", folder, "--only", "running", "--row", "r0", "--row", "nobody", "--row", "else")
    assert ended.code == 2
    assert "has no row nobody, else; nothing was sent." in ended.err
    assert not (folder / "run.log").exists()


def test_what_giving_up_may_cost_is_said_first(run: Run, folder: Path) -> None:
    """Before the key is asked for, and only for the rows that were named."""
    store = Store(folder / "state.sqlite3")
    provider = provider_name(Connection("evolink", "http://127.0.0.1:9"))
    store.apply([intent(3, attempt=3, stem="r2", provider=provider), FACTS["Accepted"](3)])
    store.close()
    (folder / "images" / "r0.png").write_bytes(b"x" * 100)
    where = ("--base-url", "http://127.0.0.1:9")
    ended = run("retry", folder, "--only", "running", "--row", "r2", *where)
    assert ended.code == 2
    assert "not there: 1. Each task is read once more" in ended.err
    assert "may have been paid" in ended.err
    assert "may have been paid" not in run("retry", folder, "--only", "running", "--row", "r0", *where).err


@pytest.mark.parametrize("command", ["run", "retry"])
def test_images_that_are_all_gone_are_asked_about_first(run: Run, tmp_path: Path, command: str) -> None:
    """They were moved rather than lost: nothing is sent, and no key is needed to say so."""
    folder = tmp_path / "out"
    (folder / "images").mkdir(parents=True)
    store = Store(folder / "state.sqlite3")
    take(store, [Draft("m:1", Request("m", f"p{n}"), f"r{n}") for n in range(2)], ())
    for row in (1, 2):
        store.apply([intent(row, attempt=row, stem=f"r{row}"), FACTS["Accepted"](row), FACTS["Ready"](row)])
        image = Image(f"images/r{row}.png", "image/png", 9, 5, 100, "ab" * 32)
        store.apply([facts.Saved(row, image, 1.0)])
    store.close()
    if command == "run":
        ended = run("run", manifest(tmp_path), "--provider", "local", "--out", folder)
    else:
        ended = run("retry", folder, "--only", "failed")
    assert ended.code == 2
    assert "All 2 images of" in ended.err


@pytest.mark.parametrize(
    ("needs_change", "said"), [(False, "Run the same command again to go on."), (True, "")]
)
def test_what_would_stop_again_at_once_is_not_recommended(needs_change: bool, said: str) -> None:
    """The reason itself says what to do then; numbers have their separators everywhere."""
    counts = dict.fromkeys(RowStatus, 0) | {RowStatus.COMPLETED: 1234, RowStatus.PENDING: 4000}
    outcome = Outcome(
        Path("out"),
        Path("out/results.csv"),
        5234,
        counts,
        20000.5,
        0.0,
        0,
        7,
        {},
        True,
        "Full.",
        False,
        needs_change,
    )
    lines = outcome_text(outcome).splitlines()
    assert lines[:4] == [
        "1,234 of 5,234 rows completed (4,000 pending).",
        "Full.",
        "Credits used in this folder so far: 20,000.5",
        "Images of another size or ratio than asked for: 7; see note in the results.",
    ]
    assert [line for line in lines if line.startswith("Run the same")] == [said] * bool(said)


def test_the_way_that_costs_nothing_is_told_first_and_what_pays_again_last() -> None:
    """Who reads one line and types it pays for nothing."""
    counts = dict.fromkeys(RowStatus, 0) | {RowStatus.RUNNING: 2, RowStatus.FAILED: 1, RowStatus.UNKNOWN: 1}
    outcome = Outcome(Path("out"), Path("r"), 4, counts, 5.0, 10.0, 0, 0, {}, True, "Full.", False, False)
    lines = outcome_text(outcome).splitlines()
    ways = [line for line in lines if "Run the same" in line or "retry" in line]
    assert "2 images, 10 credits reserved. Run the same command again soon" in ways[0]
    assert ways[1] == "Run the same command again to go on."
    assert [line.partition("--only ")[2].split("`")[0] for line in ways[2:]] == [
        "failed",
        "unknown",
        "running",
    ]
    assert ways[-1].startswith("Only if what is paid for never comes")


def test_an_image_that_vanished_during_a_run_is_told(tmp_path: Path) -> None:
    """The state calls its row completed, and it is not: exit 1, and what to type, provider and all."""
    counts = dict.fromkeys(RowStatus, 0) | {RowStatus.COMPLETED: 2, RowStatus.FAILED: 1}
    files = Files(missing=1, first={"missing": "images/r0.png"})
    way = ("--provider", "mine.yaml")
    outcome = Outcome(
        Path("out"), Path("r"), 2, counts, 0.0, 0.0, 0, 0, {}, True, "", False, files=files, way=way
    )
    assert (outcome.exit_code, replace(outcome, files=Files()).exit_code) == (1, 0)
    text = outcome_text(outcome)
    assert "1 (first: images/r0.png). `nanobanana-batch audit out --repair --provider mine.yaml`" in text
    assert "`nanobanana-batch retry out --only failed --provider mine.yaml`" in text


@pytest.mark.parametrize(("is_practice", "marked"), [(False, ""), (True, " --practice")])
def test_a_run_ends_with_what_comes_next(is_practice: bool, marked: str) -> None:
    """Images are looked at and exported, placeholders as such; without an image there is nothing to say."""
    counts = dict.fromkeys(RowStatus, 0) | {RowStatus.COMPLETED: 1}
    outcome = Outcome(
        Path("outputs/fox"),
        Path("r"),
        1,
        counts,
        0.0,
        0.0,
        0,
        0,
        {},
        True,
        "",
        False,
        is_practice=is_practice,
    )
    assert outcome_text(outcome).splitlines()[-2:] == [
        "Look:    `nanobanana-batch gallery outputs/fox`",
        f"Export:  `nanobanana-batch export outputs/fox --format imagefolder --out fox-dataset{marked}`",
    ]
    nothing = outcome_text(replace(outcome, counts=dict.fromkeys(RowStatus, 0)))
    assert "gallery" not in nothing


def test_what_doctor_found_is_wrapped_under_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """No word is cut, and no line is wider than the screen."""
    monkeypatch.setenv("COLUMNS", "60")
    found = ", ".join(f"library-{n} {n}.0" for n in range(9))
    text = diagnosis_text(Diagnosis((Check("libraries", Verdict.OK, found),)))
    *lines, end = text.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("ok       libraries  library-0 0.0, ")
    assert " ".join(line[20:] for line in lines) == found
    assert end == "All is well."


def test_results_prints_the_path_of_what_it_wrote(run: Run, folder: Path) -> None:
    """On stdout, for a shell to use."""
    ended = run("results", folder)
    assert (ended.code, ended.out.strip()) == (0, str(folder / "results.csv"))
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["status"], row["image"]) for row in rows] == [
        ("r0", "completed", "images/r0.png"),
        ("r1", "running", ""),
        ("r2", "pending", ""),
    ]


def test_models_lists_the_catalogue(run: Run) -> None:
    """Every dialect; as JSON for programs."""
    found = json.loads(run("models", "--json").out)
    assert {(rules["name"], rules["dialect"]) for rules in found} >= {(MODEL, "evolink"), (MODEL, "unified")}
    text = run("models")
    assert text.code == 0
    assert f"{MODEL} (Nano Banana 2), as evolink offers it" in text.out
    assert "21:9" in text.out


def test_models_says_which_names_are_only_names(run: Run) -> None:
    """Another name of a model, an older one, and one that its maker has switched off."""
    text = run("models", "--provider", "evolink").out
    paragraphs = {part.partition(" ")[0]: part for part in text.split("\n\n")}
    assert (
        "gemini-2.5-flash-image is only another name; nano-banana-beta is sent"
        in paragraphs["nano-banana-beta"]
    )
    assert "nano-banana-2-lite is its older name" in paragraphs["nano-banana-2-lite-beta"]
    retired = "retired at its maker on 2026-06-25 (Google); still listed by this provider"
    assert [name for name, part in paragraphs.items() if retired in part] == [
        MODEL,
        "gemini-3-pro-image-preview",
    ]


OWN_SETTINGS = """extends: evolink
models:
  own:
    dialects:
      evolink:
        resolutions: [1K]
        fields: {resolution: {field: size, values: {1K: 1024x1024}}}
        extra: {seed: integer, quality: {allowed: [low, high], default: low, field: params.quality}}
"""


def test_a_models_own_settings_are_told_planned_and_suggested(run: Run, tmp_path: Path) -> None:
    """By `models`, as an object in `plan --json`, in one row in full, and in the schema for editors."""
    mine, rows = tmp_path / "mine.yaml", tmp_path / "rows.csv"
    mine.write_text(OWN_SETTINGS)
    rows.write_text("id,prompt,model,seed,quality\na,a cat,own,7.0,high\n")
    text = run("models", "--provider", str(mine)).out
    assert "  resolution is sent as size=1024x1024 for 1K\n" in text
    assert "  seed: a whole number\n  quality: low high; sent as params.quality; low if not given\n" in text
    plan = json.loads(run("plan", str(rows), "--provider", str(mine), "--json").out)
    assert plan["first_rows"][0]["request"]["extra"] == {"quality": "high", "seed": 7}
    row = run("plan", str(rows), "--provider", str(mine), "--row", "a").out
    assert [line.split() for line in row.splitlines() if "seed" in line] == [["seed", "7"], ["{seed}", "7.0"]]
    schema = json.loads(run("schema", "--provider", str(mine)).out)
    suggested = schema["$defs"]["row"]["properties"]["quality"]
    assert suggested["anyOf"][0]["enum"] == ["low", "high"]
    assert "seed" in schema["$defs"]["factors"]["properties"]


def test_models_of_a_profile_say_where_they_are_from_and_what_they_cost(run: Run, tmp_path: Path) -> None:
    """The built-in ones, what the file changes and what it adds; prices with their day."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "extends: evolink\nmodels: {new-one: {title: New, dialects: {evolink: {resolutions: [1K]}}}}\n"
        "prices: {new-one: {1K: 2.5}, nano-banana-beta: 1234567}\nprices_as_of: 2026-11-01\n"
    )
    text = run("models", "--provider", str(mine)).out
    assert f"credits: 1K 2.5 (as of 2026-11-01)\n  from: {mine}\n" in text + "\n"
    assert "credits: any 1,234,567 (as of 2026-11-01)\n  from: built in\n" in text
    names = [line.partition(" ")[0] for line in text.splitlines() if line and line[0] != " "]
    assert set(names[:2]) == {"nano-banana-beta", "new-one"}
    assert names[2:] == [name for name in _models_of(run, "evolink") if name not in names[:2]]
    found = json.loads(run("models", "--provider", str(mine), "--json").out)
    assert {rules["dialect"] for rules in found} == {"evolink"}
    assert [rules["credits"] for rules in found if rules["name"] == "new-one"] == [{"1K": 2.5}]
    wrong = run("models", "--provider", "nobody")
    assert (wrong.code, wrong.out) == (2, "")


def _models_of(run: Run, provider: str) -> list[str]:
    return [rules["name"] for rules in json.loads(run("models", "--provider", provider, "--json").out)]


def test_a_manifest_may_use_a_model_of_the_profile(run: Run, tmp_path: Path) -> None:
    """`plan` checks against the same catalogue."""
    mine, rows = tmp_path / "mine.yaml", tmp_path / "rows.csv"
    mine.write_text(
        "extends: evolink\nmodels: {new-one: {title: New, dialects: {evolink: {resolutions: [1K]}}}}\n"
    )
    rows.write_text("prompt,model,resolution\na cat,new-one,1K\n")
    assert run("plan", str(rows), "--provider", str(mine)).code == 0
    assert run("plan", str(rows), "--provider", "evolink").code == 2


COMMANDS = ["plan", "run", "status", "retry", "results", "audit", "doctor", "serve", "models", "prices"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    """What it does, and each option with a word."""
    ended = run(command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"nanobanana-batch {command} " in ended.out.splitlines()[0]
    assert len(ended.out.splitlines()) > 5


def test_the_help_names_commands_and_exit_codes(run: Run) -> None:
    """Makefiles depend on both."""
    ended = run("--help")
    assert ended.code == 0
    assert all(f"\n  {command} " in ended.out for command in COMMANDS)
    assert "..." not in ended.out.partition("\nCommands:")[2]
    assert "130 interrupted" in ended.out


def test_init_says_how_to_get_into_a_folder_whatever_it_is_called(run: Run) -> None:
    """A name that begins with a dash would be an option of `cd`, or the folder before."""
    for name, line in (("-", "cd ./-"), ("-P", "cd ./-P"), ("a b", "cd 'a b'"), ("mine", "cd mine")):
        assert f"\n  {line}\n" in run("init", "--", name).out
