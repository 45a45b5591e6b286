"""What holds where the command line says nothing: which one counts, and what a found file may decide."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest

from nanobanana_batch.api.options import RunOptions
from nanobanana_batch.api.orders import given, settings_of
from nanobanana_batch.cli import commands
from nanobanana_batch.cli.defaults import of_file
from nanobanana_batch.cli.defaults.names import options
from nanobanana_batch.project_file import NAME
from tests.unit.test_cli_commands import Run, left_by, manifest, run

__all__ = ["run"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("NANOBANANA_BATCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(name: str, *words: str) -> dict[str, Any]:
    """What a command would be carried out with."""
    parent = click.Context(commands, info_name="nanobanana-batch")
    return commands.commands[name].make_context(name, list(words), parent=parent).params


def write(text: str, folder: Path = Path()) -> Path:
    """The file of a project."""
    path = folder / NAME
    path.write_text(text, encoding="utf-8")
    return path


# --- which of several counts ------------------------------------------------------------------------


def test_the_nearer_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line, variable of the command, variable, file of the command, file, the program's own."""
    assert parsed("run", "m.yaml")["concurrency"] == 64
    write("[defaults]\nconcurrency = 2")
    assert parsed("run", "m.yaml")["concurrency"] == 2
    write("[defaults]\nconcurrency = 2\n[run]\nconcurrency = 3")
    assert parsed("run", "m.yaml")["concurrency"] == 3
    monkeypatch.setenv("NANOBANANA_BATCH_CONCURRENCY", "4")
    assert parsed("run", "m.yaml")["concurrency"] == 4
    monkeypatch.setenv("NANOBANANA_BATCH_RUN_CONCURRENCY", "5")
    assert parsed("run", "m.yaml")["concurrency"] == 5
    assert parsed("run", "m.yaml", "--concurrency", "6")["concurrency"] == 6


def test_what_a_run_is_made_with_holds_for_what_speaks_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan without the run's limit would mislead, and a retry without it would pay."""
    write("[run]\nmax_credits = 7\n")
    assert parsed("plan", "m.yaml")["max_credits"] == 7
    assert parsed("retry", "out", "--only", "failed")["max_credits"] == 7
    monkeypatch.setenv("NANOBANANA_BATCH_PLAN_MAX_CREDITS", "8")
    assert parsed("plan", "m.yaml")["max_credits"] == 8
    monkeypatch.setenv("NANOBANANA_BATCH_RUN_JSON", "1")
    assert parsed("plan", "m.yaml")["json_"] is False


