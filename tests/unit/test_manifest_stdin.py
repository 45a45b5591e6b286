"""A manifest from standard input: its kind is told from its beginning, and nothing of it is left behind."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.cli import main
from nanobanana_batch.cli.manifest_commands import plan
from nanobanana_batch.errors import ManifestError, UsageError
from nanobanana_batch.manifest import Beside, open_manifest
from nanobanana_batch.manifest.read.origin import FORMATS, STDIN, spooled, told_kind

GEMINI = "gemini-3.1-flash-image-preview"
Pipe = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Pipe:
    """Runs a command with this content in its standard input; its temporary files have to be gone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))

    def command(content: str | bytes, *words: str) -> tuple[int, str, str]:
        data = content if isinstance(content, bytes) else content.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        monkeypatch.setattr(sys, "argv", ["nanobanana-batch", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert list((tmp_path / "spool").iterdir()) == []
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return command


def parquet_bytes() -> bytes:
    """A table of two prompts."""
    file = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a cat", "a dog"]}), file)
    return file.getvalue()


def xlsx_bytes() -> bytes:
    """A workbook of two prompts."""
    file, book = io.BytesIO(), openpyxl.Workbook()
    for number, cell in enumerate(("prompt", "a cat", "a dog"), 1):
        book.worksheets[0].cell(number, 1, cell)
    book.save(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("name: x\n", "yaml"),
        ("# why\n\nprompt: |\n  a, b; c\n", "yaml"),
        ("---\nprompt: x\n", "yaml"),
        ("%YAML 1.2\n", "yaml"),
        ("promt: x\nrows:\n", "yaml"),
        ('{"prompt": "x", "rows": [{"id": "a"}]}', "yaml"),
        ('{\n  "prompt": "x"\n}', "yaml"),
        ("\ufeffname: x\n", "yaml"),
        ('{"prompt": "x", "city": 1}\n', "jsonl"),
        ('\n{"prompt": "x", "images": ["a.png"]}\n{"pro', "jsonl"),
        ('{"name": "Anna", "from": "Rome", "prompt": "x"}\n', "jsonl"),
        ('{"prompt": "x", "meta": {}}\n', "jsonl"),
        ("prompt\na cat\n", "csv"),
        ("id,prompt\n", "csv"),
        ("ID;Prompt\n", "csv"),
        ('"prompt"\n', "csv"),
        ("city,mood\nRome,calm\n", "csv"),
        ("sep=;\nprompt;city\n", "csv"),
        ("prompt,city\nname: x,Rome\n", "csv"),
        ("id\tprompt\n", "tsv"),
        ("city\tmood\n", "tsv"),
        ("id,city\tprompt\n", "tsv"),
        ("a cat\n", None),
        ("- prompt: x\n", None),
        ('{"prompt": "x\n', None),
        ("# nothing\n", None),
        ("", None),
    ],
)
def test_kind_is_told_from_the_beginning(head: str, kind: str | None) -> None:
    """Also in UTF-16; what could be more than one thing is none."""
    assert told_kind(head.encode()) == kind
    assert told_kind(head.removeprefix("\ufeff").encode("utf-16")) == kind


def test_parquet_is_told_by_its_mark() -> None:
    """Its first four bytes."""
    assert told_kind(parquet_bytes()) == "parquet"


@pytest.mark.parametrize(
    "content",
    [
        "prompt: a {animal}\nmatrix: {animal: [cat, dog]}\n",
        "prompt\na cat\na dog\n",
        "prompt\tcity\na cat\t\na dog\t\n",
        '{"prompt": "a cat"}\n{"prompt": "a dog"}\n',
        '["a cat", {"prompt": "a dog"}]',
        "a cat that is asleep\na dog\n",
        parquet_bytes(),
        xlsx_bytes(),
    ],
    ids=FORMATS,
)
def test_every_kind_is_planned_from_stdin(pipe: Pipe, content: str | bytes) -> None:
    """The same two rows, with nothing said but the model and the folder."""
    code, out, _ = pipe(content, "plan", "-", "--out", "o", "--defaults", f"model={GEMINI}")
    assert code == 0
    assert out.startswith("stdin: 2 rows -> o\n")
    assert "a cat" in out
    assert "a dog" in out


def test_its_name_or_out_says_where_images_go(pipe: Pipe) -> None:
    """There is no file whose name could be taken."""
    code, out, _ = pipe(f"name: cats\nprompt: a cat\ndefaults: {{model: {GEMINI}}}\n", "plan", "-")
    assert (code, out.splitlines()[0]) == (0, "cats: 1 row -> outputs/cats")
    for command in (["plan"], ["run", "--provider", "local"]):
        code, _, err = pipe("prompt\na cat\n", *command, "-", "--defaults", f"model={GEMINI}")
        assert code == 2
        assert "names no output folder. Add `name: ...` to it, or give --out." in err


def test_problems_name_it_stdin(pipe: Pipe) -> None:
    """With line and column, and the exit code of a wrong manifest."""
    code, _, err = pipe(f"name: x\nprompt: a\ndefaults: {{model: {GEMINI}}}\nrosw: []\n", "plan", "-")
    assert code == 2
    assert "stdin:4:1: " in err
    code, _, err = pipe(f"prompt,model\na,{GEMINI}\nb\n", "plan", "-", "--out", "o")
    assert code == 2
    assert "stdin:3: model: no model is given" in err


def test_paths_in_it_are_relative_to_the_working_directory(pipe: Pipe, tmp_path: Path) -> None:
    """It has no folder of its own."""
    (tmp_path / "rows.csv").write_text("prompt\na cat\na dog\n")
    (tmp_path / "moods.txt").write_text("calm\nbusy\n")
    code, out, _ = pipe(
        f"name: x\ntable: rows.csv\nmatrix: {{mood: {{file: moods.txt}}}}\ndefaults: {{model: {GEMINI}}}\n",
        "plan",
        "-",
    )
    assert code == 0
    assert "4 rows" in out


def test_format_says_what_cannot_be_told(pipe: Pipe, tmp_path: Path) -> None:
    """For standard input, and for files whose names do not say it."""
    options = ("--out", "o", "--defaults", f"model={GEMINI}", "--defaults", "prompt=a cat")
    code, _, err = pipe("Rome\nOslo\n", "plan", "-", *options)
    assert code == 2
    assert "begins with 'Rome'" in err
    assert "--format yaml|csv|tsv|jsonl|json|txt|parquet|xlsx" in err
    code, out, _ = pipe("city\nRome\nOslo\n", "plan", "-", "--format", "csv", *options)
    assert (code, out.splitlines()[0]) == (0, "stdin: 2 rows -> o")
    (tmp_path / "cities").write_text("city\nRome\n")
    code, _, err = pipe("", "plan", "cities", *options)
    assert code == 2
    assert "--format" in err
    code, out, _ = pipe("", "plan", "cities", "--format", "tsv", *options)
    assert (code, out.splitlines()[0]) == (0, "cities: 1 row -> o")


def test_formats_of_the_command_line_are_those_there_are() -> None:
    """They stand there a second time, so that --help loads nothing."""
    (option,) = [parameter for parameter in plan.params if parameter.name == "format"]
    assert tuple(getattr(option.type, "choices", ())) == FORMATS


def test_variables_defaults_and_variants_work_for_every_kind(pipe: Pipe) -> None:
    """As they do for files."""
    rows = {
        "csv": "prompt,promt,variants\na,x,2\n",
        "tsv": "prompt\tpromt\tvariants\na\tx\t2\n",
        "jsonl": '{"prompt": "a", "promt": "x", "variants": 2}\n',
        "yaml": "rows: [{prompt: a, promt: x, variants: 2}]\n",
    }
    for kind, content in rows.items():
        words = ["plan", "-", "--format", kind, "--out", "o", "--defaults", f"model={GEMINI}"]
        code, _, err = pipe(content, *words)
        assert code == 2
        assert "did you mean 'prompt'" in err
        code, out, _ = pipe(content, *words, "--variables", "promt")
        assert (code, out.splitlines()[0]) == (0, "stdin: 2 rows -> o")


def test_nothing_in_stdin_is_said(pipe: Pipe) -> None:
    """The command before it in the pipe has probably failed."""
    for content in ("", "\n \n"):
        code, _, err = pipe(content, "plan", "-")
        assert code == 2
        assert "stdin is empty" in err


def test_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who forgot the pipe is told so, instead of a command that hangs."""
    controller, terminal = os.openpty()
    with os.fdopen(controller, "rb"), os.fdopen(terminal) as screen:
        monkeypatch.setattr(sys, "stdin", screen)
        with pytest.raises(UsageError, match="that is a terminal"), spooled(STDIN):
            pytest.fail("it was read")


def test_what_is_spooled_is_gone_after_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It lives as long as the work with it, and no longer."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"prompt\na cat\n")))
    with pytest.raises(RuntimeError), spooled(STDIN) as spool:  # noqa: PT012
        assert spool is not None
        beside = Beside({"model": GEMINI}, spool=spool)
        manifest = open_manifest(STDIN, catalog=load_catalog(), dialect="evolink", beside=beside)
        for _ in range(2):
            assert len(list(manifest.drafts(manifest.problem_log()))) == 1
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_for_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes through the pipe is longer than what fits."""
    full = Path("/dev/full").open("wb")  # noqa: SIM115 - who writes to it closes it
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda prefix: full)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"prompt\na cat\n")))
    with pytest.raises(UsageError, match=r"cannot be kept: No space left.* where TMPDIR"), spooled(STDIN):
        pytest.fail("it was used")


