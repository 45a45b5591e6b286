"""From a run to an export to a manifest: the row that is read from an image has the row key that it had."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner

import nanobanana_batch as nb
from nanobanana_batch.api.exporting import export
from nanobanana_batch.catalog import Catalog, load_catalog
from nanobanana_batch.cli import commands
from nanobanana_batch.manifest import Beside, open_manifest
from nanobanana_batch.model import LocalImage, Request, row_key
from nanobanana_batch.provenance.embed import embedded, record_in
from nanobanana_batch.provenance.record import Record, read_text
from nanobanana_batch.provenance.rows import FORMATS, as_manifest
from tests.checks.drawn import encoded, photo
from tests.provenance.test_embed import MODEL, SIGNED, pixels
from tests.saved_run import Made, saved_run

PROMPTS = [
    "a cat",
    "first\n\n  second\tthird ",
    "{braces} {{twice}} {red|green} __word__ }",
    "- a: list # no comment\n? key\n%TAG",
    "'quotes' \"and\" \\n \\ back | pipes, commas; semicolons",
    "=HYPERLINK(1)",
    "\u202eright to left\u202c עברית 日本語 \U0001f600\U000e0041 " + "e" + "\u0301" * 12,
    "null",
    "1e3",
    "@file",
    "x" * 2000,
]
ENDINGS = {"yaml": "yaml", "json": "json", "jsonl": "jsonl", "csv": "csv"}


def keys(path: Path, catalog: Catalog | None = None) -> list[str]:
    """The row keys of a manifest, whose rows have to be sound."""
    manifest = open_manifest(path, catalog=catalog or load_catalog(), dialect="evolink", beside=Beside())
    log = manifest.problem_log()
    drafts = list(manifest.drafts(log))
    assert [str(problem) for problem in log] == []
    return [row_key(draft.request, draft.variant) for draft in drafts if draft is not None]


def of_request(request: Request, **variables: str) -> Record:
    return Record(request, row_key(request, 1), 1, "cat", "task-1", 1, variables)


@pytest.mark.parametrize("format", FORMATS)
def test_a_plan_has_the_same_row_keys(tmp_path: Path, format: str) -> None:
    """For whatever is in a prompt, in any of the formats, by the commands as a person uses them."""
    kinds = ("PNG", "JPEG", "WEBP")
    rows = [
        Made(f"row-{number}", encoded(photo(number), kinds[number % 3]), Request(MODEL, prompt))
        for number, prompt in enumerate(PROMPTS)
    ]
    folder, out = saved_run(tmp_path / "run", rows), tmp_path / "out"
    export(folder, "imagefolder", out, embed_metadata=True)
    files = sorted((out / "train").glob("row-*"), key=lambda path: int(path.stem[4:]))
    done = CliRunner().invoke(commands, ["from-image", "--format", format, *map(str, files)])
    assert done.exit_code == 0, done.output
    path = tmp_path / f"again.{ENDINGS[format]}"
    path.write_text(done.stdout, encoding="utf-8", newline="")
    assert keys(path) == [row_key(row.request, 1) for row in rows]
    assert done.stderr == ""


def test_an_empty_line_at_the_end(tmp_path: Path) -> None:
    """A manifest leaves it out of any prompt; tables keep it."""
    record = of_request(Request(MODEL, "a cat\n"))
    path = written(tmp_path / "a.png", record)
    done = CliRunner().invoke(commands, ["from-image", str(path)])
    assert "--format jsonl keeps it" in done.stderr
    done = CliRunner().invoke(commands, ["from-image", str(path), "--format", "jsonl"])
    assert done.stderr == ""
    (tmp_path / "m.jsonl").write_text(done.stdout)
    assert keys(tmp_path / "m.jsonl") == [record.row_key]


WHOLE = Request(
    MODEL,
    "a {cat}",
    "16:9",
    "2K",
    ("https://x.example/{a}.png?x=1|2", "https://x.example/b.png"),
    None,
    True,
    False,
    "high",
)


@pytest.mark.parametrize("format", ["yaml", "json", "jsonl"])
def test_every_field_comes_back(tmp_path: Path, format: str) -> None:
    """Also with variables of strange names."""
    variables = {"style": "ink: {x}", "a.b": "#", "Ünïcode ": "- yes", "file_name": "null", "image": "x"}
    path = tmp_path / f"m.{ENDINGS[format]}"
    text = as_manifest([of_request(WHOLE, **variables)], format)
    path.write_text(text, encoding="utf-8")
    assert keys(path) == [row_key(WHOLE, 1)]


def test_settings_of_a_models_own_are_part_of_it(tmp_path: Path) -> None:
    """Each with its type."""
    models = {
        "own": {"dialects": {"evolink": {"extra": {"seed": "integer", "mode": "text", "raw": "boolean"}}}}
    }
    catalog, findings = load_catalog().merged(models)
    assert findings == []
    request = Request("own", "a", extra=(("mode", "7"), ("raw", True), ("seed", 7)))
    for format in FORMATS:
        path = tmp_path / f"m.{ENDINGS[format]}"
        path.write_text(as_manifest([of_request(request)], format))
        assert keys(path, catalog) == [row_key(request, 1)], format


def test_local_files_count_by_their_content(tmp_path: Path) -> None:
    """The name comes back; who has the file has the row. The place where it was is nobody's business."""
    data = encoded(photo(1))
    (tmp_path / "ref.png").write_bytes(data)
    place = str(tmp_path / "ref.png")
    file = LocalImage("ref.png", place, hashlib.sha256(data).hexdigest(), len(data), "image/png")
    request = Request(MODEL, "at night", images=("ref.png",), files=(file,))
    record = of_request(request)
    assert place not in record.as_text()
    back = read_text(record.as_text())
    assert back.is_whole
    (tmp_path / "m.yaml").write_text(as_manifest([back], "yaml"))
    assert keys(tmp_path / "m.yaml") == [row_key(request, 1)]


