"""What is built: thumbnails once, data that stay text, links that lead, and nothing over what is not ours."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

import nanobanana_batch as nb
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.galleries import build as building
from nanobanana_batch.galleries import pages
from tests.gallery.made_run import Row, local_image, make_run, scene

HOSTILE = "</script><script>alert(1)</script> \"'`& \u202eevil\u202c \u2028 \x07 🍌\n<!--"


def drawn(seed: int = 1, kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    return scene(seed, size=size, kind=kind)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def data(gallery: Path) -> dict[str, Any]:
    """What the page is given, by the names of the files."""
    found = {}
    for file in gallery.glob("data/*/*.js"):
        text = file.read_text(encoding="utf-8")
        text = text.replace('["__proto__"]:', '"__proto__":')
        told = re.fullmatch(r'Gallery\.data\("(\w+)",(\d+),(.*)\);\n', text, re.DOTALL)
        assert told, text[:80]
        found[file.stem] = json.loads(told[3])
    return found


def thumbs(gallery: Path) -> dict[str, int]:
    """When each was made."""
    return {file.name: file.stat().st_mtime_ns for file in gallery.glob("thumbs/*/*/*")}


def thumb_of(gallery: Path, record: dict[str, Any]) -> Image.Image:
    image = Image.open(gallery / "thumbs/384" / record["thumb"][:2] / f"{record['thumb']}.webp")
    image.load()
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three rows with an image, one that was refused, one that is to come."""
    rows = [
        Row("one", "a fox", {"style": "ink"}, images=(drawn(1), drawn(11))),
        Row("two", "a fox", {"style": "photo"}, images=(drawn(2),)),
        Row("three", "an owl", {"style": "ink"}, images=(drawn(3),)),
        Row("four", "a riot", {"style": "ink"}, end="refused"),
        Row("five", "an owl again", {"style": "photo"}, end="pending"),
    ]
    make_run(tmp_path / "run", rows)
    return tmp_path / "run"


def test_every_row_and_every_picture_is_an_item(folder: Path) -> None:
    """Rows without one are seen, too, with what they have cost."""
    made = nb.gallery(folder)
    assert made == nb.GalleryMade(folder / "gallery/index.html", 5, 4, 4, 0, 0)
    told = data(folder / "gallery")
    items = told["items-0"]
    assert [item["id"] for item in items] == ["one", "one", "two", "three", "four", "five"]
    assert [item.get("image_number") for item in items] == [1, 2, 1, 1, None, None]
    assert items[4]["error_code"] == "content_policy_violation"
    assert all(item["row_key"].startswith("r1-") for item in items)
    totals = told["summary"]["totals"]
    assert totals["by_status"] == {"completed": 3, "refused": 1, "pending": 1}
    assert totals["credits"] == 12.0 + totals["credits_by_status"]["refused"]
    assert totals["practice"] == 0


def test_a_thumbnail_is_made_once(folder: Path) -> None:
    """Of unchanged content never again; of content that is gone it goes."""
    nb.gallery(folder)
    before = thumbs(folder / "gallery")
    again = nb.gallery(folder)
    assert (again.thumbnails_made, again.thumbnails_kept) == (0, 4)
    assert thumbs(folder / "gallery") == before
    (folder / "images/two.png").write_bytes(drawn(99))
    changed = nb.gallery(folder)
    assert (changed.thumbnails_made, changed.thumbnails_kept) == (1, 3)
    assert len(thumbs(folder / "gallery")) == 4
    assert data(folder / "gallery")["items-0"][2]["stands"] == "changed"


def test_what_is_left_out_keeps_its_thumbnail(folder: Path) -> None:
    """A selection is another look at the same pictures."""
    nb.gallery(folder)
    some = nb.gallery(folder, where=["style=photo"])
    assert (some.rows, some.images, some.thumbnails_made) == (2, 1, 0)
    assert nb.gallery(folder).thumbnails_made == 0
    assert nb.gallery(folder, only=["refused"]).images == 0


@pytest.mark.parametrize("one_file", [False, True], ids=["folder", "one file"])
@pytest.mark.parametrize(
    ("where", "only"), [(["style=inc"], []), ([], ["rejected"])], ids=["no such value", "none is that"]
)
def test_a_selection_that_takes_nothing_leaves_the_gallery_of_before(
    folder: Path, one_file: bool, where: list[str], only: list[str]
) -> None:
    """It is a slip: an empty page in its place would look as if all were gone."""
    page = nb.gallery(folder, one_file=one_file).path
    before = {path: path.read_bytes() for path in [page, *page.parent.glob("data/**/*.js")]}
    with pytest.raises(nb.UsageError, match=r"nothing to show: .*was left as it is.*--where") as refused:
        nb.gallery(folder, one_file=one_file, where=where, only=only)
    assert ("there it is 'ink', 'photo'" in str(refused.value)) is bool(where)
    assert {path: path.read_bytes() for path in [page, *page.parent.glob("data/**/*.js")]} == before