@pytest.mark.parametrize("words", [("retry", "out", "--only", "failed"), ("status", "out"), ("audit", "out")])
def test_a_folder_keeps_its_provider(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """Else rows that are paid for at one provider would be paid for at another one."""
    write('[defaults]\nprovider = "local"\n[run]\nprovider = "local"')
    monkeypatch.setenv("NANOBANANA_BATCH_PROVIDER", "local")
    assert parsed(*words)["provider"] == ""
    monkeypatch.setenv(f"NANOBANANA_BATCH_{words[0].upper()}_PROVIDER", "foxapi")
    assert parsed(*words)["provider"] == "foxapi"


@pytest.mark.parametrize("command", ["plan", "run", "doctor"])
def test_what_costs_nothing_is_not_paid_for_at_an_address_that_is_set(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """`--provider local` with an address is whatever answers there."""
    words = (command, *([] if command == "doctor" else [manifest(project)]))
    address = "http://127.0.0.1:9"
    monkeypatch.setenv("NANOBANANA_LOCAL_KEY", "canary-key-5d1f")
    monkeypatch.setenv("NANOBANANA_BATCH_BASE_URL", address)
    ended = run(*words, "--provider", "local")
    assert ended.code == 2
    assert f"The provider is local, but --base-url {address} is set for all" in ended.err
    assert "NANOBANANA_BATCH_BASE_URL" in ended.err
    monkeypatch.setenv("NANOBANANA_BATCH_PROVIDER", "unified")
    for provider in ("local", "foxapi"):
        ended = run(*words, "--provider", provider)
        assert ended.code == 2
        assert f"The provider is {provider}, but --base-url {address} is set with --provider uni" in ended.err
    monkeypatch.delenv("NANOBANANA_BATCH_BASE_URL")
    conf = write(f'[run]\nbase_url = "{address}"\nprovider = "foxapi"')
    monkeypatch.setenv("NANOBANANA_BATCH_PROVIDER", "local")
    assert "is set with --provider foxapi" in run(*words, "--config", conf).err
    assert left_by(project) == sorted({NAME, *(["m.csv"] if words[1:] else [])})


def test_an_address_holds_for_the_provider_that_it_was_set_with(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any other one where none was, and where it is given on the command line."""
    monkeypatch.setenv("NANOBANANA_BATCH_BASE_URL", "http://127.0.0.1:9")
    path = manifest(project)
    assert run("plan", path, "--provider", "evolink").code == 0
    assert run("plan", path, "--provider", "unified").code == 0
    assert run("plan", path, "--provider", "local", "--base-url", "http://127.0.0.1:10").code == 0
    monkeypatch.setenv("NANOBANANA_BATCH_PROVIDER", "foxapi")
    assert run("plan", path, "--provider", "foxapi").code == 0
    assert run("plan", path).code == 0
    assert run("plan", path, "--provider", "evolink").code == 2


def test_a_limit_of_patience_is_given_by_hand_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it holds for the first contact, too; the program's own does not."""

    def first_contact_s() -> float:
        parent = click.Context(commands, info_name="nanobanana-batch")
        context = commands.commands["run"].make_context("run", ["m.yaml"], parent=parent)
        with context:
            said = {
                name: value for name, value in context.params.items() if name in RunOptions.__annotations__
            }
            return settings_of(given(said, RunOptions, "run")).first_contact_s

    assert first_contact_s() == 600
    write('[run]\nmax_outage = "2h"')
    assert first_contact_s() == 7200
    monkeypatch.setenv("NANOBANANA_BATCH_MAX_OUTAGE", "3h")
    assert first_contact_s() == 10800


# --- variables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_option_has_its_variables(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is taken for a misspelt one; an empty variable says nothing."""
    for option in options(commands.commands[name]):
        monkeypatch.setenv(f"NANOBANANA_BATCH_{name.replace('-', '_').upper()}_{option.upper()}", "")
    assert "warning" not in run("models").err


@pytest.mark.parametrize("words", [("run", "m.yaml"), ("retry", "out", "--only", "failed")])
def test_a_misspelt_limit_lets_nobody_pay_without_one(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A warning scrolls away, and the money is gone."""
    monkeypatch.setenv("NANOBANANA_BATCH_MAX_CREDIT", "5")
    ended = run(*words)
    assert ended.code == 2
    assert "did you mean NANOBANANA_BATCH_MAX_CREDITS? (nothing was sent)" in ended.err


def test_flags_and_lists_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags as yes and no, texts as a shell reads words, folders as in PATH."""
    monkeypatch.setenv("NANOBANANA_BATCH_NO_PROGRESS", "yes")
    monkeypatch.setenv("NANOBANANA_BATCH_DEBUG", "0")
    monkeypatch.setenv("NANOBANANA_BATCH_DEFAULTS", "model=a 'prompt=two words'")
    monkeypatch.setenv("NANOBANANA_BATCH_ALLOW_OUTSIDE", f"/a b{os.pathsep}/c")
    found = parsed("run", "m.yaml")
    assert (found["no_progress"], found["debug"]) == (True, False)
    assert found["defaults"] == {"model": "a", "prompt": "two words"}
    assert found["allow_outside"] == (Path("/a b"), Path("/c"))


def test_a_variable_that_is_no_option_is_told_with_the_nearest(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, without its value, and the command goes on."""
    monkeypatch.setenv("NANOBANANA_BATCH_PROVDER", "secret")
    ended = run("models")
    assert ended.code == 0
    assert ended.err.count("NANOBANANA_BATCH_PROVDER") == 1
    assert "did you mean NANOBANANA_BATCH_PROVIDER?" in ended.err
    assert "secret" not in ended.err


def test_a_value_that_cannot_be_is_told_with_its_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at once, before anything is made."""
    monkeypatch.setenv("NANOBANANA_BATCH_CONCURRENCY", "many")
    monkeypatch.setenv("NANOBANANA_BATCH_RUN_MAX_OUTAGE", "soon")
    ended = run("run", manifest(Path()), "--provider", "local")
    assert ended.code == 2
    assert "NANOBANANA_BATCH_CONCURRENCY: 'many'" in ended.err
    assert "NANOBANANA_BATCH_RUN_MAX_OUTAGE: 'soon'" in ended.err
    assert left_by(Path()) == ["m.csv"]


# --- the file ---------------------------------------------------------------------------------------


def test_a_file_is_found_above_but_not_above_home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest one counts, alone."""
    inner = project / "home" / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(project / "home"))
    monkeypatch.chdir(inner)
    write("[run]\nconcurrency = 1", project)
    assert parsed("run", "m.yaml")["concurrency"] == 64
    write("[run]\nconcurrency = 2\nrate = 5", project / "home")
    assert parsed("run", "m.yaml")["concurrency"] == 2
    write("[run]\nconcurrency = 3", project / "home" / "a")
    assert (parsed("run", "m.yaml")["concurrency"], parsed("run", "m.yaml")["rate"]) == (3, None)


def test_what_toml_has_is_read_as_its_option_reads_it() -> None:
    """Flags, lists, one text in the place of a list, pairs; with dashes or underscores."""
    write('[run]\nno-progress = true\nmax_failures = "5%"\ndefaults = {model = "a b"}\nvariables = "style"')
    found = parsed("run", "m.yaml")
    assert found["no_progress"] is True
    assert found["defaults"] == {"model": "a b"}
    assert found["variables"] == ("style",)
    write('[run]\ndefaults = ["model=x", "resolution=1K"]')
    assert parsed("run", "m.yaml")["defaults"] == {"model": "x", "resolution": "1K"}
    write('[run]\ndefaults = {style = "as in x.yaml"}')  # a text, and no file
    assert parsed("run", "m.yaml")["defaults"] == {"style": "as in x.yaml"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[runn]\nrate = 1", "[runn] is no command; did you mean run?"),
        ("[run]\nmax-credit = 1", "[run] max-credit: there is no such option; did you mean max_credits?"),
        (
            "[run]\nmax-credits = 1\nmax_credits = 9",
            "[run] max-credits: it stands there twice, as max_credits",
        ),
        ("[status]\nrate = 1", "[status] rate: there is no such option"),
        ("[run]\nconcurrency = 2.5", "[run] concurrency: '2.5'"),
        ("[run]\nconcurrency = true", "[run] concurrency: it is one text or number"),
        ("[run]\nno_progress = 1", "[run] no_progress: it is true or false"),
        ("[run]\nrate = [1]", "[run] rate: it is one text or number"),
        ("[run]\nvariables = [[1]]", "[run] variables: it is a text, or a list of texts"),
        ('[run]\ndefaults = "model"', "[run] defaults: 'model' is not of the form NAME=VALUE"),
        ("[run]\nmax_outage = 2026-01-01", "[run] max_outage: it is one text or number"),
        ("rate = 1", "rate stands under no heading"),
        ("[run\n", "is no TOML"),
        ("a=" + "[" * 20_000, "is no TOML"),
        ("#" * (1 << 16) + "\n", "is larger than 64 KiB"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(run: Run, text: str, told: str) -> None:
    """Exit 2; nothing is made, and what to do stands there."""
    path = write(text)
    ended = run("run", manifest(Path()), "--provider", "local")
    assert ended.code == 2
    assert told in ended.err
    assert path.name in ended.err
    assert left_by(Path()) == ["m.csv", NAME]


def test_a_faulty_file_is_no_hindrance_to_help(run: Run) -> None:
    """Who asks how it is done is told."""
    write("[runn]")
    ended = run("run", "--help")
    assert (ended.code, ended.err) == (0, "")
    assert run("plan", manifest(Path()), "--provider", "local", "--config", "none").code == 0


def test_what_may_be_decided_is_an_option() -> None:
    """No name in that list is left of an option that went, or that is another one now."""
    known = {name for command in commands.commands.values() for name in options(command)}
    assert known >= of_file._FREE


def test_paths_of_a_named_file_are_meant_from_where_it_stands(project: Path) -> None:
    """It may be named from anywhere."""
    (project / "conf").mkdir()
    write('[run]\nprovider = "mine.yaml"\nkey_file = "key"\nallow_outside = ["../x", "/y"]', project / "conf")
    found = parsed("run", "m.yaml", "--config", f"conf/{NAME}")
    assert found["provider"] == str(project / "conf" / "mine.yaml")
    assert found["key_file"] == project / "conf" / "key"
    assert found["allow_outside"] == (project / "conf" / ".." / "x", Path("/y"))


# --- what is told -----------------------------------------------------------------------------------


def test_what_a_file_decides_is_said_first(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is really in force; what the person has set in the environment is known to them."""
    write('[run]\nprovider = "local"\nrate = 9\nconcurrency = 3')
    monkeypatch.setenv("NANOBANANA_BATCH_RATE", "8")
    ended = run("plan", manifest(project), "--concurrency", "2")
    assert ended.code == 0
    assert ended.err.splitlines()[0] == f"By {project / NAME}: provider local"
    assert "By " not in run("models").err


def test_doctor_tells_what_a_run_would_be_made_with(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where each of it came from."""
    write('[defaults]\nprovider = "local"\n[run]\nrate = 9')
    monkeypatch.setenv("NANOBANANA_BATCH_CONCURRENCY", "8")
    shown = " ".join(run("doctor").out.split())
    assert f"provider local ({Path.cwd() / NAME}: [defaults] provider)" in shown
    assert f"rate 9 ({Path.cwd() / NAME}: [run] rate)" in shown
    assert "concurrency 8 (NANOBANANA_BATCH_CONCURRENCY)" in shown