def written(path: Path, record: Record) -> Path:
    path.write_bytes(embedded(encoded(photo(1)), record))
    return path


def test_from_python_too(tmp_path: Path) -> None:
    """As rows that `plan` takes."""
    path = written(tmp_path / "a.png", of_request(WHOLE, style="ink"))
    (row,) = nb.from_image(path)
    assert row["prompt"] == "a {cat}"
    assert nb.plan([row], out=tmp_path / "new", provider="evolink").rows == 1


def test_images_of_one_row_are_one_row(tmp_path: Path) -> None:
    """A request that made several is asked for once."""
    request = Request(MODEL, "a cat")
    files = [
        written(tmp_path / f"{number}.png", Record(request, row_key(request, 1), image_number=number))
        for number in (1, 2)
    ]
    assert len(nb.from_image(files)) == 1


@pytest.mark.parametrize(
    ("key", "variant", "words"),
    [
        (row_key(Request(MODEL, "a cat"), 3), 3, "it is variant 3"),
        (row_key(Request(MODEL, "a cat"), 1, 1), 1, "one of several equal rows"),
    ],
)
def test_what_one_row_cannot_say_is_told(tmp_path: Path, key: str, variant: int, words: str) -> None:
    """On standard error; the manifest is on standard output alone."""
    path = written(tmp_path / "a.png", Record(Request(MODEL, "a cat"), key, variant))
    done = CliRunner().invoke(commands, ["from-image", str(path), "--format", "jsonl"])
    assert words in done.stderr
    assert json.loads(done.stdout)["prompt"] == "a cat"


