"""Every kind of file that people have gives the rows that an independent reader finds, byte for byte."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
import zstandard
from PIL import Image

from nanobanana_batch.cli import main
from nanobanana_batch.errors import UsageError
from nanobanana_batch.manifest.read import workbook as workbooks
from nanobanana_batch.manifest.read.unpack import MAX_UNPACKED
from nanobanana_batch.model import row_key
from nanobanana_batch.problems import ProblemLog
from tests.unit.tables import complaints, opened, read

PARTI = Path(__file__).parents[2] / "manifests" / "data" / "PartiPrompts.tsv"
PROMPTS: list[str] = pd.read_csv(PARTI, sep="\t", quoting=csv.QUOTE_NONE)["Prompt"].tolist()
"""1,632 prompts of people, with quotes, umlauts and repetitions."""
FRAME = pd.DataFrame({"prompt": PROMPTS, "no": range(len(PROMPTS))})
JSON_LINES = FRAME.to_json(orient="records", lines=True, force_ascii=False)

Pack = Callable[[bytes], bytes]
PACKS: dict[str, Pack] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_content_size=False).compress,
}


def workbook(*rows: list[Any], sheet: str = "Sheet") -> bytes:
    """A workbook with a sheet of these rows, and another one."""
    file, book = io.BytesIO(), openpyxl.Workbook()
    first = book.worksheets[0]
    first.title = sheet
    for number, row in enumerate(rows, 1):
        for column, cell in enumerate(row, 1):
            first.cell(number, column, cell)
    book.create_sheet("Notes").cell(1, 1, "prompt")
    book.save(file)
    return file.getvalue()


def as_json(value: object, indent: int | None = None) -> bytes:
    """As other programs write it, with and without escapes."""
    return json.dumps(value, ensure_ascii=indent is not None, indent=indent).encode()


CONTENTS: dict[str, bytes] = {
    "t.txt": "\n".join(PROMPTS).encode(),
    "t.csv": FRAME.to_csv(index=False).encode(),
    "t.jsonl": JSON_LINES.encode(),
    "lines.json": JSON_LINES.encode(),
    "array.json": as_json(FRAME.to_dict("records"), indent=4),
    "compact.json": as_json(FRAME.to_dict("records")),
    "texts.json": as_json(PROMPTS),
    "object.json": as_json({f"n{no}": {"prompt": text} for no, text in enumerate(PROMPTS)}, indent=1),
}


@pytest.mark.parametrize("ending", PACKS)
@pytest.mark.parametrize("name", CONTENTS)
def test_text_files_give_the_prompts_that_are_in_them(tmp_path: Path, name: str, ending: str) -> None:
    """In order, with all repetitions, packed or not."""
    path = tmp_path / (name + ending)
    path.write_bytes(PACKS[ending](CONTENTS[name]))
    assert opened(path).name == name.partition(".")[0]
    expected = [prompt.strip() for prompt in PROMPTS] if name == "t.txt" else PROMPTS
    assert [draft.request.prompt for draft in read(path)] == expected


def test_a_workbook_and_parquet_give_what_pandas_reads_from_them(tmp_path: Path) -> None:
    """Numbers as a person would write them."""
    FRAME.to_parquet(tmp_path / "t.parquet")
    FRAME.to_excel(tmp_path / "t.xlsx", index=False)
    for name, reader in (("t.parquet", pd.read_parquet), ("t.xlsx", pd.read_excel)):
        drafts = read(tmp_path / name)
        assert [draft.request.prompt for draft in drafts] == reader(tmp_path / name)["prompt"].tolist()
        assert [dict(draft.variables)["no"] for draft in drafts] == [str(no) for no in range(1632)]


def test_a_row_is_the_same_whatever_file_it_stands_in(tmp_path: Path) -> None:
    """Who changes the kind of the file pays for nothing anew."""
    keys = set()
    for name in ("t.csv", "array.json", "texts.json", "t.jsonl"):
        (tmp_path / name).write_bytes(CONTENTS[name])
        keys.add(tuple(row_key(draft.request, draft.variant) for draft in read(tmp_path / name)))
    assert len(keys) == 1


def test_a_folder_of_texts_gives_a_row_for_each_file(tmp_path: Path) -> None:
    """The file's name is the id; several lines are one prompt; other files are left alone."""
    folder = tmp_path / "prompts"
    folder.mkdir()
    for number, prompt in enumerate(PROMPTS[:50]):
        (folder / f"no {number:02}.txt").write_text(f"{prompt}\nand more\n", encoding="utf-8")
    (folder / ".hidden.txt").write_text("not meant")
    (folder / "cat.png").write_bytes(b"")
    drafts = read(folder)
    assert [draft.request.prompt for draft in drafts] == [f"{prompt}\nand more" for prompt in PROMPTS[:50]]
    assert [draft.id for draft in drafts] == [f"no {number:02}" for number in range(50)]
    assert drafts[3].source == "prompts/no 03.txt"
    assert "1 picture beside the prompts" in noted(folder)
    (tmp_path / "m.yaml").write_text('table: prompts\ncolumns: {text: prompt}\nprompt: "{text}!"\n')
    assert read(tmp_path / "m.yaml")[0].request.prompt == f"{PROMPTS[0]}\nand more!"


