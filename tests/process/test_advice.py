"""Every command that a command advises is carried out as it stands, and helps, or says what it cannot do.

The situations are real ones, at a provider that shares nothing with us. The last tests look for advice in the
source: what stands in no situation, or is no whole command, is found there.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import nanobanana_batch
from nanobanana_batch.commands import PROGRAM
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.files.standing import Look
from tests.process.desk import ADVICE, FOLDER, PROFILE, Desk

# --- what rows became ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "faults"),
    [("failed", {"reject": 1.0}), ("refused", {"refuse_task": 1.0})],
    ids=["failed", "refused"],
)
def test_rows_that_did_not_complete(desk: Desk, only: str, faults: dict[str, float]) -> None:
    """The end of a run says how they are sent again, a plan says the same."""
    desk.goes(faults=faults)
    ended = desk.run()
    assert ended.code in (1, 3)
    planned = desk.do("plan", "small.csv", "--out", FOLDER, *desk.where)
    assert planned.of(only).startswith(f"{PROGRAM} retry")
    desk.goes(faults=dict.fromkeys(faults, 0.0))
    assert desk.follow(ended.of(only)).code == 0
    desk.is_whole()
    assert desk.paid() == 3


def test_a_plan_of_rows_that_failed(desk: Desk) -> None:
    """Its advice alone does it, too."""
    desk.goes(faults={"reject": 1.0})
    desk.run()
    planned = desk.do("plan", "small.csv", "--out", FOLDER, *desk.where)
    desk.goes(faults={"reject": 0.0})
    assert desk.follow(planned.of("failed")).code == 0
    desk.is_whole()


def test_expired_rows(desk: Desk) -> None:
    """An audit names both ways: once more for nothing, or paid for again."""
    (desk.folder / "strict.yaml").write_text(PROFILE + "link_lifetime_s: 0.001\n")
    desk.goes(faults={"link_404": 1.0})
    ended = desk.run()
    found = desk.do("audit", FOLDER)
    assert desk.kinds() == ["orphan"] * 3
    assert found.of("expired").split("--only")[1] in ended.of("expired")
    desk.goes(faults={"link_404": 0.0})
    (desk.folder / "strict.yaml").write_text(PROFILE)
    assert desk.follow(found.of("--repair")).code == 0
    desk.is_whole()
    assert desk.paid() == 3


def test_expired_rows_are_paid_for_again_by_who_says_so(desk: Desk) -> None:
    """The image that was paid for first stays a finding: nobody can have it any more."""
    (desk.folder / "strict.yaml").write_text(PROFILE + "link_lifetime_s: 0.001\n")
    desk.goes(faults={"link_404": 1.0})
    ended = desk.run()
    desk.goes(link_life_s=0.0)  # of those that there are
    desk.goes(faults={"link_404": 0.0}, link_life_s=86400.0)
    assert desk.follow(ended.of("retry", "expired")).code == 0
    desk.is_whole()


def test_rows_without_an_answer(desk: Desk) -> None:
    """Held by the run, listed by the audit; both name the same command, and say what it may cost."""
    desk.goes(faults={"lost_tasks": [1]})
    ended = desk.run("--submit-concurrency", "1")
    assert ended.code == 1
    assert "may have been paid: look in your account" in ended.said
    found = desk.do("audit", FOLDER)
    assert shlex.split(found.of("unknown"))[:5] == shlex.split(ended.of("unknown"))[:5]
    assert desk.follow(found.of("unknown")).code == 0
    desk.is_whole()
    assert desk.kinds() == ["resent"]


def test_rows_without_an_answer_that_left_the_manifest(desk: Desk) -> None:
    """Said once by the run, and listed by the audit; nothing is sent for them."""
    desk.goes(faults={"lost_tasks": [1]})
    desk.run("--submit-concurrency", "1")
    table = desk.folder / "small.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], *lines[2:]]))
    ended = desk.run()
    assert "rows have left the manifest: 1" in ended.said
    assert desk.run().remedies == []
    found = desk.do("audit", FOLDER)
    assert "gives it up" in found.said
    made = desk.paid()
    assert desk.follow(ended.of("unknown")).code == 0
    assert desk.kinds() == ["given_up"]
    assert desk.paid() == made


def test_rows_at_a_provider_that_is_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another account's run leaves them alone and says how they are settled: then they are paid for here."""
    (desk.folder / "gone.yaml").write_text(PROFILE.replace("name: strict", "name: gone"))
    desk.goes(faults={"lost_tasks": [1]})
    where = ["--provider", "gone.yaml", "--base-url", desk.server.api]
    desk.do("run", "small.csv", "--out", FOLDER, *where, "--submit-concurrency", "1")
    desk.goes(more_keys=["another-key-1"], api_key="another-key-1")
    monkeypatch.setenv("EVOLINK_API_KEY", "another-key-1")
    ended = desk.run()
    assert "Unfinished rows that went to gone@127.0.0.1: 1" in ended.said
    made = desk.paid()
    (advice,) = [one for one in ended.advice if "--only unknown --provider strict.yaml" in one][:1]
    assert "may be paid for twice" in desk.follow(advice).said
    desk.is_whole()
    assert desk.paid() == made + 1