def test_a_half_thumbnail_is_made_anew(folder: Path) -> None:
    """A power cut may leave one."""
    nb.gallery(folder)
    file = next(folder.glob("gallery/thumbs/*/*/*.webp"))
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    assert nb.gallery(folder).thumbnails_made == 1
    assert file.read_bytes() == whole


def test_an_image_that_was_only_touched_is_no_other(folder: Path) -> None:
    """Of a copied folder the times differ; its bytes say that it is as it was."""
    nb.gallery(folder)
    os.utime(folder / "images/two.png", (1, 1))
    assert nb.gallery(folder).thumbnails_made == 0
    assert "stands" not in data(folder / "gallery")["items-0"][2]


def test_unchanged_data_are_not_written_again(folder: Path) -> None:
    """They are named by their content."""
    nb.gallery(folder)
    before = {file: file.stat().st_mtime_ns for file in folder.glob("gallery/data/*/items-*.js")}
    nb.gallery(folder)
    assert {file: file.stat().st_mtime_ns for file in folder.glob("gallery/data/*/items-*.js")} == before
    nb.gallery(folder, only=["refused"])
    assert len(list(folder.glob("gallery/data/*"))) == 1


@pytest.mark.parametrize(
    ("data_", "reason"),
    [
        (b"", "no image"),
        (b"GIF89a" + bytes(100), "no image"),
        (drawn()[:400], "no image"),
        (encoded(Image.new("1", (20_000, 20_000)), "PNG"), "no image"),
    ],
    ids=["empty", "no format of a run", "cut", "unfolds to 400 million pixels"],
)
def test_what_cannot_be_shown_says_why(folder: Path, data_: bytes, reason: str) -> None:
    """It is an item like the others, and the build goes on."""
    (folder / "images/two.png").write_bytes(data_)
    made = nb.gallery(folder)
    assert (made.images, made.not_readable) == (4, 1)
    item = data(folder / "gallery")["items-0"][2]
    assert "thumb" not in item
    assert reason in item["problem"]