def test_a_folder_does_not_lend_what_a_link_in_it_leads_to(tmp_path: Path) -> None:
    """It may be a stranger's."""
    (tmp_path / "secret").write_text("a secret")
    folder = tmp_path / "theirs" / "prompts"
    folder.mkdir(parents=True)
    (folder / "a.txt").symlink_to(tmp_path / "secret")
    (problem,) = complaints(folder)
    assert "a secret" not in problem
    assert "leads out of" in problem


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("photos/*.png", ["photos/a.png"]),
        ("photos/**/*.png", ["photos/a.png", "photos/sub/b.png", "photos/sub/deep/c.png"]),
        ("**/b.png", ["photos/sub/b.png"]),
        ("photos/*/?.png", ["photos/sub/b.png"]),
        ("photos/[!a]*/**", ["photos/sub/b.png", "photos/sub/deep/c.png"]),
    ],
)
def test_a_pattern_of_pictures_goes_round_in_no_circle(
    tmp_path: Path, pattern: str, files: list[str]
) -> None:
    """Folders that are links, such as one to itself, are not followed."""
    photos = tmp_path / "photos"
    (photos / "sub" / "deep").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "sub/deep/c.png"):
        Image.new("RGB", (64, 64), "red").save(photos / name)
    for name in ("one", "two"):
        (photos / "sub" / name).symlink_to(photos)
    manifest = tmp_path / "m.yaml"
    manifest.write_text(f'images_from: "{pattern}"\nprompt: in ink\n')
    assert [str(draft.request.images[0]) for draft in read(manifest)] == files


