"""Captions beside pictures, read as sd-scripts, ai-toolkit and musubi-tuner read them."""

from __future__ import annotations

import glob
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from nanobanana_batch.api.exporting import export
from nanobanana_batch.errors import UsageError
from tests.exports.runs import HOSTILE, Made, encoded, make, picture

SIZE = (24, 16)


def turned(seed: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 8
    return picture(seed, "JPEG", exif=exif)


def see_through(seed: int) -> bytes:
    with Image.open(io.BytesIO(picture(seed))) as image:
        image.putalpha(Image.new("L", image.size, 0))
        return encoded(image)


def rows() -> list[Made]:
    return [
        *(Made(f"Row {n}.v1", (picture(n),), prompt, {"style": f"s{n}"}) for n, prompt in enumerate(HOSTILE)),
        Made("row 0~v1", (picture(20, "JPEG"), picture(21)), "several"),
        Made("turned", (turned(22),), "lies on its side"),
        Made("clear", (see_through(23),), "nothing to see"),
        Made("web", (picture(24, "WEBP", lossless=True),), "a webp"),
        Made("failed", (), "no"),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("captions") / "run", rows())


@pytest.fixture(scope="module")
def out(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("captions") / "out"
    export(run, "captions", out)
    return out


def as_kohya(folder: Path) -> dict[str, tuple[str, np.ndarray[Any, Any]]]:
    """Every file of the folder itself that ends so; the first line of its text; pixels as stored."""
    endings = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".PNG", ".JPG", ".JPEG", ".WEBP", ".BMP")
    found = {}
    for ending in endings:
        for path in glob.glob(os.path.join(glob.escape(str(folder)), "*" + ending)):
            with open(os.path.splitext(path)[0] + ".txt", encoding="utf-8") as file:
                lines = file.readlines()
            assert lines, "it stops at an empty file"
            with Image.open(path) as image:
                found[os.path.basename(path)] = lines[0].strip(), np.array(image.convert("RGB"), np.uint8)
    return dict(sorted(found.items()))


def as_ai_toolkit(folder: Path) -> dict[str, tuple[str, np.ndarray[Any, Any]]]:
    """Every file below the folder; the whole text beside it; upright."""
    found = {}
    for root, _, files in os.walk(folder):
        for name in files:
            if name.lower().endswith((".jpg", ".jpeg", ".png", ".webp")) and not name.startswith("."):
                path = os.path.join(root, name)
                with open(os.path.splitext(path)[0] + ".txt", encoding="utf-8") as file:
                    text = file.read()
                with Image.open(path) as image:
                    found[name] = text.strip(), np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return dict(sorted(found.items()))


def as_musubi(file: Path) -> dict[str, tuple[str, np.ndarray[Any, Any], list[np.ndarray[Any, Any]]]]:
    """A line an image; paths are opened as they stand; a `control_path` is the first of the numbered ones."""
    found = {}
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            told = json.loads(line)
            if "control_path" in told:
                told["control_path_0"] = told.pop("control_path")
            controls = [told[f"control_path_{n}"] for n in range(9) if f"control_path_{n}" in told]
            images = []
            for path in (told["image_path"], *controls):
                with Image.open(path) as image:
                    images.append(np.array(image.convert("RGB")))
            found[os.path.basename(told["image_path"])] = told["caption"], images[0], images[1:]
    return dict(sorted(found.items()))


def expected() -> dict[str, str]:
    """What each is called, and its prompt with nothing in it that breaks lines."""
    prompts = {row.id: " ".join(row.prompt.split()) for row in rows() if row.pictures}
    keys = [f"Row-{n}-v1" for n in range(len(HOSTILE))]
    return dict(zip([*keys, "row-0-v1-0", "turned", "clear", "web"], prompts.values(), strict=True))


def test_all_three_trainers_read_the_same(out: Path) -> None:
    """Each picture once, with its prompt on one line, and the same pixels."""
    kohya, toolkit = as_kohya(out / "train"), as_ai_toolkit(out / "train")
    musubi = as_musubi(out / "train.jsonl")
    assert list(kohya) == list(toolkit) == list(musubi)
    for name, (caption, pixels) in kohya.items():
        assert caption == toolkit[name][0] == musubi[name][0]
        assert (pixels == toolkit[name][1]).all()
        assert (pixels == musubi[name][1]).all()
    by_stem = {name.partition(".")[0].lower(): caption for name, (caption, _) in kohya.items()}
    wanted = sorted(expected().values())
    assert sorted(by_stem.values()) == wanted
    assert len(by_stem) == len(kohya) == 10


def test_pictures_are_as_they_were_saved_where_all_read_them_alike(run: Path, out: Path) -> None:
    """The others are upright, on white, and no WebP."""
    for n in range(len(HOSTILE)):
        assert (out / f"train/Row-{n}-v1.png").read_bytes() == picture(n)
    found = as_kohya(out / "train")
    with Image.open(io.BytesIO(turned(22))) as image:
        upright = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    turned_now = found.get("turned.jpg") or found["turned.png"]
    assert turned_now[1].shape == (24, 16, 3)
    assert abs(turned_now[1].astype(int) - upright).mean() < 12
    assert (found["clear.png"][1] == 255).all()
    with Image.open(io.BytesIO(picture(24))) as image:
        assert (found["web.png"][1] == np.asarray(image)).all()


def test_everything_can_be_jpeg(run: Path, tmp_path: Path) -> None:
    """At a quality of one's own; a JPEG that all read alike stays the file that it was."""
    export(run, "captions", tmp_path / "out", convert="jpg", quality=80)
    names = list(as_kohya(tmp_path / "out/train"))
    assert len(names) == 10
    assert all(name.endswith(".jpg") for name in names)
    kept = [
        path for path in (tmp_path / "out/train").glob("*.jpg") if path.read_bytes() == picture(20, "JPEG")
    ]
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("caption", "first"),
    [
        ("sks style, {prompt}", f"sks style, {' '.join(HOSTILE[0].split())}"),
        ("style", "s0"),
        ("{style} {{literal}}", "s0 {literal}"),
    ],
)
def test_a_caption_can_be_a_column_or_a_template(run: Path, tmp_path: Path, caption: str, first: str) -> None:
    """With a trigger word in front."""
    export(run, "captions", tmp_path / "out", caption=caption, only="completed", where="style~s")
    assert as_kohya(tmp_path / "out/train")["Row-0-v1.png"][0] == first


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("{styl} x", "Did you mean style"),
        ("stlye", "Did you mean style"),
        ("{prompt", "a brace that is meant is written twice"),
        ("just words", "all would have the same"),
        ("{prompt!r}", "there is no column"),
    ],
)
def test_a_caption_of_nothing_is_refused(run: Path, tmp_path: Path, caption: str, told: str) -> None:
    """Before anything is made."""
    with pytest.raises(UsageError, match=told):
        export(run, "captions", tmp_path / "out", caption=caption)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "told"),
    [({"convert": "gif"}, "one of jpg, png, webp"), ({"convert": "jpg", "quality": 0}, "1 to 100")],
)
def test_what_cannot_be_made_is_refused(
    run: Path, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    """Also from Python, where nobody has looked at the words."""
    with pytest.raises(UsageError, match=told):
        export(run, "captions", tmp_path / "out", **options)


def test_an_empty_caption_is_left_out_and_told(run: Path, tmp_path: Path) -> None:
    """sd-scripts stops at an empty file."""
    done = export(run, "captions", tmp_path / "out", caption="style")
    assert done.samples == len(HOSTILE)
    assert done.left_out["without a caption"] == 4


def test_paths_are_where_the_trainer_finds_them(run: Path, out: Path, tmp_path: Path) -> None:
    """musubi-tuner opens them as they stand, from wherever it was started."""
    first = json.loads((out / "train.jsonl").read_text().splitlines()[0])
    assert first["image_path"] == str(out.resolve() / "train/Row-0-v1.png")
    export(run, "captions", tmp_path / "out", path_prefix="/workspace/cats/")
    first = json.loads((tmp_path / "out/train.jsonl").read_text().splitlines()[0])
    assert first == {
        "image_path": "/workspace/cats/train/Row-0-v1.png",
        "caption": " ".join(HOSTILE[0].split()),
    }


def test_what_an_edit_was_made_from_is_its_control(tmp_path: Path) -> None:
    """In a folder of its own, under the same name, each of several in another; no trainer learns them."""
    photos = [tmp_path / "a.webp", tmp_path / "b.jpg"]
    for n, path in enumerate(photos):
        path.write_bytes(picture(50 + n, path.suffix[1:].replace("jpg", "jpeg").upper()))
    run = make(
        tmp_path / "run",
        [
            Made("one", (picture(1),), "snow", {}, (photos[0],)),
            Made("both", (picture(2),), "join", {}, tuple(photos)),
            Made("link", (picture(3),), "far", {}, ("https://example.com/x.png",)),
            Made("none", (picture(4),), "draw"),
        ],
    )
    export(run, "captions", tmp_path / "out")
    out = tmp_path / "out"
    assert sorted(as_ai_toolkit(out / "train")) == ["both.png", "link.png", "none.png", "one.png"]
    controls = {name: len(found[2]) for name, found in as_musubi(out / "train.jsonl").items()}
    assert controls == {"both.png": 2, "link.png": 0, "none.png": 0, "one.png": 1}
    assert (out / "train-control/one.png").exists()
    assert (out / "train-control-2/both.jpg").read_bytes() == photos[1].read_bytes()
    assert "1 were made from a picture that cannot be had" in (out / "README.md").read_text()


def test_one_that_was_broken_off_becomes_the_same(
    run: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing beside it."""
    from nanobanana_batch.exports.place import Place

    put, calls = Place.put, []

    def dies(place: Place, name: str, data: bytes) -> None:
        calls.append(name)
        if len(calls) == 9:
            raise KeyboardInterrupt
        put(place, name, data)

    monkeypatch.setattr(Place, "put", dies)
    with pytest.raises(KeyboardInterrupt):
        export(run, "captions", tmp_path / "out", path_prefix=str(out.resolve()))
    monkeypatch.undo()
    export(run, "captions", tmp_path / "out", path_prefix=str(out.resolve()))
    assert files_of(tmp_path / "out") == files_of(out)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".export.json"
    }


def test_links_save_the_room_of_pictures_that_stay(run: Path, tmp_path: Path) -> None:
    """What had to be drawn anew is a file of its own."""
    export(run, "captions", tmp_path / "out", link="hard")
    assert (tmp_path / "out/train/Row-0-v1.png").samefile(run / "images/Row 0.v1.png")
    assert (tmp_path / "out/train/web.png").stat().st_nlink == 1
