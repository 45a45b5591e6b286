"""`from:` makes rows of another run's completed ones; what keeps it from that is said before a payment."""

from __future__ import annotations

import csv
import json
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nanobanana_batch.catalog import load_catalog
from nanobanana_batch.errors import ManifestError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import POINTER_NAME, STATE_NAME, Folder, choose
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.manifest import Manifest, open_manifest
from nanobanana_batch.manifest.form.block import SourceRow
from nanobanana_batch.manifest.form.parent_source import ParentRows
from nanobanana_batch.model import Draft, row_key
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.results import write_results
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.reports import RowReport
from nanobanana_batch.state.schema import VERSION
from tests.unit.earlier_run import MODEL, Earlier, finish, make_run

CATALOG = load_catalog()
HEAD = f"defaults: {{model: {MODEL}}}\n"
FROM = "from: ../outputs/first\n"
EDIT = f'{HEAD}{FROM}images: "{{image}}"\nprompt: make it night\n'


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The folder of a run with two completed rows of four."""
    folder = tmp_path / "outputs" / "first"
    make_run(
        folder,
        [
            Earlier("lighthouse", {"style": "ink", "mood": "calm"}),
            Earlier("teahouse", {"style": "oil"}),
            Earlier("harbour", {"style": "ink"}, "failed"),
            Earlier("mill", {"style": "oil"}, "pending"),
        ],
        ("style", "mood"),
    )
    (tmp_path / "jobs").mkdir()
    return folder


def opened(first: Path, text: str) -> Manifest:
    """A manifest in the folder beside that of the outputs."""
    path = first.parents[1] / "jobs" / "edit.yaml"
    path.write_text(text)
    return open_manifest(path, catalog=CATALOG, dialect="evolink")


def read(first: Path, text: str) -> tuple[list[Draft], list[str]]:
    """The rows of a manifest, and what is wrong with them."""
    log = ProblemLog()
    drafts = list(opened(first, text).drafts(log))
    return drafts, [str(problem) for problem in log]


def refused(first: Path, text: str) -> list[str]:
    """What is wrong with the form of a manifest."""
    with pytest.raises(ManifestError) as caught:
        opened(first, text)
    return [f"{problem.source}: {problem.what}" for problem in caught.value.problems]


def one_refusal(first: Path, text: str) -> str:
    """The only problem with the form of a manifest."""
    (problem,) = refused(first, text)
    return problem


def test_completed_rows_come_in_order_with_their_images_and_variables(first: Path) -> None:
    """Ids stay; the image is found from the manifest's folder, and its content is what counts."""
    drafts, problems = read(first, EDIT)
    assert not problems
    assert [draft.id for draft in drafts] == ["lighthouse", "teahouse"]
    assert [draft.source for draft in drafts] == [
        "../outputs/first row lighthouse",
        "../outputs/first row teahouse",
    ]
    assert [dict(draft.variables) for draft in drafts] == [
        {"parent_id": "lighthouse", "style": "ink", "mood": "calm"},
        {"parent_id": "teahouse", "style": "oil"},
    ]
    (file,) = drafts[0].request.files
    assert drafts[0].request.images == (file.name,) == ("../outputs/first/images/lighthouse.png",)
    assert Path(file.path).read_bytes() == (first / "images" / "lighthouse.png").read_bytes()
    assert opened(first, EDIT).variables == ("parent_id", "style", "mood")


def test_row_names_say_what_results_csv_says(first: Path) -> None:
    """Every column, in the same text; what is empty there is not given here."""
    table = write_results(Folder(first, first), Disk())
    with table.open(newline="", encoding="utf-8") as file:
        lighthouse = next(csv.DictReader(file))
    given = [name for name, text in lighthouse.items() if text]
    assert {"id", "prompt", "width", "sha256", "credits", "style", "mood", "task_id"} <= set(given)
    template = "~".join(f"{{row.{name}}}" for name in given)
    drafts, problems = read(first, f'{HEAD}{FROM}where: {{row.id: lighthouse}}\nprompt: "{template}"\n')
    assert not problems
    assert drafts[0].request.prompt.split("~") == [lighthouse[name] for name in given]