def test_what_a_folder_holds_and_is_not_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts in folders below it, links that lead nowhere, pictures that no model takes."""
    prompts, photos = tmp_path / "prompts", tmp_path / "photos"
    (prompts / "more").mkdir(parents=True)
    for name in ("a.txt", "more/b.txt", "more/.c.txt"):
        (prompts / name).write_text("a cat")
    assert "prompts: 1 text file in folders below it is not read" in noted(prompts)
    (prompts / "lost.txt").symlink_to("nowhere.txt")
    assert complaints(prompts) == ["prompts/lost.txt: cannot be read: No such file or directory"]
    (photos / "more").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(photos / "more" / "a.png")
    for name in ("b.heic", "more/c.GIF", "Thumbs.db"):
        (photos / name).write_bytes(b"x")
    manifest = tmp_path / "m.yaml"
    for name in ("photos", "photos/**/*", "photos/more/a.png"):
        manifest.write_text(f"images_from: {name}\nprompt: in ink\n")
        assert [draft.id for draft in read(manifest)] == ["a" if name.endswith("g") else "more-a"]
        assert ("2 pictures of a kind that no model takes are not used" in noted(manifest)) == (
            not name.endswith("g")
        )

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    manifest.write_text("images_from: photos\nprompt: in ink\n")
    monkeypatch.setattr("os.scandir", refuse)
    assert "Permission denied" in "\n".join(complaints(manifest))


def test_a_name_that_is_no_text_is_a_problem_of_its_file(tmp_path: Path) -> None:
    """As old archives bring them: no state could keep it, and no page show it."""
    odd, told = os.fsdecode(b"T\xe4glich"), "its name is no text in UTF-8; rename it"
    texts, photos = tmp_path / "texts", tmp_path / "photos"
    for folder, ending in ((texts, ".txt"), (photos, ".png")):
        folder.mkdir()
        (folder / f"{odd}{ending}").write_bytes(b"a cat")
        (folder / f"whole{ending}").write_bytes(b"a cat")
    assert complaints(texts) == [f"texts/{odd}.txt: {told}"]
    (tmp_path / "m.yaml").write_text("images_from: photos\nprompt: in ink\n")
    assert complaints(tmp_path / "m.yaml")[0] == f"photos/{odd}.png: {told}"
    for name, content in ((f"{odd}.csv", "prompt\na cat\n"), (f"{odd}.yaml", "prompt: a cat\n")):
        (tmp_path / name).write_text(content)
        with pytest.raises(UsageError, match=told):
            opened(tmp_path / name)


def test_a_folder_of_manifests_says_how_many_it_has(tmp_path: Path) -> None:
    """The first few by name; others are not kept silent about."""
    for number in range(7):
        (tmp_path / f"{number}.csv").write_text("prompt\na cat\n")
    with pytest.raises(UsageError, match=r"0\.csv, 1\.csv, 2\.csv, 3\.csv, 4\.csv, and 2 more\.$"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read, and while it is."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.txt").write_text("a cat")
    manifest = opened(tmp_path / "prompts")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    log = manifest.problem_log()
    assert list(manifest.drafts(log)) == []
    assert [str(problem) for problem in log] == ["prompts: cannot be read: Permission denied"]
    with pytest.raises(UsageError, match="prompts cannot be read: Permission denied"):
        opened(tmp_path / "prompts")


def noted(path: Path, **defaults: str) -> str:
    """All warnings of a manifest, once its rows were read."""
    manifest = opened(path, (), **defaults)
    log = ProblemLog()
    assert list(manifest.drafts(log)) or log
    return "\n".join(manifest.warnings)


def test_lines_of_a_text_file_say_what_is_left_of_them(tmp_path: Path) -> None:
    """Comments and blanks are counted and told; a header that was not meant as a prompt, too."""
    path = tmp_path / "t.txt"
    path.write_text("# animals\n a cat \n\na dog\na cat\n#\n")
    assert [draft.request.prompt for draft in read(path)] == ["a cat", "a dog", "a cat"]
    said = noted(path)
    assert "t.txt: left out: 2 lines that begin with #, blanks around 1 line" in said
    path.write_text("Prompt,Category\na cat,Animals\n")
    assert "the first line seems to name columns" in noted(path)
    for content in (
        '{"prompt": "a cat"}\n',
        '[\n{"prompt": "a cat"}\n]\n',
        '["a cat",\n"a dog"]\n',
        "{\n}\n",
    ):
        path.write_text(content)
        assert "the lines seem to be JSON" in noted(path)
    path.write_text("[wide shot] a cat\n{a|b} dog\n")
    assert "JSON" not in noted(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"prompt": "a"} {"prompt": "b"}]', "t.json:1: not valid JSON: a comma between two values"),
        ('[\n{"prompt": "a"},\n]', "t.json:3: not valid JSON: a comma stands behind the last value"),
        ('[{"prompt": "a"}', "t.json:1: not valid JSON: a comma between two values is missing, or the end"),
        ('[\n{"prompt": "a", "b": tru}]', "t.json:2: not valid JSON: Expecting value"),
        ('[{"prompt": "a"}, 5]', "t.json row 2: expected an object"),
        ('[{"prompt": "a"}, [1]]', "t.json row 2: expected an object"),
        ('[{"prompt": "a"}, {"prompt": "b", "prompt": "c"}]', "t.json row 2: the key 'prompt' stands there"),
        (r'[{"prompt": "a"}, {"prompt": "\u0000"}]', "t.json row 2: prompt: the control character"),
        ('{"data": [{"prompt": "a"}]}', "t.json: one object, and a row for each of its values was expected"),
        ("[" * 100_000, "t.json:1: not valid JSON: nested far too deeply"),
        ('"a"', "t.json:1: not valid JSON: a list or an object begins with [ or {"),
        ("[]", "t.json: there are no rows"),
        ('[\n["' + "x" * (1 << 21) + '"]]', "t.json: line 2: a value of more than 1,048,576 characters"),
        (
            '[\n{"a": [' + "1," * (1 << 20) + "1]}]",
            "t.json: line 2: a value of more than 1,048,576 characters",
        ),
        ('[{"a": NaN, "b": ' + "[" * 100_000, "t.json:1: not valid JSON: nested far too deeply"),
        ('{"prompt": ' + "[" * 60_000, "t.json:1: not valid JSON: nested far too deeply"),
        ('[{"a": NaN, "b": ' + "9" * 5000 + "}]", "t.json row 1: NaN is no number"),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_wrong_with_a_document_is_told_with_its_place(
    tmp_path: Path, content: str, problem: str
) -> None:
    """A bad value is one row's; what is no JSON ends the reading."""
    (tmp_path / "t.json").write_text(content)
    assert any(found.startswith(problem) for found in complaints(tmp_path / "t.json"))