def test_a_link_in_the_place_of_an_image_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """Somebody else's folder must not show a person's own pictures."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(drawn(5))
    (folder / "images/two.png").unlink()
    (folder / "images/two.png").symlink_to(secret)
    nb.gallery(folder)
    item = data(folder / "gallery")["items-0"][2]
    assert "thumb" not in item
    assert "url" not in item


def test_kinds_of_images(tmp_path: Path) -> None:
    """Turned, with an alpha, in CMYK, of 16 bits, with a palette: each is shown as it looks."""
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = Image.new("RGB", (40, 20), "red")
    palette = Image.new("RGBA", (30, 30), (0, 0, 255, 0)).quantize()
    grey = Image.new("I;16", (20, 20), 0x8000)
    kinds = {
        "turned": encoded(plain, "JPEG", exif=exif),
        "cmyk": encoded(plain.convert("CMYK"), "JPEG"),
        "alpha": encoded(Image.new("RGBA", (30, 30), (9, 9, 9, 0)), "PNG"),
        "palette": encoded(palette, "PNG", transparency=0),
        "deep": encoded(grey, "PNG"),
        "moving": encoded(plain, "WEBP", save_all=True, append_images=[plain.rotate(180)]),
        "tall": encoded(Image.new("L", (10, 2000), 200), "PNG"),
    }
    make_run(tmp_path / "run", [Row(name, name, images=(bytes_,)) for name, bytes_ in kinds.items()])
    assert nb.gallery(tmp_path / "run").not_readable == 0
    shown = {
        item["id"]: thumb_of(tmp_path / "run/gallery", item)
        for item in data(tmp_path / "run/gallery")["items-0"]
    }
    assert shown["turned"].size == (20, 40)
    red = shown["cmyk"].convert("RGB").getpixel((5, 5))
    assert isinstance(red, tuple)
    assert red[0] > 200 > 60 > red[2]
    assert [shown[name].mode for name in ("alpha", "palette", "cmyk")] == ["RGBA", "RGBA", "RGB"]
    middle = shown["deep"].convert("L").getpixel((5, 5))
    assert isinstance(middle, int)
    assert 120 < middle < 136
    assert shown["tall"].size == (2, 384)


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    """Nothing that a manifest says ends a script, and all of it is there to be read."""
    row = Row("a&b #1%", HOSTILE, {HOSTILE.replace("\n", ""): HOSTILE, "image": "x", "file_name": "y"})
    make_run(tmp_path / "run", [Row(row.id, row.prompt, row.variables, images=(drawn(),))])
    nb.gallery(tmp_path / "run")
    for file in (tmp_path / "run/gallery").glob("data/*/*.js"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"[<>&\u2028]", text)
    told = data(tmp_path / "run/gallery")
    item = told["items-0"][0]
    assert item["prompt"] == HOSTILE == told["find-0"]["texts"][0]
    assert item["var_image"] == "x"
    assert item["image"] == "images/a&b #1%.png"
    assert item["url"] == "../images/a%26b%20%231%25.png"


OWN = ("url", "thumb", "problem", "sources", "source", "extra", "practice", "stands", "seconds", "saved_at")


def test_no_variable_passes_for_what_the_page_knows(tmp_path: Path) -> None:
    """Such as the address of a file, of a row that has none; its value is there under another name."""
    variables = dict.fromkeys((*OWN, "#text", "var_url", "constructor"), "https://evil.example/x.png")
    make_run(tmp_path / "run", [Row("a", "a fox", variables, end="refused")])
    nb.gallery(tmp_path / "run")
    told = data(tmp_path / "run/gallery")
    (item,) = told["items-0"]
    assert item["source"] == "test:a"
    assert not {"url", "thumb", "problem", "sources", "extra"} & set(item)
    names = told["summary"]["variables"]
    assert len(set(names)) == len(variables)
    assert {item[name] for name in names} == {"https://evil.example/x.png"}
    assert told["index-0"]["#text"] == [0]
    assert {"constructor", "var_url"} <= set(names)


def test_links_lead_from_wherever_the_page_is(folder: Path, tmp_path: Path) -> None:
    """Relative, so that both may be moved together."""
    out = tmp_path / "pages of mine" / "fox & owl"
    made = nb.gallery(folder, out=out)
    assert made.path == out / "index.html"
    url = data(out)["items-0"][0]["url"]
    assert (out / unquote(url)).resolve() == folder / "images/one.png"
    assert not (folder / "gallery").exists()


def test_several_folders_are_one_gallery(folder: Path, tmp_path: Path) -> None:
    """Each image says whose it is; the place has to be named."""
    make_run(tmp_path / "other", [Row("one", "a fox", images=(drawn(1),))])
    with pytest.raises(nb.UsageError, match="--out"):
        nb.gallery([folder, tmp_path / "other"])
    made = nb.gallery([folder, tmp_path / "other"], out=tmp_path / "both")
    assert (made.rows, made.images, made.thumbnails_made) == (6, 5, 4)
    assert {item["folder"] for item in data(tmp_path / "both")["items-0"]} == {"run", "other"}


def test_an_edit_shows_its_source(tmp_path: Path) -> None:
    """From wherever it is, if it still is what was sent; one that a row made leads to that row."""
    mine, gone = tmp_path / "mine.jpg", tmp_path / "gone.jpg"
    for path, seed in ((mine, 21), (gone, 22)):
        path.write_bytes(drawn(seed, "JPEG"))
    make_run(tmp_path / "first", [Row("parent", "a fox", images=(drawn(1),))])
    files = (local_image(mine), local_image(gone), local_image(tmp_path / "first/images/parent.png"))
    gone.write_bytes(drawn(23, "JPEG"))
    make_run(
        tmp_path / "second",
        [Row(f"edit-{n}", "bluer", images=(drawn(30 + n),), files=(file,)) for n, file in enumerate(files)],
    )
    nb.gallery([tmp_path / "second", tmp_path / "first"], out=tmp_path / "both")
    told = data(tmp_path / "both")
    sources = [item["sources"][0] for item in told["items-0"][:3]]
    assert sources[0]["url"] == "../mine.jpg"
    assert "thumb" not in sources[1]
    assert sources[2]["item"] == 3
    assert told["items-0"][3]["id"] == "parent"
    assert told["index-0"]["#edit"] == [1, 0, 1, 0]
    assert nb.gallery([tmp_path / "second", tmp_path / "first"], out=tmp_path / "both").thumbnails_made == 0


def test_one_file_holds_all_it_shows(folder: Path) -> None:
    """Thumbnails and data; its scripts are known by their hash."""
    made = nb.gallery(folder, one_file=True)
    assert made.path == folder / "gallery.html"
    text = made.path.read_text(encoding="utf-8")
    assert text.count("data:image/webp;base64,") == 4
    assert "src=" not in re.sub(r"<script>.*</script>", "", text, flags=re.DOTALL)
    assert "unsafe" not in text
    nb.gallery(folder, one_file=True)
    assert sorted(path.name for path in folder.iterdir() if "gallery" in path.name) == ["gallery.html"]


def test_too_much_for_one_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is written, and with what helps."""
    monkeypatch.setattr(building, "MOST_IN_ONE_FILE", 3)
    with pytest.raises(nb.UsageError, match="at most 3") as told:
        nb.gallery(folder, one_file=True)
    assert "--where" in str(told.value)
    assert not (folder / "gallery.html").exists()
    assert nb.gallery(folder, one_file=True, only=["refused"]).rows == 1