# --- what is paid for and not here -----------------------------------------------------------------------


def test_images_that_cannot_be_fetched(desk: Desk) -> None:
    """The run ends with the command that fetches them later; nothing is paid for by it."""
    desk.goes(faults={"rate_5xx_download": 1.0})
    ended = desk.run("--max-outage", "1s")
    assert ended.code == 3
    found = desk.do("audit", FOLDER)
    assert set(desk.kinds()) == {"orphan"}
    desk.goes(faults={"rate_5xx_download": 0.0})
    made = desk.paid()
    assert {shlex.split(one)[1] for one in (ended.of("--repair"), found.of("--repair"))} == {"audit"}
    assert desk.follow(ended.of("--repair")).code == 0
    assert desk.kinds() == []
    assert desk.paid() == made


@pytest.mark.parametrize("words", [("audit", "--repair"), ("retry", "running")])
def test_tasks_that_could_not_be_read(desk: Desk, words: tuple[str, str]) -> None:
    """Either way they are fetched; the second gives up only what is still not there."""
    desk.goes(faults={"rate_5xx_read": 1.0})
    assert desk.run("--max-outage", "1s").code == 3
    found = desk.do("audit", FOLDER)
    desk.goes(faults={"rate_5xx_read": 0.0})
    made = desk.paid()
    desk.follow(found.of(*words))
    assert "orphan" not in desk.kinds()
    assert desk.paid() == made


def test_images_that_are_paid_for_and_not_fetched(desk: Desk) -> None:
    """What the run itself says: it gives up only what is still not there, and here all is."""
    desk.goes(faults={"rate_5xx_read": 1.0})
    ended = desk.run("--max-outage", "1s")
    assert ended.code == 3
    desk.goes(faults={"rate_5xx_read": 0.0})
    made = desk.paid()
    assert desk.follow(ended.of("retry", "running")).code == 0
    desk.is_whole()
    assert desk.paid() == made


def test_tasks_that_are_not_understood(desk: Desk) -> None:
    """The sentence that ends the run names the free way and the other; the free one does."""
    desk.server.ask("mutation", {"kind": "task", "place": "results", "change": "removed"})
    ended = desk.run()
    assert ended.code == 3
    assert shlex.split(ended.of("running"))[1] == "retry"
    desk.server.ask("mutation")
    assert desk.follow(ended.of("--repair")).code == 0
    desk.is_whole()
    assert desk.paid() == 3


def test_answers_that_are_not_understood(desk: Desk) -> None:
    """A task without an id: held, and sent again only by who says so."""
    desk.server.ask("mutation", {"kind": "submit", "place": "id", "change": "removed"})
    ended = desk.run()
    desk.server.ask("mutation")
    assert ended.code == 3
    assert desk.follow(ended.of("unknown")).code == 0
    desk.is_whole()


# --- what has become of files ----------------------------------------------------------------------------