def test_json_may_be_a_manifest_as_a_whole(tmp_path: Path) -> None:
    """JSON is YAML, and says so by its first key."""
    path = tmp_path / "m.json"
    path.write_text(
        '{"rows": [{"city": "Rome"}], "prompt": "{city}", "defaults": {"model": "nano-banana-beta"}}'
    )
    assert [draft.request.prompt for draft in read(path)] == ["Rome"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_what_json_holds_is_seen_behind_any_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    """Else the keys of its objects would be rows."""
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    for name, text in (
        ("lines.json", '{"prompt": "ä cat", "id": "x"}\n'),
        ("lines.jsonl", '{"prompt": "ä cat", "id": "x"}\n'),
        ("list.jsonl", '[\n{"prompt": "ä cat", "id": "x"}\n]\n'),
        ("whole.json", '{"prompt": "{c} cat", "id": "x", "matrix": {"c": ["ä"]}}\n'),
    ):
        (tmp_path / name).write_bytes((mark + text).encode(encoding))
        (draft,) = read(tmp_path / name)
        assert (draft.request.prompt, draft.id) == ("ä cat", "x")


def test_what_nobody_names_of_nested_json_is_left_out_once(tmp_path: Path) -> None:
    """Objects, lists and nulls; a dotted name reaches in."""
    rows = [
        {"tag": "x", "include": [{"class": "bench", "count": 1}], "prompt": {"en": "a cat", "de": None}},
        {"tag": None, "include": [], "prompt": {"en": "a dog"}},
    ]
    for name, content in (("t.json", json.dumps(rows)), ("t.jsonl", "\n".join(map(json.dumps, rows)))):
        path = tmp_path / name
        path.write_text(content)
        (problem,) = [each for each in complaints(path) if "prompt" in each]
        assert "`--columns prompt=prompt.en` reaches in" in problem
        (tmp_path / "m.yaml").write_text(f'table: {name}\nwhere: {{tag: x}}\nprompt: "{{prompt.en}}"\n')
        manifest = opened(tmp_path / "m.yaml")
        (draft,) = manifest.drafts(ProblemLog())
        assert draft.request.prompt == "a cat"
        assert draft.variables == (("tag", "x"), ("prompt.en", "a cat"))
        (warning,) = [said for said in manifest.warnings if "left out" in said]
        assert "include: a column of type 'list'" in warning
        assert "`columns: {NAME: include.0.class}` reaches in" in warning


def test_parquet_reaches_into_structs(tmp_path: Path) -> None:
    """As JSON does, also where a struct is null."""
    frame = pd.DataFrame(
        {"prompts": [{"en": "a cat", "n": 1}, None, {"en": "a dog", "n": 2}], "x": ["u", "v", "w"]}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "m.yaml").write_text(
        "table: t.parquet\ncolumns: {prompt: prompts.en, number: prompts.n}\nwhere: {x: [u, w]}\n"
    )
    drafts = read(tmp_path / "m.yaml")
    assert [draft.request.prompt for draft in drafts] == ["a cat", "a dog"]
    assert dict(drafts[1].variables)["number"] in ("2", "2.0")


def test_a_workbook_is_read_from_its_first_sheet_or_the_one_that_is_named(tmp_path: Path) -> None:
    """With dates, truths and gaps as a person would write them."""
    day = pd.Timestamp("2026-01-02")
    rows: tuple[list[Any], ...] = (
        [],
        ["Prompt", "n", "half", "is", "day", ""],
        ["a cat", 1.0, 0.5, True, day],
        [],
        ["a dog"],
        ["an owl"],
    )
    (tmp_path / "t.xlsx").write_bytes(workbook(*map(list, rows), sheet="Rows"))
    manifest = opened(tmp_path / "t.xlsx")
    drafts = list(manifest.drafts(ProblemLog()))
    assert [draft.request.prompt for draft in drafts] == ["a cat", "a dog", "an owl"]
    assert drafts[0].variables == (("n", "1"), ("half", "0.5"), ("is", "true"), ("day", "2026-01-02"))
    assert drafts[2].source == "t.xlsx row 6"
    assert any("only its first sheet is read" in said and "'Notes'" in said for said in manifest.warnings)
    (tmp_path / "m.yaml").write_text("table: t.xlsx\nsheet: Notse\n")
    assert any(
        "there is no sheet 'Notse'; did you mean 'Notes'?" in each for each in complaints(tmp_path / "m.yaml")
    )
    (tmp_path / "m.yaml").write_text("table: t.xlsx\nsheet: Rows\n")
    assert len(read(tmp_path / "m.yaml")) == 3


def test_a_workbook_as_programs_and_people_have_it(tmp_path: Path) -> None:
    """A hidden sheet in front, formulas that nobody has calculated, and failed ones; all is told."""
    book = openpyxl.Workbook()
    hidden, sheet = book.worksheets[0], book.create_sheet("Prompts")
    hidden.sheet_state = "hidden"
    hidden.append(["prompt"])
    hidden.append(["not meant"])
    for row in (["prompt", "note"], ["a_x000D_\ncat _x005F_x000D_", None], ["b", "#REF!"], ["c", "=A1"]):
        sheet.append(row)
    book.active = 1
    book.save(tmp_path / "t.xlsx")
    assert [draft.request.prompt for draft in read(tmp_path / "t.xlsx")] == ["a\ncat _x000D_", "b", "c"]
    said = noted(tmp_path / "t.xlsx")
    assert "`sheet:` of a YAML manifest names another: 'Sheet'" in said
    assert "1 cell with a formula that was never calculated give" in said
    assert "1 row with an error of a formula, such as #REF!, which is taken as text: t.xlsx row 3" in said
    assert "fewer cells" not in said


def test_a_sheet_of_more_rows_than_there_are_is_refused(tmp_path: Path) -> None:
    """Each that is not there would be made."""
    plain = workbook(["prompt"], ["a"])
    with zipfile.ZipFile(io.BytesIO(plain)) as old, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(
                name,
                old.read(name).replace(b'"A2"', b'"A99999999"').replace(b'<row r="2"', b'<row r="99999999"'),
            )
    assert complaints(tmp_path / "t.xlsx") == ["t.xlsx: more than 1,048,576 rows; no spreadsheet has so many"]


def test_a_workbook_that_would_swell_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes can unpack to gigabytes."""
    (tmp_path / "t.xlsx").write_bytes(workbook(["prompt"], ["a" * 30_000]))
    monkeypatch.setattr(workbooks, "_FEW_BYTES", 20_000)
    monkeypatch.setattr(workbooks, "_MOST_SWOLLEN", 20)
    assert "'xl/worksheets/sheet1.xml' in it holds 0 MiB in 0" in "\n".join(complaints(tmp_path / "t.xlsx"))


def test_a_packed_file_may_be_of_several_parts(tmp_path: Path) -> None:
    """As programs write them that pack in parallel, with frames of zstd that hold nothing."""
    nothing = b"\x53\x2a\x4d\x18\x04\0\0\0size"
    content = CONTENTS["t.csv"]
    half = len(content) // 2
    for ending, before in ((".gz", b""), (".zst", nothing)):
        pack = PACKS[ending]
        path = tmp_path / f"t.csv{ending}"
        path.write_bytes(before + pack(content[:half]) + before + pack(content[half:]) + before)
        assert [draft.request.prompt for draft in read(path)] == PROMPTS


def test_a_packed_file_that_is_cut_or_swells_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and no row of it is taken for the whole."""
    for ending in (".gz", ".zst"):
        path = tmp_path / f"t.csv{ending}"
        packed = PACKS[ending](CONTENTS["t.csv"])
        path.write_bytes(packed[: len(packed) // 2])
        assert "the compressed file is damaged, or not whole" in "\n".join(complaints(path))
    words = zstandard.train_dictionary(1024, [prompt.encode() for prompt in PROMPTS])
    path.write_bytes(zstandard.ZstdCompressor(dict_data=words).compress(CONTENTS["t.csv"]))
    assert "not whole: zstd decompressor error: Dictionary mismatch" in "\n".join(complaints(path))
    assert MAX_UNPACKED > 1 << 30
    path.write_bytes(PACKS[".zst"](CONTENTS["t.csv"]))
    monkeypatch.setattr("nanobanana_batch.manifest.read.unpack.MAX_UNPACKED", 1 << 16)
    assert "it holds more than" in "\n".join(complaints(path))


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [
        ("openpyxl", "t.xlsx", "excel"),
        ("zstandard", "t.csv.zst", "zstd"),
        ("pyarrow", "t.parquet", "parquet"),
    ],
)
def test_a_missing_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, extra: str
) -> None:
    """In one line, before anything is spent."""
    FRAME[:3].to_parquet(tmp_path / "t.parquet")
    FRAME[:3].to_excel(tmp_path / "t.xlsx")
    (tmp_path / "t.csv.zst").write_bytes(PACKS[".zst"](b"prompt\na cat\n"))
    monkeypatch.setitem(__import__("sys").modules, module, None)
    assert f"pip install 'nanobanana-batch[{extra}]'" in complaints(tmp_path / name)[0]


def test_columns_and_id_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the message offers is what works; both are for tables only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("id,Category,caption\n1,Big Animals,a cat\n2,Food,an apple\n")

    def plan(*words: str) -> tuple[int, str]:
        words = (
            "nanobanana-batch",
            "plan",
            *words,
            "--provider",
            "local",
            "--defaults",
            "model=nano-banana-beta",
        )
        monkeypatch.setattr("sys.argv", list(words))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    code, said = plan("t.csv")
    assert code == 2
    assert "`--columns prompt=caption`" in said
    code, said = plan("t.csv", "--columns", "prompt=caption", "--id", "{Category}-{id}")
    assert code == 0
    assert "big-animals-1  a cat" in said
    code, said = plan("t.csv", "--columns", "prompt=captoin")
    assert (code, "did you mean 'caption'?" in said) == (2, True)
    code, said = plan("t.csv", "--columns", "prompt=caption", "--id", "{kategory}")
    assert (code, "--id: id: unknown variable {kategory}" in said) == (2, True)
    (tmp_path / "m.yaml").write_text("prompt: a cat\n")
    code, said = plan("m.yaml", "--id", "{id}")
    assert (code, "--id is for tables; in a YAML manifest it is the key `id:`" in said) == (2, True)


def test_a_name_with_a_dot_is_not_what_stands_in_a_struct(tmp_path: Path) -> None:
    """The reader of Parquet takes both by the same path; and a list inside of one is named as a list."""
    rows = {"prompt.en": ["a"], "prompt": [{"en": "b", "all": ["c", "d"]}]}
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    manifest = tmp_path / "m.yaml"
    manifest.write_text("table: t.parquet\ncolumns: {prompt: prompt.en}\n")
    assert [draft.request.prompt for draft in read(manifest)] == ["a"]
    manifest.write_text("table: t.parquet\ncolumns: {prompt: prompt.en, others: prompt.all}\n")
    (problem,) = complaints(manifest)
    assert problem.endswith("columns.others: 'prompt.all' is a list; only `images` may be one")


def test_pictures_in_parquet_may_be_reference_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Hugging Face stores them; each becomes a file of the user's cache, and counts by its content."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pictures = []
    for colour in ("red", "blue", "red"):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(file, "PNG")
        pictures.append({"bytes": file.getvalue(), "path": f"{colour}.png"})
    work = tmp_path / "work"
    work.mkdir()
    pd.DataFrame({"prompt": ["a", "b", "c"], "image": pictures}).to_parquet(work / "t.parquet")
    (warning,) = opened(work / "t.parquet").warnings
    assert "`--columns images=image` makes reference images of it" in warning
    (work / "m.yaml").write_text("table: t.parquet\ncolumns: {images: image}\n")
    for _ in range(2):  # the cache may be emptied at any time
        drafts = read(work / "m.yaml")
        files = [draft.request.files[0] for draft in drafts]
        assert [Path(each.path).read_bytes() for each in files] == [each["bytes"] for each in pictures]
        assert files[0].sha256 == files[2].sha256 != files[1].sha256
        assert len(list((tmp_path / "cache").rglob("*.png"))) == 2
        shutil.rmtree(tmp_path / "cache")
    for second in (None, {"bytes": None, "path": "blue.png"}):
        called_images = {"prompt": ["a", "b", "c"], "images": [pictures[0], second, pictures[2]]}
        pd.DataFrame(called_images).to_parquet(work / f"{second is None}.parquet")
    assert [len(draft.request.files) for draft in read(work / "True.parquet")] == [1, 0, 1]
    (problem,) = complaints(work / "False.parquet")
    assert problem.startswith("False.parquet row 2: a picture that is not in the table")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no-such-place")
    assert "its pictures cannot be kept in" in "\n".join(complaints(work / "m.yaml"))
