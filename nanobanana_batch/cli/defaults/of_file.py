"""Defaults from a project's file: what may stand in it, and what it says of an option."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from nanobanana_batch.cli.defaults.names import did_you_mean, headings, options, plain, variable
from nanobanana_batch.errors import UsageError
from nanobanana_batch.project_file import GENERAL, NONE, ProjectFile

_WORDS = """
    provider concurrency submit_concurrency rate max_attempts max_credits max_failures max_outage
    on_daily_quota stuck_after defaults variables allow_unknown_model rows no_progress quiet verbose debug
    json verify for_spreadsheets port latency seed credits images link_lifetime idempotency batch list
    integer_codes unlimited_credits deny_model file_lifetime max_files fault outages
"""
_FREE = frozenset(_WORDS.split())
"""What a file may decide that was only found: not where a key goes or is read from, not what is read or
written elsewhere, not what may be paid twice, not what is carried out. What is not listed is such a thing."""


def of_file(
    command: click.Command, name: str, option: click.Option, file: ProjectFile
) -> tuple[object, str] | None:
    """The value, as click takes it, and where it stands."""
    for heading in headings(command, name):
        section = {plain(key): value for key, value in file.sections.get(heading, {}).items()}
        if name in section:
            return _read(section[name], option, file), f"{file.path}: [{heading}] {name}"
    return None


def check(file: ProjectFile, commands: Mapping[str, click.Command]) -> None:
    """All names and kinds of values in it, for whichever command they are.

    Raises:
        UsageError: something is wrong; all of it is listed.
    """
    faults = [
        f"{file.path}: {fault}"
        for heading, section in file.sections.items()
        for fault in _faults(heading, section, file, commands)
    ]
    if faults:
        raise UsageError("\n".join([*faults, f"To do without the file: --config {NONE}"]))


def _faults(
    heading: str, section: Mapping[str, Any], file: ProjectFile, commands: Mapping[str, click.Command]
) -> Iterator[str]:
    if heading != GENERAL and heading not in commands:
        yield f"[{heading}] is no command{did_you_mean(heading, [GENERAL, *commands])}"
        return
    under = commands.values() if heading == GENERAL else [commands[heading]]
    known = {name: option for command in under for name, option in options(command).items()}
    for key, value in section.items():
        name = plain(key)
        if name != key and name in section:
            yield f"[{heading}] {key}: it stands there twice, as {name} too"
        elif name not in known:
            yield f"[{heading}] {key}: there is no such option{did_you_mean(name, known)}"
        elif fault := _wrong_kind(value, known[name]) or _refused(name, value, file):
            yield f"[{heading}] {key}: {fault}"


def _wrong_kind(value: Any, option: click.Option) -> str:
    if option.is_flag:
        return "" if isinstance(value, bool) else "it is true or false"
    if option.multiple:
        items = list(value.values()) if isinstance(value, dict) and _takes_pairs(option) else value
        is_right = all(map(_is_word, items)) if isinstance(items, list) else _is_word(items)
        return "" if is_right else "it is a text, or a list of texts"
    return "" if _is_word(value) else "it is one text or number"


def _takes_pairs(option: click.Option) -> bool:
    return bool(option.metavar and "=" in option.metavar)


def _is_word(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _refused(name: str, value: Any, file: ProjectFile) -> str:
    """Why a file that was only found does not decide this."""
    from nanobanana_batch.jobs.connection import is_built_in

    if file.is_named or (name in _FREE and (name != "provider" or is_built_in(value))):
        return ""
    what = "a provider that is not built in" if name == "provider" else "this"
    return (
        f"{what} is not taken from a file that was only found, since the folder may be somebody else's; give"
        f" --{name.replace('_', '-')}, set {variable(GENERAL, name)}, or name the file with --config"
    )


def _read(value: Any, option: click.Option, file: ProjectFile) -> object:
    """What TOML has, as the words of a command line; `check` has found it to be of the right kind."""
    if option.is_flag:
        return value
    if option.multiple:
        items = [f"{name}={one}" for name, one in value.items()] if isinstance(value, dict) else value
        return tuple(_word(one, option, file) for one in (items if isinstance(items, list) else [items]))
    return _word(value, option, file)


def _word(value: Any, option: click.Option, file: ProjectFile) -> str:
    """A path is meant from where the file stands."""
    word = str(value)
    is_profile = option.name == "provider" and word.endswith((".yaml", ".yml"))
    is_path = isinstance(option.type, click.Path) or is_profile
    return str(file.path.absolute().parent / word) if is_path else word
