"""What the package offers to programs: named, documented, and free until it is used."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Callable

import click
import pytest

import nanobanana_batch as nb
from nanobanana_batch.api import orders
from nanobanana_batch.api.options import (
    AuditOptions,
    ExportOptions,
    PaceOptions,
    ProviderOptions,
    RetryOptions,
    RunOptions,
)
from nanobanana_batch.cli import commands

FUNCTIONS = (
    "audit",
    "check",
    "export",
    "from_image",
    "gallery",
    "merge",
    "open_run",
    "plan",
    "report",
    "retry",
    "run",
    "run_async",
)


def loaded_by(code: str) -> set[str]:
    """The modules that a new interpreter has imported more after some code than before."""
    told = "print(json.dumps([*set(sys.modules) - before]))"
    program = f"import json, sys; before = set(sys.modules); {code}; {told}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_nothing_else() -> None:
    """The command line, which is in it, starts as fast as without."""
    assert loaded_by("import nanobanana_batch") == {"nanobanana_batch"}


def test_an_error_costs_only_the_errors() -> None:
    """Who catches one before anything is asked for does not wait for it."""
    ours = {name for name in loaded_by("from nanobanana_batch import UsageError") if "nanobanana" in name}
    assert ours == {"nanobanana_batch", "nanobanana_batch.errors", "nanobanana_batch.wording"}


def test_asking_for_a_function_loads_no_heavy_library() -> None:
    """What plans or runs is loaded when it plans or runs."""
    loaded = loaded_by("from nanobanana_batch import plan, run, retry, audit")
    assert not {name.partition(".")[0] for name in loaded} & {"pandas", "httpx", "aiohttp", "PIL", "yaml"}


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    """In the order in which people look for it, and with the type checkers' names for the same."""
    assert sorted(nb.__all__) == nb.__all__
    assert set(nb.__all__) <= set(dir(nb))
    for name in nb.__all__:
        found = getattr(nb, name)
        assert found.__name__ == name
        assert inspect.getdoc(found), name


def test_what_is_not_public_is_not_there() -> None:
    """A slip is an AttributeError, as everywhere."""
    with pytest.raises(AttributeError, match="has no attribute 'rum'"):
        getattr(nb, "rum")  # noqa: B009 - a type checker knows that it is not there


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_tells_its_errors(name: str) -> None:
    """All of them can be caught by name."""
    told = (inspect.getdoc(getattr(nb, name)) or "").partition("Raises:")[2]
    named = {word.strip(" ,:") for line in told.splitlines() for word in line.partition(":")[0].split(",")}
    assert named - {""} <= {*nb.__all__, "TypeError"}
    assert "UsageError" in named


@pytest.mark.parametrize(
    "kind", [RunOptions, RetryOptions, AuditOptions, ExportOptions, PaceOptions, ProviderOptions]
)
def test_every_option_is_explained(kind: type) -> None:
    """With its unit and what holds without it, in the docstring of its kind or of a part of that."""
    told = "".join(each.__doc__ or "" for each in (kind, PaceOptions, ProviderOptions, RetryOptions))
    assert [name for name in typing.get_type_hints(kind) if f"`{name}`" not in told] == []


def parameters(function: Callable[..., object], *options: type) -> set[str]:
    """What a function may be called with."""
    named = set(inspect.signature(function).parameters) - {"options"}
    return named.union(*(typing.get_type_hints(each) for each in options))


ON_SCREEN = {"help", "config", "no_progress", "json_", "quiet", "verbose"}
"""What only a terminal needs."""


@pytest.mark.parametrize(
    ("command", "known", "more"),
    [
        ("run", parameters(nb.run, RunOptions), {"dry_run"}),
        ("plan", parameters(nb.plan, RunOptions), {"row", "show_request"}),
        ("retry", parameters(nb.retry, RetryOptions), set[str]()),
        ("check", parameters(nb.check), set[str]()),
        ("from-image", parameters(nb.from_image), {"format"}),
        ("audit", parameters(nb.audit, AuditOptions), {"rebuild"}),
        ("export", parameters(nb.export, ExportOptions), set[str]()),
        ("gallery", parameters(nb.gallery), {"serve", "port"}),
        ("report", parameters(nb.report), set[str]()),
        ("merge", parameters(nb.merge), set[str]()),
    ],
)
def test_each_option_of_a_command_is_one_of_its_function(
    command: str, known: set[str], more: set[str]
) -> None:
    """By the same name; `more` are what is asked of a command otherwise than of a function."""
    found = commands.commands[command]
    names = {str(param.name) for param in found.params if isinstance(param, click.Option | click.Argument)}
    assert names - ON_SCREEN - more <= known


def test_settings_begin_as_those_of_the_command_line() -> None:
    """What neither says is the same for both."""
    from nanobanana_batch.engine.settings import Settings
    from nanobanana_batch.jobs.plan import Terms

    assert orders.settings_of({}) == Settings()
    assert orders.terms_of({}) == Terms()