def test_what_the_other_row_does_not_give_is_an_error_of_the_row(first: Path) -> None:
    """As an empty cell of a table is."""
    drafts, (problem,) = read(first, f'{HEAD}{FROM}prompt: "{{style}} and {{row.mood}}"\n')
    assert [draft.request.prompt for draft in drafts] == ["ink and calm"]
    assert "../outputs/first row teahouse" in problem
    assert "row.mood" in problem


def test_nothing_of_the_other_row_is_read_as_a_template(first: Path) -> None:
    """Its prompt may hold braces, also where a column becomes the prompt."""
    wanted = ["lighthouse in {braces}", "teahouse in {braces}"]
    mapped, problems = read(first, f"{HEAD}{FROM}columns: {{prompt: row.prompt, images: image}}\n")
    assert not problems
    assert [draft.request.prompt for draft in mapped] == wanted
    assert mapped[0].request.images == ("../outputs/first/images/lighthouse.png",)
    inserted, _ = read(first, f'{HEAD}{FROM}prompt: "{{row.prompt}}"\n')
    assert [draft.request.prompt for draft in inserted] == wanted


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("style: ink", ["lighthouse"]),
        ("style: [ink, oil]", ["lighthouse", "teahouse"]),
        ("style: [oil, pen], row.width: 8", ["teahouse"]),
        ("mood: ~", ["teahouse"]),
        ("parent_id: teahouse", ["teahouse"]),
        ("image: ../outputs/first/images/teahouse.png", ["teahouse"]),
        ("look: ink", ["lighthouse"]),
    ],
)
def test_where_takes_one_value_or_several_of_any_name(first: Path, where: str, ids: list[str]) -> None:
    """The other run's names, and ours for them; nothing given is an empty text."""
    drafts, problems = read(first, f"{EDIT}columns: {{look: style}}\nwhere: {{{where}}}\n")
    assert ([draft.id for draft in drafts], problems) == (ids, [])


def test_columns_carry_what_they_map_and_rename_variables(first: Path) -> None:
    """`row.prompt` keeps its name; the variable does not, so that a factor can have it."""
    drafts, problems = read(
        first,
        f"{HEAD}{FROM}columns: {{scene: row.prompt, look: style}}\n"
        'prompt: "{row.prompt}: {scene} {look} {style}"\nmatrix: {style: [pen, wash]}\n',
    )
    assert not problems
    assert drafts[0].request.prompt == "lighthouse in {braces}: lighthouse in {braces} ink pen"
    assert dict(drafts[0].variables) == {
        "parent_id": "lighthouse",
        "mood": "calm",
        "scene": "lighthouse in {braces}",
        "look": "ink",
        "style": "pen",
    }


def test_ids_are_the_parents_with_the_words_of_factors(first: Path) -> None:
    """And what the template says, if there is one."""
    drafts, _ = read(first, EDIT + "matrix: {time: [deep winter, dawn]}\nvariants: 2\nwhere: {style: ink}\n")
    assert [draft.id for draft in drafts] == [
        "lighthouse-deep-winter",
        "lighthouse-deep-winter-v2",
        "lighthouse-dawn",
        "lighthouse-dawn-v2",
    ]
    drafts, _ = read(first, EDIT + 'id: "{id}-at-{style}"\n')
    assert [draft.id for draft in drafts] == ["lighthouse-at-ink", "teahouse-at-oil"]
    drafts, _ = read(first, EDIT + "columns: {id: row.task_id}\n")
    assert [draft.id for draft in drafts] == ["task-1", "task-2"]


def test_several_blocks_may_use_several_runs(first: Path) -> None:
    """What stands at the top holds for each of them; `columns` and `where` too."""
    make_run(first.parent / "second", [Earlier("bridge", {"style": "ink"}), Earlier("road")])
    drafts, problems = read(
        first,
        HEAD + 'images: "{image}"\nprompt: night\nwhere: {style: ink}\nblocks:\n  - from: ../outputs/first\n'
        '  - {from: ../outputs/second, images: ["{image}", ../outputs/first/images/teahouse.png]}\n',
    )
    assert ([draft.id for draft in drafts], problems) == (["lighthouse", "bridge"], [])
    assert drafts[1].request.images == (
        "../outputs/second/images/bridge.png",
        "../outputs/first/images/teahouse.png",
    )