def test_nothing_of_others_is_written_over(folder: Path, tmp_path: Path) -> None:
    """Neither a folder, nor a file, nor through a link."""
    (tmp_path / "album").mkdir()
    (tmp_path / "album/mine.txt").write_text("mine")
    (tmp_path / "mine.html").write_text("<!doctype html>\n<p>mine")
    (tmp_path / "link").symlink_to(tmp_path / "album")
    with pytest.raises(nb.UsageError, match="holds other things"):
        nb.gallery(folder, out=tmp_path / "album")
    with pytest.raises(nb.UsageError, match="no gallery"):
        nb.gallery(folder, out=tmp_path / "mine.html", one_file=True)
    with pytest.raises(nb.UsageError, match="link"):
        nb.gallery(folder, out=tmp_path / "link")
    with pytest.raises(nb.UsageError, match="holds other things"):
        nb.gallery(folder, out=folder)
    assert [path.name for path in (tmp_path / "album").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["thumbs", "data", "page", "thumbs/384"])
def test_a_gallery_of_links_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """A folder from somebody else may hold one."""
    nb.gallery(folder)
    away = tmp_path / "away"
    away.mkdir()
    shutil.rmtree(folder / "gallery" / name)
    (folder / "gallery" / name).symlink_to(away)
    with pytest.raises(nb.FolderRefused):
        nb.gallery(folder)
    assert list(away.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="this user may write everywhere")
def test_a_folder_that_may_not_be_written_to(folder: Path) -> None:
    """It says where else it may go."""
    folder.chmod(0o500)
    with pytest.raises(nb.UsageError, match="--out"):
        nb.gallery(folder)
    folder.chmod(0o700)


def test_data_that_somebody_else_has_put_there_are_made_anew(folder: Path, tmp_path: Path) -> None:
    """They run in the page; that their folder has the right name says nothing."""
    nb.gallery(folder)
    (place,) = (folder / "gallery/data").iterdir()
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    (tmp_path / "mine.js").write_bytes(before["find-0.js"])
    for name, poison in (
        ("items-0.js", lambda path: path.write_text("alert(1)")),
        ("items-1.js", lambda path: path.write_text("alert(1)")),
        ("index-0.js", lambda path: None),
        ("find-0.js", lambda path: path.symlink_to(tmp_path / "mine.js")),
        ("find-0.js", os.mkfifo),
    ):
        (place / name).unlink(missing_ok=True)
        poison(place / name)
        nb.gallery(folder)
        after = {file.name: file.read_bytes() for file in place.iterdir()}
        assert after.keys() == before.keys()
        assert all(after[name] == before[name] for name in before if name != "summary.js")
        assert not any(file.is_symlink() for file in place.iterdir())


def test_two_at_once(folder: Path) -> None:
    """The second one says so, and changes nothing."""
    nb.gallery(folder)
    with only_writer(folder / "gallery"), pytest.raises(nb.FolderInUse, match="building"):
        nb.gallery(folder)


def test_who_is_interrupted_leaves_the_old_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page that was there still opens, and the next build cleans up."""
    nb.gallery(folder)
    page = (folder / "gallery/index.html").read_bytes()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pages, "page", fail)
        with pytest.raises(KeyboardInterrupt):
            nb.gallery(folder, only=["refused"])
    assert (folder / "gallery/index.html").read_bytes() == page
    named = re.search(r"data/[0-9a-f]+", page.decode())
    assert named
    assert (folder / "gallery" / named[0] / "items-0.js").is_file()
    nb.gallery(folder)
    assert len(list(folder.glob("gallery/data/*"))) == 1


def test_a_full_disk_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence, without half a file."""

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(nb.DiskFailed, match="full"):
        nb.gallery(folder)
    assert list(folder.glob("gallery/**/*.part")) == []