def a_change(path: Path) -> None:
    path.write_bytes(b"optimised")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "kind", "left"),
    [(Path.unlink, "missing", []), (a_change, "changed", ["stray"]), (a_folder, "not_a_file", [])],
    ids=["missing", "changed", "not a file"],
)
@pytest.mark.parametrize("says", ["status", "results", "audit"])
def test_an_image_that_is_not_as_it_was_saved(
    desk: Desk, damage: Callable[[Path], object], kind: str, left: list[str], says: str
) -> None:
    """Each command that finds it names the repair; what is changed is left, as nobody's."""
    desk.run()
    damage(desk.images / "row-1.png")
    assert desk.kinds() == [kind]
    advice = desk.do(says, FOLDER).of("--repair")
    desk.follow(advice)
    assert desk.kinds() == left
    desk.is_whole()
    assert desk.paid() == 3


def test_a_changed_image_that_the_provider_has_no_more(desk: Desk) -> None:
    """The advice says "while the provider has it": after that the file stays its row's, at no cost."""
    desk.run()
    a_change(desk.images / "row-1.png")
    desk.goes(link_life_s=0.0)
    (desk.folder / "strict.yaml").write_text(PROFILE + "link_lifetime_s: 0.001\n")
    ended = desk.run()
    assert ended.code == 0
    assert "while the provider has them" in ended.said
    assert "kept as they are, and not paid for again" in desk.follow(ended.of("--repair")).said
    assert desk.kinds() == ["kept"]
    desk.is_whole()
    ended = desk.run()
    assert (ended.code, ended.remedies) == (0, [])
    assert desk.paid() == 3


def test_all_images_at_once(desk: Desk) -> None:
    """The refusal names the command; the folder of the images is made again."""
    desk.run()
    desk.images.rename(desk.folder / "moved")
    ended = desk.run()
    assert ended.code == 2
    assert desk.follow(ended.of("--repair")).code == 0
    desk.is_whole()
    assert desk.paid() == 3


def test_an_image_that_this_user_may_not_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it can be read the advised look finds nothing."""
    desk.run()
    image = desk.images / "row-1.png"
    image.chmod(0o000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode, **how: not str(path).endswith("row-1.png"))
        status, audit = desk.do("status", FOLDER), desk.do("audit", FOLDER)
    assert "may not read" in status.said
    assert "unreadable" in audit.said
    image.chmod(0o600)
    assert "may not read" not in desk.follow(status.of("status")).said
    assert desk.follow(audit.of("audit")).code == 0


def test_images_of_another_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than one command reads: the advised one reads each."""
    desk.run()
    for image in desk.images.iterdir():
        os.utime(image)
    assert Look.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Look.__init__.__kwdefaults__, "most_bytes", 0)
    ended = desk.do("status", FOLDER)
    assert "too many to look at: 3" in ended.said
    assert not desk.follow(ended.of("--verify")).advice


# --- another process -------------------------------------------------------------------------------------


