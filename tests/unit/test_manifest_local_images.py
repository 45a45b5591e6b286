"""`images:` may name files beside the manifest; what is wrong with them is said before anything is sent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.files import references
from nanobanana_batch.manifest import open_manifest
from nanobanana_batch.model import Draft, request_as_json, request_from_json, row_key
from nanobanana_batch.problems import ProblemLog
from tests.unit.test_files_references import drawn

CATALOG = load_catalog()
MODEL = "gemini-3.1-flash-image-preview"
URL = "https://example.org/a.png"
HEAD = f"defaults: {{model: {MODEL}}}\nprompt: make it night\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with pictures in `refs`."""
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "cat.png").write_bytes(drawn("PNG"))
    (tmp_path / "refs" / "dog.jpg").write_bytes(drawn("JPEG"))
    return tmp_path


def read(path: Path, refusal: str = "") -> tuple[list[Draft], list[str]]:
    """The rows of a manifest, and what is wrong with it."""
    log = ProblemLog()
    manifest = open_manifest(path, catalog=CATALOG, dialect="evolink", no_local_images=refusal)
    drafts = list(manifest.drafts(log))
    return drafts, [str(problem) for problem in log]


def of_yaml(folder: Path, text: str, refusal: str = "") -> tuple[list[Draft], list[str]]:
    """As `read`, of a YAML manifest with this text."""
    path = folder / "edit.yaml"
    path.write_text(HEAD + text)
    return read(path, refusal)


def of_cells(folder: Path, *cells: str, model: str = MODEL) -> tuple[list[Draft], list[str]]:
    """As `read`, of a table with these cells under `images`."""
    path = folder / "edit.csv"
    path.write_text("prompt,model,images\n" + "".join(f"a cat,{model},{cell}\n" for cell in cells))
    return read(path)


def keys(drafts: list[Draft]) -> list[str]:
    """What identifies the rows."""
    return [row_key(draft.request, draft.variant) for draft in drafts]


def test_files_and_urls_stand_side_by_side(folder: Path) -> None:
    """In the order that the person gave, as written; files are found beside the manifest."""
    wanted = ("refs/cat.png", URL, "refs/dog.jpg")
    drafts, problems = of_yaml(folder, f"rows: [{{images: [{', '.join(wanted)}]}}]\n")
    assert not problems
    (request,) = [draft.request for draft in drafts]
    assert request.images == wanted
    assert [file.name for file in request.files] == ["refs/cat.png", "refs/dog.jpg"]
    for file in request.files:
        data = (folder / file.name).read_bytes()
        assert (file.path, file.size_bytes) == (str(folder / file.name), len(data))
        assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert [file.media_type for file in request.files] == ["image/png", "image/jpeg"]
    assert of_cells(folder, "|".join(wanted))[0][0].request.files == request.files
    assert request_from_json(request_as_json(request)) == request


