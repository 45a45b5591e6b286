"""What a command finds, however much that is: told whole and in order, and not held in memory."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nanobanana_batch.cli.show import show, show_lines, show_pieces
from nanobanana_batch.cli.text import as_json, audit_lines, json_pieces
from nanobanana_batch.errors import DiskFailed
from nanobanana_batch.files import spooled as keeping
from nanobanana_batch.files.folder import find
from nanobanana_batch.files.spooled import spooled
from nanobanana_batch.jobs.audit import Audit, Finding, Totals, make_audit
from tests.unit.test_auditing import folder_with


def many(count: int) -> Sequence[Finding]:
    """Findings, each of its own."""
    return spooled(Finding("stray", f"images/{number}.png", "no row", "keep it") for number in range(count))


def test_few_things_are_a_tuple_and_many_are_read_from_a_file() -> None:
    """Both are the same to who walks through them, often or once, or asks for one."""
    assert many(3) == tuple(many(3))
    found = many(12_345)
    assert not isinstance(found, tuple)
    assert [one.what for one in found] == [one.what for one in found]
    assert [one.what for one in found] == [f"images/{number}.png" for number in range(12_345)]
    assert (len(found), found[0].what, found[-1].what) == (12_345, "images/0.png", "images/12344.png")
    assert [one.what for one in found[6_000:6_003]] == [
        f"images/{number}.png" for number in (6000, 6001, 6002)
    ]
    with pytest.raises(IndexError):
        found[12_345]


def test_memory_does_not_grow_with_what_is_found() -> None:
    """Of 150,000 findings more, none is held: each would take more than 50 bytes."""
    peaks = []
    for count in (50_000, 200_000):
        tracemalloc.start()
        found = many(count)
        assert sum(1 for _ in found) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2_000_000


def test_a_full_disk_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With where the temporary file is: that disk may be another than the one with the images."""

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(DiskFailed) as failed:
        many(6_000)
    assert failed.value.message.startswith("The disk is full")
    assert f"in a temporary file in {tempfile.gettempdir()}" in failed.value.message
    assert "set TMPDIR to a folder on another disk" in failed.value.hint


def test_an_audit_tells_the_same_from_memory_and_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words and as JSON: each kind of finding, and in the same order."""
    saved = ("Accepted", "Ready", "Saved")
    path = folder_with(tmp_path / "out", saved, ("Accepted",), saved, ("Unanswered",), saved, ("Accepted",))
    for name in ("1.png", "5.png"):
        (path / "images" / name).unlink()
    (path / "images" / "own\udce4.png").write_bytes(b"mine")
    told = []
    for most in (5_000, 1):
        monkeypatch.setattr(keeping, "_MOST_IN_MEMORY", most)
        audit = make_audit(find(path))
        assert isinstance(audit.findings, tuple) is (most > 1)
        assert (len(audit.findings), audit.exit_code) == (6, 1)
        told.append(["\n".join(audit_lines(audit)), "".join(json_pieces(audit))])
        assert json.loads(as_json(audit))["findings"] == [vars_of(one) for one in audit.findings]
    assert told[0] == told[1]
    assert "images/own\\udce4.png" in told[0][1]


def test_lines_are_shown_as_one_text_would_be(capsys: pytest.CaptureFixture[str]) -> None:
    """However many there are."""
    lines = [f"line {number}\x1b" for number in range(2_500)]
    show("\n".join(lines))
    whole = capsys.readouterr().out
    show_lines(lines)
    assert capsys.readouterr().out == whole


def test_a_reader_of_its_first_line_gets_a_short_answer_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """`audit | head -1` ends alike with --json and without: a second write would meet a closed pipe."""
    writes: list[bytes] = []

    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            writes.append(bytes(data))
            return len(writes[-1])

    audit = Audit("out", Totals(1, 1, 1, 1, 4.0, 4.0, 0.0), (Finding("a", "b", "", "d"),) * 20, None)
    for show_all, told in ((show_lines, audit_lines(audit)), (show_pieces, json_pieces(audit))):
        writes.clear()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Pipe())))
        show_all(told)
        assert (len(writes), writes[0][-1:]) == (1, b"\n")


def vars_of(finding: Finding) -> dict[str, str]:
    """As a dictionary."""
    return dataclasses.asdict(finding)


def test_json_in_pieces_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """To the letter what the standard library makes of all of it at once."""
    audit = Audit(
        "out\nä",
        Totals(1, 1, 1, 1, 4.0, 4.0, 0.0),
        (Finding("a", "b\n  c", "", "d"), Finding("e", "f", "g", "h")),
        None,
    )
    for one in (audit, dataclasses.replace(audit, findings=())):
        plain = {**dataclasses.asdict(one), "findings": [vars_of(each) for each in one.findings]}
        expected = json.dumps(plain, indent=2, ensure_ascii=False)
        assert as_json(one) == expected
        show_pieces(json_pieces(one))
        assert capsys.readouterr().out == f"{expected}\n"