def test_files_that_say_nothing_are_all_listed(tmp_path: Path) -> None:
    """With the reason for each, and where such files come from."""
    (tmp_path / "plain.png").write_bytes(encoded(photo(1)))
    (tmp_path / "text.png").write_bytes(b"a text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(nb.UsageError) as raised:
        nb.from_image([tmp_path / name for name in ("plain.png", "text.png", "folder", "nothing")])
    told = str(raised.value).splitlines()
    assert [line.rpartition("/")[2] for line in told[:2]] == [
        "plain.png: it says nothing of a row.",
        told[1].rpartition("/")[2],
    ]
    assert "not a PNG, JPEG or WebP" in told[1]
    assert "Is a directory" in told[2]
    assert "No such file" in told[3]
    assert "--embed-metadata" in told[3]


# --- in exports ------------------------------------------------------------------------------------------


def test_an_export_writes_into_copies_only(tmp_path: Path) -> None:
    """The run's own files stay as they came; signed ones go along as they are, which is told."""
    rows = [Made("plain", encoded(photo(1), "JPEG")), Made("signed", SIGNED["jpeg"])]
    folder = saved_run(tmp_path / "run", rows)
    done = export(folder, "imagefolder", tmp_path / "out", embed_metadata=True)
    assert done.not_embedded == {"it is signed (C2PA), and a change would break the signature": 1}
    for row in rows:
        assert (folder / "images" / f"{row.id}.jpg").read_bytes() == row.data
        assert row.data is not None
        assert pixels((tmp_path / "out" / "train" / f"{row.id}.jpg").read_bytes()) == pixels(row.data)
    assert (tmp_path / "out" / "train" / "signed.jpg").read_bytes() == rows[1].data
    found = record_in((tmp_path / "out" / "train" / "plain.jpg").read_bytes())
    assert found is not None
    assert (found.id, found.task_id, found.row_key) == ("plain", "task-1", row_key(rows[0].request, 1))
    assert "but for 1 that are as they came" in (tmp_path / "out" / "README.md").read_text()


def test_who_says_so_writes_into_signed_ones_too(tmp_path: Path) -> None:
    """And twice the same."""
    folder = saved_run(tmp_path / "run", [Made("signed", SIGNED["jpeg"])])
    for name in ("one", "two"):
        done = export(folder, "imagefolder", tmp_path / name, embed_metadata=True, embed_in_signed=True)
        assert done.not_embedded == {}
    one, two = (tmp_path / name / "train" / "signed.jpg" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes() != SIGNED["jpeg"]


PICTURES = {
    "png": encoded(photo(1)),
    "jpeg": encoded(photo(2), "JPEG"),
    "webp": encoded(photo(3), "WEBP"),
    "clear": encoded(photo(4).convert("RGBA"), "WEBP", lossless=True),
    "few": encoded(photo(5).quantize(16)),
}


def in_shards(folder: Path) -> dict[str, bytes]:
    """The pictures of a WebDataset, by their keys."""
    found = {}
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as shard:
            for member in shard:
                key, _, ending = member.name.partition(".")
                file = shard.extractfile(member)
                if ending not in ("txt", "json") and file is not None:
                    found[key] = file.read()
    return found


def beside_captions(folder: Path) -> dict[str, bytes]:
    """The pictures of a folder for trainers, by their names."""
    return {path.stem: path.read_bytes() for path in (folder / "train").iterdir() if path.suffix != ".txt"}


@pytest.mark.parametrize("convert", [None, "jpg", "png", "webp"])
@pytest.mark.parametrize(
    ("format", "read"),
    [("webdataset", in_shards), ("captions", beside_captions)],
    ids=["webdataset", "captions"],
)
def test_what_was_drawn_anew_says_it_too(
    tmp_path: Path,
    format: str,
    read: Callable[[Path], dict[str, bytes]],
    convert: Literal["jpg", "png", "webp"] | None,
) -> None:
    """The record goes in last; a picture has the pixels that it has without one, and the row comes back."""
    is_mixed = convert is None and format == "webdataset"
    names = ["png", "few"] if is_mixed else list(PICTURES)
    rows = [Made(name, PICTURES[name], Request(MODEL, f"{PROMPTS[1]} {name}")) for name in names]
    folder = saved_run(tmp_path / "run", rows)
    export(folder, format, tmp_path / "plain", convert=convert)
    done = export(folder, format, tmp_path / "told", convert=convert, embed_metadata=True)
    assert done.not_embedded == {}
    plain, told = read(tmp_path / "plain"), read(tmp_path / "told")
    assert plain.keys() == told.keys() == set(names)
    for row in rows:
        assert pixels(told[row.id]) == pixels(plain[row.id])
        assert record_in(plain[row.id]) is None
        copy = tmp_path / row.id
        copy.write_bytes(told[row.id])
        again = CliRunner().invoke(commands, ["from-image", "--format", "jsonl", str(copy)])
        assert json.loads(again.stdout)["prompt"] == row.request.prompt


@pytest.mark.parametrize("format", ["edits", "preferences", "csv", "jsonl", "sheet"])
def test_formats_without_copies_of_single_pictures_refuse_it(tmp_path: Path, format: str) -> None:
    """By the option's name, before anything is written."""
    folder = saved_run(tmp_path / "run", [Made("one", PICTURES["png"])])
    with pytest.raises(nb.UsageError, match=f"{format} has no use for --embed-metadata"):
        export(folder, format, tmp_path / "out.pdf", embed_metadata=True)
    assert not (tmp_path / "out.pdf").exists()


def test_parquet_has_it_in_its_bytes(tmp_path: Path) -> None:
    """As files have."""
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = saved_run(tmp_path / "run", [Made("one", encoded(photo(1)))])
    export(folder, "parquet", tmp_path / "out", embed_metadata=True)
    (file,) = (tmp_path / "out").rglob("*.parquet")
    (image,) = parquet.read_table(file)["image"].to_pylist()
    assert record_in(image["bytes"]) is not None


@pytest.mark.parametrize(
    "options",
    [
        {"format": "imagefolder", "link": "hard", "embed_metadata": True},
        {"format": "imagefolder", "embed_in_signed": True},
        {"format": "parquet", "paths_only": True, "embed_metadata": True},
        {"format": "csv", "embed_metadata": True},
    ],
)
def test_where_it_makes_no_sense_it_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    """A link is the run's own file."""
    folder = saved_run(tmp_path / "run", [Made("one", encoded(photo(1)))])
    with pytest.raises(nb.UsageError, match="embed"):
        export(folder, out=tmp_path / "out", **options)  # type: ignore[arg-type]