def test_the_folder_is_that_of_the_manifest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one in which the command is given; a path may also be absolute."""
    below = folder / "jobs"
    below.mkdir()
    monkeypatch.chdir(folder)
    (below / "edit.csv").write_text(
        f"prompt,model,images\na,{MODEL},../refs/cat.png\na,{MODEL},{folder}/refs/cat.png\n"
    )
    drafts, problems = read(Path("jobs/edit.csv"))
    assert not problems
    assert [Path(draft.request.files[0].path).is_absolute() for draft in drafts] == [True, True]
    one, two = keys(drafts)
    assert one == two


def test_the_content_identifies_a_row_and_not_the_name(folder: Path) -> None:
    """Renaming pays for nothing; another content is another row."""
    cat = folder / "refs" / "cat.png"
    before = keys(of_cells(folder, "refs/cat.png")[0])
    cat.rename(folder / "kitten.png")
    assert keys(of_cells(folder, "kitten.png")[0]) == before
    (folder / "kitten.png").write_bytes(drawn("PNG", 91))
    assert keys(of_cells(folder, "kitten.png")[0]) != before
    assert keys(of_cells(folder, URL)[0]) != before


def test_the_form_of_a_key_with_files_is_fixed(folder: Path) -> None:
    """A change here would pay again for every row with a local image."""
    (draft,), _ = of_cells(folder, f"refs/cat.png|{URL}")
    digest = hashlib.sha256((folder / "refs" / "cat.png").read_bytes()).hexdigest()
    canonical = (
        f'{{"occurrence":0,"request":{{"images":[{{"sha256":"{digest}"}},"{URL}"],"model":"{MODEL}",'
        f'"prompt":"a cat"}},"variant":1}}'
    )
    assert row_key(draft.request, 1) == f"r1-{hashlib.sha256(canonical.encode()).hexdigest()}"


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("refs/cta.png", ["'refs/cta.png'", "no such file", "did you mean 'refs/cat.png'?"]),
        ("refs/CAT.PNG", ["did you mean 'refs/cat.png'?"]),
        ("nowhere/cat.png", ["no such file"]),
        ("refs", ["'refs'", "it is a folder"]),
        ("refs/text.png", ["not a PNG, JPEG or WebP"]),
        ("refs/moving.png", ["it is a GIF", "PNG, JPEG or WebP"]),
        ("refs/large.png", ["20,000,001 bytes", "at most 20,000,000"]),
        ("file:///refs/cat.png", ["write a local file as its path"]),
        ("|".join(["refs/cat.png"] * 14 + [URL]), ["15 images", "at most 14"]),
    ],
)
def test_a_wrong_file_is_named_with_its_row(folder: Path, cell: str, parts: list[str]) -> None:
    """What is wrong, what is allowed, and what was probably meant; the other rows are fine."""
    (folder / "refs" / "text.png").write_text("a cat")
    (folder / "refs" / "moving.png").write_bytes(drawn("GIF"))
    with (folder / "refs" / "large.png").open("wb") as large:
        large.truncate(20_000_001)
    drafts, problems = of_cells(folder, "refs/cat.png", cell)
    assert len(drafts) == 1
    (problem,) = problems
    assert problem.startswith("edit.csv:3: images: ")
    for part in parts:
        assert part in problem


def test_the_models_own_limit_counts(folder: Path) -> None:
    """The smaller model takes 10 MB; one that states nothing takes what the files API is known to."""
    with (folder / "refs" / "large.png").open("wb") as large:
        large.truncate(10_000_001)
    _, (problem,) = of_cells(folder, "refs/large.png", model="nano-banana-beta")
    assert "at most 10,000,000" in problem
    _, (problem,) = of_cells(folder, "refs/large.png")
    assert "PNG" in problem


def test_a_wrong_file_that_all_rows_share_is_reported_once(folder: Path) -> None:
    """Where it stands."""
    _, problems = of_yaml(
        folder, "rows: [{a: x}, {a: y}, {a: z}]\nmatrix: {images: [refs/cat.png, refs/no.png]}\n"
    )
    (problem,) = problems
    assert problem.startswith("edit.yaml:4:33: images: ")


def test_a_provider_without_uploads_takes_no_files(folder: Path) -> None:
    """Said for each row before anything is sent; URLs are fine."""
    text = f"rows: [{{images: refs/cat.png}}, {{images: {URL}}}, {{images: refs/dog.jpg}}]\n"
    drafts, problems = of_yaml(folder, text, "this provider takes no files")
    assert [draft.request.images for draft in drafts] == [(URL,)]
    assert ["this provider takes no files" in problem for problem in problems] == [True, True]


def test_many_rows_read_each_file_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 rows over 20 files read 20 files."""
    seen: list[Path] = []

    def counted(path: Path, limit_bytes: int) -> references.Reference:
        seen.append(path)
        return whole(path, limit_bytes)

    whole = references.read_reference
    monkeypatch.setattr(references, "read_reference", counted)
    for number in range(20):
        (folder / f"{number}.png").write_bytes(drawn("PNG", number))
    drafts, problems = of_cells(folder, *[f"{number % 20}.png" for number in range(2000)])
    assert (len(drafts), problems, len(seen)) == (2000, [], 20)


def test_many_wrong_names_read_few_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suggestion for each of a million wrong rows would take all night."""
    from nanobanana_batch.manifest.rows import local_images

    monkeypatch.setattr(local_images, "_SUGGESTIONS", 3)
    _, problems = of_cells(folder, *[f"refs/cat{number}.png" for number in range(10)])
    assert len(problems) == 10
    assert sum("did you mean" in problem for problem in problems) == 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animated_file_is_worth_one_warning(folder: Path, kind: str) -> None:
    """It is sent as it is; a GIF is none of the formats that providers take."""
    moving = folder / "refs" / f"moving.{kind.lower()}"
    pictures = [Image.new("RGB", (8, 8), (n * 90, 0, 0)) for n in range(2)]
    pictures[0].save(moving, kind, save_all=True, append_images=pictures[1:])
    path = folder / "edit.yaml"
    path.write_text(f"{HEAD}variants: 2\nrows: [{{images: refs/{moving.name}}}, {{images: refs/cat.png}}]\n")
    manifest = open_manifest(path, catalog=CATALOG, dialect="evolink")
    assert len(list(manifest.drafts(ProblemLog()))) == 4
    assert manifest.warnings == [
        f"the local file 'refs/{moving.name}' is animated, and no provider says what it makes of that"
    ]
