"""Which defaults are in force for a command, and where each came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from nanobanana_batch.cli.defaults.names import options
from nanobanana_batch.cli.defaults.of_file import check, of_file
from nanobanana_batch.cli.defaults.variables import of_environment, tell_strange_variables
from nanobanana_batch.errors import UsageError
from nanobanana_batch.project_file import ProjectFile, open_project_file

_NAMED = "nanobanana_batch.config"
_IN_FORCE = "nanobanana_batch.in_force"
_WAY = "nanobanana_batch.way"
_PAYING = frozenset({"run", "retry"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One that is in force."""

    option: str
    value: object
    """As click takes it."""
    source: str
    """The variable, or the file and its heading."""
    file: str = ""
    """The file's path, if it is of one."""

    @property
    def text(self) -> str:
        """As a person would write it."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        shown = ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in values)
        return f"{self.option} {shown}"


def take(context: click.Context, named: str | None) -> None:
    """Read them, from the file that a person names or the one that is found, and have click use them.

    Raises:
        UsageError: something of it cannot be used.
    """
    commands = _every_command(context)
    tell_strange_variables(commands, pays=context.command.name in _PAYING)
    file = open_project_file(named)
    if file is not None:
        check(file, commands)
    settings = _settings(context, file)
    context.meta[_NAMED], context.meta[_IN_FORCE] = named, settings
    context.meta[_WAY] = _way(context, settings, file)
    context.default_map = {name: setting.value for name, setting in settings.items()}


def settings_of(context: click.Context) -> Sequence[Setting]:
    """What holds for a command that has been parsed, where its command line did not say otherwise."""
    settings: Mapping[str, Setting] = context.meta.get(_IN_FORCE, {})
    by_default = click.core.ParameterSource.DEFAULT_MAP
    return [one for name, one in settings.items() if context.get_parameter_source(name) is by_default]


def settings_for(context: click.Context, name: str) -> Sequence[Setting]:
    """What would hold for another command.

    Raises:
        UsageError: something of it cannot be used.
    """
    other = click.Context(_every_command(context)[name])
    return list(_settings(other, open_project_file(context.meta.get(_NAMED))).values())


def refuse_another_way(context: click.Context) -> None:
    """An address that was set with one provider is none for another that is named now, nor for `local`.

    Else what costs nothing would pay where the address leads.

    Raises:
        UsageError: it would hold for that one.
    """
    from nanobanana_batch.jobs.connection import is_embedded

    url, meant = context.meta.get(_WAY, (None, ""))
    is_used = context.get_parameter_source("base_url") is click.core.ParameterSource.DEFAULT_MAP
    named = context.params.get("provider")
    if url is None or not is_used or not named or named == meant or not (meant or is_embedded(named)):
        return
    whose = f"set with --provider {meant}" if meant else "set for all"
    raise UsageError(
        f"The provider is {named}, but --base-url {url.value} is {whose} ({url.source}); nothing was sent.",
        hint=f"Give --base-url as well, or take it away where it is set ({url.file or url.source}).",
    )


def _every_command(context: click.Context) -> Mapping[str, click.Command]:
    program = context.find_root().command
    return (
        program.commands if isinstance(program, click.Group) else {str(context.command.name): context.command}
    )


def _settings(context: click.Context, file: ProjectFile | None) -> dict[str, Setting]:
    """By the name of the parameter; each value is one that its option takes."""
    settings, faults = {}, []
    for name, option in options(context.command).items():
        setting = _setting(context.command, name, option, file)
        if setting is not None and option.name is not None:
            settings[option.name] = setting
            faults += _faults(context, option, setting)
    if faults:
        raise UsageError("\n".join(faults))
    return settings


def _setting(
    command: click.Command, name: str, option: click.Option, file: ProjectFile | None
) -> Setting | None:
    if found := of_environment(command, name, option):
        return Setting(name, *found)
    if file is not None and (found := of_file(command, name, option, file)):
        return Setting(name, *found, file=str(file.path))
    return None


def _way(
    context: click.Context, settings: Mapping[str, Setting], file: ProjectFile | None
) -> tuple[Setting | None, str]:
    """An address that is set, and the provider that is set with it, if one is."""
    url, with_it = settings.get("base_url"), settings.get("provider")
    if url is None or with_it is None:
        return url, ""
    if url.file and not with_it.file and file is not None:  # that variable goes before what stands there
        found = of_file(context.command, "provider", options(context.command)["provider"], file)
        return url, str(found[0]) if found else ""
    return url, str(with_it.value)


def _faults(context: click.Context, option: click.Option, setting: Setting) -> list[str]:
    try:
        value = option.type_cast_value(context, setting.value)
        if option.callback is not None:
            option.callback(context, option, value)
    except click.BadParameter as error:
        return [f"{setting.source}: {error.message}"]
    return []