def test_only_our_own_files_are_removed(folder: Path) -> None:
    """A person may have put something beside the thumbnails."""
    nb.gallery(folder)
    mine = folder / "gallery/thumbs/384/mine.txt"
    mine.write_text("mine")
    (folder / "gallery/report.html").write_text("a report")
    nb.gallery(folder, only=["refused"])
    assert mine.read_text() == "mine"
    assert (folder / "gallery/report.html").is_file()


def test_a_run_that_goes_on_can_be_looked_at(folder: Path) -> None:
    """The page says so; the folder is left as it was."""
    before = (folder / STATE_NAME).read_bytes()
    with only_writer(folder):
        nb.gallery(folder)
    assert data(folder / "gallery")["summary"]["going_on"]
    assert (folder / STATE_NAME).read_bytes() == before
    nb.gallery(folder)
    assert not data(folder / "gallery")["summary"]["going_on"]


def test_no_rows_are_a_gallery_too(folder: Path) -> None:
    """Where there is no gallery yet an empty selection is no error: the next run may fill it."""
    made = nb.gallery(folder, where=["prompt~nobody"])
    assert (made.rows, made.images) == (0, 0)
    assert "nothing has prompt ~ 'nobody'" in made.remarks[0]
    assert data(folder / "gallery").keys() == {"summary"}


def test_placeholders_are_told(tmp_path: Path) -> None:
    """What the practice service drew is nothing that was paid for."""
    make_run(tmp_path / "run", [Row("one", "a fox", images=(drawn(),))], provider="local@127.0.0.1")
    nb.gallery(tmp_path / "run")
    told = data(tmp_path / "run/gallery")
    assert told["items-0"][0]["practice"] is True
    assert told["summary"]["totals"]["practice"] == 1


def test_what_was_judged_and_measured_goes_along(folder: Path) -> None:
    """By row and content; numbers are numbers, so that they can be bounded."""
    nb.gallery(folder)
    items = data(folder / "gallery")["items-0"]
    one, two, three = items[0], items[2], items[3]
    (folder / "ratings.csv").write_text(
        "id,image,rating,verdict,rating_note,row_key,sha256\n"
        f"one,images/one.png,4,accepted,good sky,{one['row_key']},{one['sha256']}\n"
    )
    (folder / "checks.csv").write_text(
        f"id,image,sha256,blank,entropy\nthree,images/three.png,{three['sha256']},no,1.5\n"
        f"two,images/two.png,{two['sha256']},yes,2.5\n"
    )
    assert nb.gallery(folder, where=["check_entropy>=1"]).images == 2
    nb.gallery(folder)
    told = data(folder / "gallery")
    item = told["items-0"][0]
    assert (item["rating"], item["verdict"], item["rating_note"]) == (4, "accepted", "good sky")
    columns = {column["name"]: column for column in told["summary"]["columns"]}
    assert (columns["check_blank"]["values"], columns["check_blank"]["counts"]) == (["yes", "no"], [4, 1, 1])
    assert columns["rating"]["counts"] == [5, 0, 0, 0, 1, 0]
    assert told["index-0"]["rating"] == [4, 0, 0, 0, 0, 0]
    assert told["index-0"]["check_blank"] == [0, 0, 1, 2, 0, 0]


def test_columns_of_many_values(tmp_path: Path) -> None:
    """Numbers are bounded; what differs everywhere is searched and not picked."""
    rows = [
        Row(f"row-{n}", "p", {"seed": str(n), "note_": f"text {n}", "kind": "ab"[n % 2]}, end="pending")
        for n in range(2100)
    ]
    make_run(tmp_path / "run", rows)
    nb.gallery(tmp_path / "run")
    told = data(tmp_path / "run/gallery")
    kinds = {column["name"]: column["kind"] for column in told["summary"]["columns"]}
    assert (kinds["seed"], kinds["kind"], kinds.get("note_")) == ("number", "choice", None)
    assert told["index-0"]["seed"][:3] == [0, 1, 2]
    assert told["index-0"]["status"] == told["summary"]["columns"][0]["values"].index("pending") + 1
    assert [len(told[f"items-{n}"]) for n in range(21)] == [100] * 21
