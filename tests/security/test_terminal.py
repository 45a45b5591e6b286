"""Somebody writes escape sequences into names and messages; no terminal ever gets them."""

from __future__ import annotations

import ast
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import nanobanana_batch.cli
from nanobanana_batch.files.log import RunLog
from nanobanana_batch.jobs.connection import CONNECTION
from nanobanana_batch.visible import visible, visible_line
from tests.unit.earlier_run import Earlier, make_run

TITLE = "\x1b]0;owned\x07"
CLEARED = "\x1b[2J\x1b[H"
C1 = "\x9b2J"
TURNED = "\u202egnp.exe\u2066"
FAKED = "\rnothing\nEverything is explained."
EVIL = TITLE + CLEARED + C1 + TURNED + FAKED + "\x7f\u200b\u200f\ufeff\u2028\U000e0041"
CONTROLS = map(chr, (*range(9), *range(11, 32), *range(127, 160)))
NEVER_SEEN = {*CONTROLS, *"\u202e\u2066\u200b\u200f\ufeff\u2028\U000e0041"}


def test_what_is_not_seen_is_written_out() -> None:
    """As JSON would, so that JSON stays what it is; a line stays one line."""
    assert visible("a\x1b[2Jb\n\tc") == "a\\u001b[2Jb\n\tc"
    assert json.loads(visible(json.dumps(EVIL, ensure_ascii=False))) == EVIL
    assert visible("\U000e0041") == "\\udb40\\udc41"
    assert "\n" not in visible_line(EVIL)
    for text in (visible(EVIL), visible_line(EVIL)):
        assert not NEVER_SEEN & set(text)
    assert visible("evo\u200blink\u2060\u00ad") == "evo\\u200blink\\u2060\\u00ad"
    assert visible("Łódź 東京 👩‍🎨 é") == "Łódź 東京 👩‍🎨 é"


def test_a_heap_of_marks_stays_in_its_line() -> None:
    """Eight are more than any word has; the rest is written out, in the characters of JSON."""
    heap = "e" + "\u0301" * 5 + "\u0489\U0001e944" + "\u0e47" * 200
    assert visible(heap) == "e" + "\u0301" * 5 + "\u0489\U0001e944\u0e47" + "\\u0e47" * 199
    assert json.loads(visible(json.dumps(heap, ensure_ascii=False))) == heap


@pytest.mark.parametrize(
    "text",
    [
        "👩🏽\u200d❤️\u200d💋\u200d👨🏻 👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 1️⃣ 🇫🇷 ☺︎",
        "می\u200cخواهم",  # noqa: RUF001 (Persian)
        "क्\u200dष क्षत्रिय ಕ್\u200cಷ",  # Hindi, Kannada
        "ที่นี่ กำปั้น",  # Thai
        "בְּרֵאשִׁ֖ית בָּרָ֣א",  # Hebrew with its accents
        "مُحَمَّدٌ ٱلرَّحْمَٰنِ",  # Arabic with its vowels
        "བསྒྲུབས་ རྫོགས་ཧཱུྃ",  # Tibetan
        "Việt Nam ế ǖ",
        "……——「」『』、。！？（）・・・……",  # noqa: RUF001
    ],
)
def test_words_of_people_stay_as_they_are(text: str) -> None:
    """Joiners, vowels and accents are letters to somebody."""
    assert visible(text) == text


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "m.yaml", EVIL.replace("\0", "")),
        ("plan", "--" + EVIL.replace("\0", "")),
        ("models", EVIL.replace("\0", "")),
        ("schema", EVIL.replace("\0", "")),
        ("results", "--format", EVIL.replace("\0", "")),
        (EVIL.replace("\0", ""),),
    ],
)
def test_a_word_of_the_command_line_moves_no_cursor(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that a shell filled in comes from a folder, and stands in the complaint about it."""
    monkeypatch.setattr(sys, "argv", ["nanobanana-batch", *words])
    with pytest.raises(SystemExit) as ended:
        nanobanana_batch.cli.main()
    said = capfd.readouterr()
    assert ended.value.code == 2
    assert said.err.startswith("Usage: ")
    assert not NEVER_SEEN & set(said.out + said.err)


_VISIBLE = "told if isinstance(text, Verbatim) else dressed(told, stream)"
"""`told` is made visible before."""


def test_a_command_says_nothing_by_another_way() -> None:
    """Neither `click.echo` nor `print` nor a stream, but `show`; the progress line cleans what it shows."""
    others = []
    package = Path(nanobanana_batch.cli.__file__).parents[1]
    for path in [path for room in ("cli", "screen", "live") for path in (package / room).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"):
                    others.append((path.name, ast.unparse(node)))
    assert sorted(others) == [
        ("progress.py", "print(visible(head + text), file=sys.stderr, flush=True)"),
        ("show.py", "click.echo(text, nl=False)"),
        ("show.py", f"click.echo({_VISIBLE}, err=err, color=True)"),
        ("show.py", "click.echo(visible(''.join(some)), nl=False)"),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a stranger: whatever a person may read of it is evil."""
    out = tmp_path / "out"
    make_run(out, [Earlier("one"), Earlier("two"), Earlier("three")], provider="evolink@api.evolink.ai")
    with closing(sqlite3.connect(out / "state.sqlite3")) as db, db:
        db.execute("UPDATE attempts SET error_message = ?, error_code = ?", (EVIL, EVIL))
        db.execute("UPDATE requests SET provider = ?", (EVIL,))
        db.execute("UPDATE attempts SET phase = 'failed' WHERE attempt = 1")
        db.execute("UPDATE attempts SET phase = 'accepted' WHERE attempt = 2")
        db.execute("UPDATE requests SET task_id = ? WHERE request = 2", (EVIL,))
        db.execute("UPDATE rows SET id = ?, source = ? WHERE position < 2", (EVIL, EVIL))
        ended = {"began": "2026-01-01T00:00:00Z", "ended": EVIL, "exit_code": 3, "reason": EVIL}
        memory = {"manifest": EVIL, "ended": json.dumps(ended), CONNECTION: json.dumps({"provider": EVIL})}
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", memory.items())
    (out / "images" / f"stray{TITLE}{TURNED}.png").write_bytes(b"x")
    return out


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--json"),
        ("audit",),
        ("audit", "--json"),
        ("audit", "--repair"),
        ("retry", "--only", "failed"),
        ("retry", "--only", "failed", "--row", EVIL.replace("\0", "")),
    ],
)
@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_a_folder_of_a_stranger_moves_no_cursor(folder: Path, words: tuple[str, ...], locale: str) -> None:
    """In any locale; and no line of its can be taken for one of ours."""
    command, *rest = words
    done = subprocess.run(
        [sys.executable, "-c", "from nanobanana_batch.cli import main; main()", command, str(folder), *rest],
        env={**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "EVOLINK_API_KEY": "a-key-of-nobody"},
        cwd=folder.parent,
        capture_output=True,
        timeout=60,
    )
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert not NEVER_SEEN & set(text)
    assert "Traceback" not in text
    assert "should not have happened" not in text
    assert "\nEverything is explained." not in text


def test_the_log_moves_no_cursor_either(tmp_path: Path) -> None:
    """Whoever reads it has a terminal; it stays JSON."""
    with RunLog(tmp_path / "run.log") as log:
        log("said", words=EVIL)
    text = (tmp_path / "run.log").read_text("utf-8")
    assert not NEVER_SEEN & set(text)
    assert json.loads(text)["words"] == EVIL
