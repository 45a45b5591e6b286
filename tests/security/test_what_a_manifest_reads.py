"""Somebody hands over a manifest; it reads, and so sends, what lies beside it and what a person allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.cli.plan_text import plan_text
from nanobanana_batch.errors import ManifestError
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order, expanded, open_ordered
from nanobanana_batch.jobs.plan import make_plan
from tests.unit.earlier_run import Earlier, make_run
from tests.unit.fake_provider import picture

HEAD = "defaults: {model: nano-banana-beta}\n"
DRAWN_IN = {
    "list": HEAD + 'prompt: "{a}"\nmatrix: {a: {file: FILE}}\nvariables: [a]\n',
    "table": HEAD + "table: FILE\n",
    "image": HEAD + "rows: [{prompt: a, images: [FILE]}]\n",
    "image of a template": HEAD + 'prompt: p\nimages: "{a}"\nmatrix: {a: ["FILE"]}\nvariables: [a]\n',
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with things that are nobody's business, and the working directory in it."""
    for name in (".ssh", "work", "recipe", "recipe/.hidden"):
        (tmp_path / name).mkdir()
    for folder in (tmp_path, tmp_path / ".ssh", tmp_path / "recipe/.hidden"):
        (folder / "secret").write_text("a secret\n")
        (folder / "secret.csv").write_text("prompt\na secret\n")
        (folder / "secret.png").write_bytes(picture("a secret"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def refusal(home: Path, text: str, *allowed: Path) -> str:
    """What is said of a recipe; nothing when it is taken."""
    manifest = home / "recipe" / "m.yaml"
    manifest.write_text(text)
    order = Order(manifest, connection=Connection("local"), allow_outside=allowed)
    try:
        with expanded(open_ordered(order)):
            return ""
    except ManifestError as error:
        return str(error)


def drawn_in(what: str, name: str) -> str:
    """A recipe that wants this file."""
    return DRAWN_IN[what].replace("FILE", name)


def ending(what: str) -> str:
    """Of a file that could be drawn in so."""
    return {"list": "", "table": ".csv"}.get(what, ".png")


@pytest.mark.parametrize("what", DRAWN_IN)
@pytest.mark.parametrize("way", ["../secret{}", "../.ssh/secret{}", "{home}/secret{}", "x/../../secret{}"])
def test_nothing_is_read_from_elsewhere(home: Path, what: str, way: str) -> None:
    """Up, by the whole path, or through a folder that is not there; the message says how to allow it."""
    name = way.replace("{home}", str(home)).replace("{}", ending(what))
    said = refusal(home, drawn_in(what, name))
    assert "leads out of the manifest's folder and the working directory" in said
    if "x/" not in way:
        folder = home / ".ssh" if ".ssh" in way else home
        assert f"--allow-outside {folder}" in said
        assert refusal(home, drawn_in(what, name), folder) == ""


@pytest.mark.parametrize("what", DRAWN_IN)
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_link_is_judged_by_where_it_leads(home: Path, what: str, is_folder: bool) -> None:
    """A link to the file, or to its folder."""
    if is_folder:
        (home / "recipe" / "here").symlink_to(home)
        name = f"here/secret{ending(what)}"
    else:
        name = f"here{ending(what)}"
        (home / "recipe" / name).symlink_to(home / f"secret{ending(what)}")
    assert "leads out" in refusal(home, drawn_in(what, name))


@pytest.mark.parametrize("what", DRAWN_IN)
def test_what_is_hidden_is_not_read_either(home: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the manifest's folder, and where the working directory is the home folder."""
    assert "is hidden" in refusal(home, drawn_in(what, f".hidden/secret{ending(what)}"))
    monkeypatch.chdir(home)
    name = f"../.ssh/secret{ending(what)}"
    assert "is hidden" in refusal(home, drawn_in(what, name))
    assert refusal(home, drawn_in(what, name), home / ".ssh") == ""
    assert refusal(home, drawn_in(what, f"../secret{ending(what)}")) == ""


def test_it_is_not_told_whether_there_is_such_a_file(home: Path) -> None:
    """Nor what a file of a similar name is called."""
    there, missing = (refusal(home, drawn_in("list", name)) for name in ("../secret", "../secrex"))
    assert there.replace("secret", "secrex") == missing


def test_a_run_that_a_manifest_names_is_within_reach_and_what_its_images_lead_to_is_not(home: Path) -> None:
    """The images of the run, and nothing else of its folder."""
    make_run(home / "runs" / "first", [Earlier("lighthouse")])
    edit = HEAD + 'from: ../runs/first\nprompt: edit\nimages: "{image}"\n'
    assert refusal(home, edit) == ""
    image = home / "runs/first/images/lighthouse.png"
    image.rename(home / "elsewhere.png")
    image.symlink_to(home / "elsewhere.png")
    assert "leads out" in refusal(home, edit)


def test_a_plan_lists_what_is_read_and_uploaded(home: Path) -> None:
    """Before anything leaves the machine."""
    make_run(home / "runs" / "first", [Earlier("lighthouse")])
    (home / "recipe" / "styles.txt").write_text("ink\nphoto\n")
    (home / "recipe" / "cities.csv").write_text("city\nOslo\n")
    (home / "recipe" / "a.png").write_bytes(picture("a"))
    manifest = home / "recipe" / "m.yaml"
    manifest.write_text(
        HEAD + "variables: [style, city]\nblocks:\n"
        '  - {table: cities.csv, prompt: "{city}", images: a.png}\n'
        '  - {prompt: "{style}", matrix: {style: {file: styles.txt}}}\n'
        '  - {from: ../runs/first, prompt: edit, images: "{image}"}\n'
    )
    plan = make_plan(Order(manifest, connection=Connection("local")))
    assert set(plan.reads) == {"cities.csv", "styles.txt", "../runs/first"}
    assert plan.uploads is not None
    assert plan.uploads.files == 2
    assert {picture.name for picture in plan.uploads.pictures} == {
        "a.png",
        "../runs/first/images/lighthouse.png",
    }
    text = plan_text(plan)
    assert "reads" in text
    assert "2 rows of 2 local pictures: a.png (" in text
    assert "at most 2 files, " in text