def test_standard_input_that_cannot_be_read_is_not_called_a_lack_of_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As `plan - < folder`, which a shell allows."""
    folder = os.open(tmp_path, os.O_RDONLY)
    with os.fdopen(os.dup(os.open(os.devnull, os.O_RDONLY)), "rb", closefd=True) as stream:
        os.dup2(folder, stream.fileno())
        os.close(folder)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        with pytest.raises(UsageError, match="cannot be read: Is a directory"), spooled(STDIN):
            pytest.fail("it was used")


@pytest.mark.parametrize("closed", [None, io.TextIOWrapper(io.BytesIO())], ids=["none", "closed"])
def test_standard_input_that_is_closed_is_told_as_that(
    monkeypatch: pytest.MonkeyPatch, closed: io.TextIOWrapper | None
) -> None:
    """As a program without one has it, or one that has closed it."""
    if closed is not None:
        closed.close()
    monkeypatch.setattr(sys, "stdin", closed)
    with pytest.raises(UsageError, match="Standard input is closed; a manifest was expected"), spooled(STDIN):
        pytest.fail("it was used")


def test_a_standard_input_that_was_closed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """`<&-` of a shell, and of some that start programs by a clock: as `streams.secure` leaves it."""
    closed = os.open(os.devnull, os.O_WRONLY)  # whoever reads is told that it is not open
    with open(closed) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        with pytest.raises(UsageError, match="Standard input is closed"), spooled(STDIN):
            pytest.fail("it was used")


def test_a_pipe_as_a_path_is_pointed_to_stdin(tmp_path: Path) -> None:
    """`<(...)` of a shell can be read only once."""
    os.mkfifo(tmp_path / "m.csv")
    with pytest.raises(UsageError, match="give `-` for the manifest"):
        open_manifest(tmp_path / "m.csv", catalog=load_catalog(), dialect="evolink")


def test_a_renamed_file_of_another_kind_is_no_traceback(tmp_path: Path) -> None:
    """`--format` may be wrong."""
    (tmp_path / "m.csv").write_text("prompt,model\na,b\n")
    for kind in FORMATS:
        if kind != "csv":
            with pytest.raises(ManifestError):
                open_manifest(
                    tmp_path / "m.csv", catalog=load_catalog(), dialect="evolink", beside=Beside(kind=kind)
                )