def test_a_folder_in_use(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking is what one can do meanwhile; on a narrow screen the command still stands in one line."""
    desk.run()
    with only_writer(desk.folder / FOLDER):
        ended = desk.run()
        assert ended.code == 4
        assert "A run is going on" in desk.follow(ended.of("status")).said
        monkeypatch.setenv("COLUMNS", "40")
        diagnosis = desk.do("doctor", "--out", FOLDER, "--provider", "local")
        assert "A run is going on" in desk.follow(diagnosis.of("status")).said


def test_the_models(desk: Desk) -> None:
    """An editor that knows the schema of a manifest shows where models are listed."""
    schema = desk.do("schema").said
    (advice,) = set(ADVICE.findall(schema))
    assert "gemini" in desk.follow(advice).said


# --- what was made ---------------------------------------------------------------------------------------


def test_a_run_says_how_its_images_are_looked_at_and_exported(desk: Desk) -> None:
    """Both can be pasted; nothing is advised where nothing was made."""
    desk.goes(faults={"reject": 1.0})
    assert not {"gallery", "export"} & {shlex.split(one)[1] for one in desk.run().advice}
    desk.goes(faults={"reject": 0.0})
    ended = desk.follow(desk.run().of("retry", "failed"))
    assert ended.code == 0
    assert desk.follow(ended.of("gallery")).code == 0
    assert (desk.folder / FOLDER / "gallery" / "index.html").exists()
    assert desk.follow(ended.of("export")).code == 0
    assert (desk.folder / f"{FOLDER}-dataset" / "train" / "metadata.jsonl").exists()


# --- no advice is forgotten ------------------------------------------------------------------------------

SITES = {
    "jobs.audit:_orphan": "test_expired_rows, test_tasks_that_could_not_be_read",
    "jobs.audit:_unknown": "test_rows_without_an_answer",
    "jobs.audit:_damage_words": "test_an_image_that_is_not_as_it_was_saved",
    "cli.outcome_text:_where_lines": "test_a_run_says_how_its_images_are_looked_at_and_exported",
    "cli.outcome_text:_again_lines": (
        "test_rows_that_did_not_complete, test_images_that_are_paid_for_and_not_fetched"
    ),
    "cli.plan_text:_standing_lines": "test_a_plan_of_rows_that_failed",
    "jobs.doctor:_lock": "test_a_folder_in_use",
    "engine.run:Run._leave": "test_rows_without_an_answer_that_left_the_manifest",
    "engine.stages.results:Results._gone": "test_expired_rows (the engine's tests of answers delete a reply)",
    "engine.owed:Owed._unclear_sentence": "test_answers_that_are_not_understood",
    "engine.owed:Owed._unfetched_sentence": "test_images_that_cannot_be_fetched",
    "engine.trouble:waiting_sentence": "test_images_that_cannot_be_fetched",
    "files.lock:_lock": "test_a_folder_in_use",
    "files.standing:sentences": "test_an_image_that_is_not_as_it_was_saved, test_images_of_another_time",
    "manifest.schema:": "test_the_models",
    "reports.trouble:owed_section": "tests/report/test_page.py carries it out",
    "pricing.book:": "goes to the provider's public list: tests/service/test_prices.py has one of its own",
    "jobs.session:notice_lost_files": "test_all_images_at_once",
}
"""Where a command is advised, and where that is carried out."""
_PACKAGE = Path(nanobanana_batch.__file__).parent
_HELPERS = {"repair", "retry", "status", "audit", "gallery", "export"}
_NAMES = (
    "run|plan|retry|status|results|audit|doctor|prices|models|serve|schema"
    "|gallery|report|check|export|merge|from-image"
)
_WHOLE = re.compile(rf"`{PROGRAM} ({_NAMES})\b")
_PART = re.compile(rf"`(({_NAMES}) [^`]*|run|retry|status|results|audit|doctor)`")
"""`plan` and `prices` alone may be nouns."""


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every text but those that only document."""
    documents = {
        id(one.value)
        for one in ast.walk(tree)
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
    }
    for one in ast.walk(tree):
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and id(one) not in documents:
            yield one


def sites(module: str, tree: ast.AST, name: str = "") -> Iterator[str]:
    """Functions in which a command is named."""
    for node in ast.iter_child_nodes(tree):
        inner = name
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}.{node.name}".lstrip(".")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _HELPERS:
            whose = ast.unparse(node.func.value)
            if "ommands" in whose:
                yield f"{module}:{inner}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _WHOLE.search(node.value):
            yield f"{module}:{inner}"
        yield from sites(module, node, inner)


@cache
def modules() -> dict[str, ast.Module]:
    """The program; the service is another one, and `commands` only says how."""
    paths = {
        ".".join(path.relative_to(_PACKAGE).with_suffix("").parts): path for path in _PACKAGE.rglob("*.py")
    }
    return {
        name: ast.parse(path.read_text("utf-8"))
        for name, path in sorted(paths.items())
        if name != "commands" and not name.startswith("service.")
    }


def test_every_advised_command_is_carried_out_by_a_test() -> None:
    """Who adds one adds its situation."""
    found = {site for module, tree in modules().items() for site in sites(module, tree)}
    assert found == set(SITES)
    named = [name for why in SITES.values() for name in re.findall(r"\btest_\w+(?!\w*\.py)", why)]
    assert [name for name in named if name not in globals() and name != "test_prices"] == []


def test_no_advice_is_a_part_of_a_command() -> None:
    """What cannot be pasted has to be completed by guessing."""
    parts = [
        f"{module}:{text.lineno}: {found[0]}"
        for module, tree in modules().items()
        for text in texts(tree)
        if (found := _PART.search(str(text.value)))
    ]
    assert parts == []