def test_a_factor_with_the_name_of_a_parents_variable_is_refused(first: Path) -> None:
    """Which of the two is meant is not guessed; the way out works."""
    text = EDIT + "matrix: {style: [pen]}\n"
    problem = one_refusal(first, text)
    assert "given by the rows and by the matrix" in problem
    assert "`columns: {own_style: style}`" in problem
    drafts, problems = read(first, text + "columns: {own_style: style}\n")
    assert not problems
    assert dict(drafts[0].variables)["own_style"] == "ink"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("where: {stile: ink}", [":5:9: ", "no 'stile'", "did you mean 'style'?"]),
        ("where: {prompt: ink}", ["did you mean 'row.prompt'?"]),
        ("where: {style: {a: b}}", ["a text, or a list of texts"]),
        ("where: {style: []}", ["a text, or a list of texts"]),
        ("columns: {scene: prompt}", [":5:18: ", "no 'prompt'", "did you mean 'row.prompt'?"]),
        ("columns: {parent_id: row.task_id}", ["'parent_id'", "choose another name"]),
        ("columns: {mood: style}", ["'mood'", "choose another name"]),
        ("columns: {promt: row.prompt}", ["did you mean 'prompt'?"]),
        ("columns: {prompt: row.prompt}", ["keep one", '`prompt: "{row.prompt}, in ink"`']),
    ],
)
def test_a_wrong_name_is_told_with_what_was_meant(first: Path, text: str, parts: list[str]) -> None:
    """Each in one sentence, at its place."""
    problem = one_refusal(first, f"{EDIT}{text}\n")
    assert problem.startswith("edit.yaml:")
    for part in parts:
        assert part in problem


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("~", ["expected the output folder of another run"]),
        ("[a]", ["expected the output folder of another run"]),
        ("../outputs/frist", ["there is no folder '../outputs/frist'", "did you mean '../outputs/first'?"]),
        ("nowhere/at/all", ["there is no folder 'nowhere/at/all' (paths are relative to the manifest)"]),
        ("edit.yaml", ["'edit.yaml' is a file; name the output folder"]),
        ("../outputs", ["is not an output folder of this program"]),
        ("'../a|b'", ["'|'"]),
        ("damaged", ["cannot be read"]),
        ("empty", ["was not written by this program"]),
        ("newer", ["a newer version of this program", f"this program knows {VERSION}"]),
        ("elsewhere", ["on the machine somewhere-else"]),
        ("no-rows", ["no-rows has no rows yet"]),
        ("pending", ["none of the 2 rows of pending is completed (1 pending, 1 failed)"]),
        ("bad-names", ["is damaged"]),
    ],
)
def test_a_folder_that_gives_no_rows_says_why(first: Path, given: str, parts: list[str]) -> None:
    """One sentence at the place of `from`, and nothing about what would follow from it."""
    folder = first.parents[1] / "jobs"
    for name in ("damaged", "empty", "newer", "elsewhere", "no-rows", "bad-names"):
        make_run(folder / name, [] if name == "no-rows" else [Earlier("a")])
    make_run(folder / "pending", [Earlier("a", end="pending"), Earlier("b", end="failed")])
    (folder / "damaged" / STATE_NAME).write_bytes(b"no database at all" * 100)
    (folder / "empty" / STATE_NAME).write_bytes(b"")
    pointer = {"host": "somewhere-else", "path": "/scratch"}
    (folder / "elsewhere" / POINTER_NAME).write_text(json.dumps(pointer))
    with closing(sqlite3.connect(folder / "newer" / STATE_NAME)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with closing(sqlite3.connect(folder / "bad-names" / STATE_NAME, isolation_level=None)) as db:
        db.execute("UPDATE meta SET value = '[' WHERE name = 'variables'")
    text = f'{HEAD}from: {given}\nimages: "{{image}}"\nprompt: a {{style}}\nwhere: {{style: ink}}\n'
    problem = one_refusal(first, text)
    assert problem.startswith("edit.yaml:2:")
    for part in parts:
        assert part in problem


def test_a_path_as_seen_from_the_working_directory_is_understood(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commonest slip: paths in a manifest are relative to it."""
    monkeypatch.chdir(first.parents[1])
    problem = one_refusal(first, EDIT.replace("../outputs/first", "outputs/first"))
    assert "did you mean '../outputs/first'?" in problem


def test_a_state_that_is_kept_elsewhere_is_found(first: Path, tmp_path: Path) -> None:
    """Where the folder's pointer says."""
    (first / STATE_NAME).rename(tmp_path / STATE_NAME)
    elsewhere = choose(first, tmp_path / "local-disk", risk_network=False).state_folder
    elsewhere.mkdir(parents=True)
    (tmp_path / STATE_NAME).rename(elsewhere / STATE_NAME)
    (first / POINTER_NAME).write_text(json.dumps({"host": platform.node(), "path": str(elsewhere)}))
    drafts, problems = read(first, EDIT)
    assert ([draft.id for draft in drafts], problems) == (["lighthouse", "teahouse"], [])


def test_where_that_leaves_nothing_says_what_there_is(first: Path) -> None:
    """How many rows there were, and the values that they have."""
    drafts, (problem,) = read(first, f"{EDIT}where: {{style: pen}}\n")
    assert not drafts
    assert problem == (
        "edit.yaml:2:7: from: `where` leaves none of the 2 completed rows of ../outputs/first;"
        " there style is 'ink', 'oil'"
    )


def test_a_value_of_where_that_no_row_has_is_worth_a_warning(first: Path) -> None:
    """Beside one that some rows have, it would be overlooked."""
    manifest = opened(first, f"{EDIT}where: {{style: [ink, oill]}}\n")
    before = list(manifest.warnings)
    assert len(list(manifest.drafts(ProblemLog()))) == 1
    assert [said for said in manifest.warnings if said not in before] == [
        "edit.yaml:5:9: where: no row of ../outputs/first has style 'oill';"
        " there style is 'ink', 'oil'; did you mean 'oil'?"
    ]


@pytest.mark.parametrize(("there", "here"), [("ho\u0308he", "h\u00f6he"), ("h\u00f6he", "ho\u0308he")])
def test_names_of_the_other_run_match_in_either_unicode_form(tmp_path: Path, there: str, here: str) -> None:
    """It may have been made on another system, and before names were made one."""
    folder = tmp_path / "outputs" / "first"
    make_run(folder, [Earlier("a", {there: "low"}), Earlier("b", {there: "high"})], (there,))
    (tmp_path / "jobs").mkdir()
    head = f"{HEAD}{FROM}images: '{{image}}'\nwhere: {{{here}: high}}\n"
    text = f"{head}columns: {{tall: {here}}}\nprompt: '{{tall}} {{row.{here}}}'\n"
    (row,) = opened(folder, text).drafts(ProblemLog())
    assert row.request.prompt == "high high"


def test_where_may_ask_for_an_id(first: Path) -> None:
    """The other row's own, as `{id}` in a template is."""
    every = list(opened(first, EDIT).drafts(ProblemLog()))
    wanted = dict(every[-1].variables)["parent_id"]
    (only,) = opened(first, f"{EDIT}where: {{id: {wanted}}}\n").drafts(ProblemLog())
    assert only == every[-1]


def test_what_is_not_completed_is_left_out_and_counted(first: Path) -> None:
    """Said once, also where several blocks share the folder."""
    manifest = opened(first, EDIT + 'blocks: [{id: "a-{id}"}, {id: "b-{id}"}]\n')
    assert [text for text in manifest.warnings if "not completed" in text] == [
        "edit.yaml:2:7: from: 2 of 4 rows of ../outputs/first are not completed and left out"
        " (1 pending, 1 failed)"
    ]


def test_a_run_that_is_going_on_there_is_worth_a_warning(first: Path) -> None:
    """What it makes from now on is not in this plan."""
    assert not any("going on" in text for text in opened(first, EDIT).warnings)
    with only_writer(first):
        assert any("a run is going on in ../outputs/first" in text for text in opened(first, EDIT).warnings)


@pytest.mark.parametrize(
    ("text", "is_warned"),
    [
        ("prompt: night", True),
        ("prompt: night\nimages: https://example.org/a.png", True),
        ('prompt: "{image}"', True),
        ('prompt: night\nimages: "{image}"', False),
        ('prompt: night\nimages: [https://example.org/a.png, "{ image }"]', False),
        ('prompt: night\nmatrix: {images: ["{image}", https://example.org/a.png]}', False),
        ("prompt: night\ncolumns: {images: image}", False),
    ],
)
def test_images_that_nothing_uses_are_worth_a_warning(first: Path, text: str, is_warned: bool) -> None:
    """It is said what to write."""
    warnings = [w for w in opened(first, f"{HEAD}{FROM}{text}\n").warnings if 'images: "{image}"' in w]
    assert bool(warnings) is is_warned
    assert all(text.startswith("edit.yaml:2:7: from: ") for text in warnings)


def test_an_image_that_is_gone_is_named_with_its_row(first: Path) -> None:
    """And how it comes back; where images are not used, nobody misses it."""
    (first / "images" / "teahouse.png").unlink()
    drafts, (problem,) = read(first, EDIT)
    assert [draft.id for draft in drafts] == ["lighthouse"]
    assert problem == (
        "../outputs/first row teahouse: from: its image is gone;"
        " another run there fetches it while the provider has it"
    )
    drafts, problems = read(first, f"{HEAD}{FROM}prompt: night\n")
    assert (len(drafts), problems) == (2, [])


def test_an_image_that_is_none_any_more_is_named_with_its_row(first: Path) -> None:
    """Though the template that names it stands in one place for all rows."""
    (first / "images" / "teahouse.png").write_bytes(b"half of it")
    drafts, (problem,) = read(first, EDIT)
    assert [draft.id for draft in drafts] == ["lighthouse"]
    assert "'../outputs/first/images/teahouse.png'" in problem
    assert "../outputs/first row teahouse" in problem


def test_the_names_of_this_manifest_win_over_those_of_a_grandparent(first: Path, tmp_path: Path) -> None:
    """`parent_id` is the row that the image comes from; its own parent is at `row.parent_id`."""
    folder = tmp_path / "outputs" / "edited"
    variables = {"parent_id": "oldest", "image": "mine", "row.id": "odd", "style": "ink", "prompts": "two"}
    make_run(folder, [Earlier("edited", variables)], tuple(variables))
    used = "{parent_id} {row.parent_id} {row.var_image} {row.row.id} {row.id} {style} {prompts}"
    drafts, problems = read(first, f'{HEAD}from: ../outputs/edited\nprompt: "{used}"\n')
    assert not problems
    assert drafts[0].request.prompt == "edited oldest mine odd edited ink two"
    assert dict(drafts[0].variables) == {"parent_id": "edited", "style": "ink", "prompts": "two"}


def test_one_reading_is_of_one_moment(first: Path) -> None:
    """What the other run completes meanwhile comes with the next reading, whole."""
    manifest, log = opened(first, EDIT), ProblemLog()
    reading = manifest.drafts(log)
    ids = [next(reading).id]
    finish(first, 4, Earlier("mill", {"style": "oil"}))
    ids += [draft.id for draft in reading]
    assert ids == ["lighthouse", "teahouse"]
    assert [draft.id for draft in manifest.drafts(log)] == ["lighthouse", "teahouse", "mill"]
    assert not log


def test_names_and_rows_are_of_one_moment_too(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another manifest that is run there between the two reads gives none of its rows under these names."""
    manifest, log, rows = opened(first, EDIT), ProblemLog(), Reader.rows

    def after_a_change(reader: Reader) -> Iterator[RowReport]:
        with closing(sqlite3.connect(first / STATE_NAME, isolation_level=None)) as db:
            db.execute('UPDATE rows SET variables = \'{"style": "of another manifest"}\'')
        return rows(reader)

    monkeypatch.setattr(Reader, "rows", after_a_change)
    assert [dict(draft.variables)["style"] for draft in manifest.drafts(log)] == ["ink", "oil"]
    assert not log


def test_rows_that_come_later_change_no_row_that_was_there(first: Path) -> None:
    """Keys depend on a row and its image alone, so a reading after the run went on pays for nothing twice."""
    manifest, log = opened(first, EDIT), ProblemLog()
    before = [row_key(draft.request, draft.variant) for draft in manifest.drafts(log)]
    finish(first, 4, Earlier("mill", {"style": "oil"}))
    after = [row_key(draft.request, draft.variant) for draft in manifest.drafts(log)]
    assert (len(before), after[:2], len(set(after))) == (2, before, 3)


@pytest.mark.parametrize("n", [1, 7])
def test_a_sample_of_rows_that_came_between_two_looks_is_refused(
    first: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    """Rows are counted first and drawn then; these would be other rows, or more, than were asked for."""
    rows = ParentRows.rows
    made: list[str] = []

    def with_one_more_afterwards(self: ParentRows, log: ProblemLog) -> Iterator[SourceRow]:
        yield from rows(self, log)
        if not made:
            finish(first, 4, Earlier("mill", {"style": "oil"}))
            made.append("mill")

    monkeypatch.setattr(ParentRows, "rows", with_one_more_afterwards)
    text = f"{EDIT}sample: {{n: {n}}}\nmatrix: {{season: [winter, summer, spring]}}\n"
    _, (problem,) = read(first, text)
    assert problem == "edit.yaml:5:1: sample: rows came or went while they were read; try again"
    assert read(first, text)[1] == []


def test_a_sample_of_an_unfinished_run_is_worth_a_warning(first: Path) -> None:
    """Its rows are drawn anew when there are more, and paid for."""
    (warning,) = [text for text in opened(first, EDIT + "sample: {n: 1}\n").warnings if "completed" in text]
    assert "`sample` draws other rows, and those will be paid for" in warning


def test_another_manifest_that_was_run_there_meanwhile_is_noticed(first: Path) -> None:
    """Its variables are not those that this manifest was checked against."""
    manifest, log = opened(first, EDIT), ProblemLog()
    with closing(sqlite3.connect(first / STATE_NAME, isolation_level=None)) as db:
        db.execute("UPDATE meta SET value = '[\"tag\"]' WHERE name = 'variables'")
    assert not list(manifest.drafts(log))
    assert [str(problem) for problem in log] == [
        "edit.yaml:2:7: from: another manifest was run there while this one was read; try again"
    ]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE rows SET request = '{' WHERE id = 'teahouse'", "is damaged: nobody can read row 'teahouse'"),
        ("UPDATE rows SET variables = '7' WHERE id = 'lighthouse'", "nobody can read row 'lighthouse'"),
        ("UPDATE attempts SET phase = 'odd' WHERE attempt = 2", "nobody can read row 'teahouse'"),
        ("DELETE FROM attempts", "none of its rows is completed any more"),
        ("DROP TABLE attempts", "damaged or a stranger's"),
    ],
)
def test_damage_that_shows_while_rows_are_read_is_a_problem_of_the_manifest(
    first: Path, damage: str, said: str
) -> None:
    """No traceback, and the place of `from`."""
    manifest, log = opened(first, EDIT), ProblemLog()
    with closing(sqlite3.connect(first / STATE_NAME, isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute(damage)
    list(manifest.drafts(log))
    (problem,) = log
    assert problem.source == "edit.yaml:2:7"
    assert said in problem.message


def test_a_folder_that_vanishes_is_a_problem_too(first: Path) -> None:
    """Between opening the manifest and reading its rows."""
    manifest, log = opened(first, EDIT), ProblemLog()
    (first / STATE_NAME).unlink()
    assert not list(manifest.drafts(log))
    assert "is not an output folder of this program" in str(next(iter(log)))
