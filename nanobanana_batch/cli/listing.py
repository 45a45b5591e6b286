"""The commands, in the order in which a person needs them; each file is read when its command is asked for.

Most of what a command takes to start is what it imports, and a page that lists them all needs none of it.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import NamedTuple

import click


class Listed(NamedTuple):
    """Where a command is, and what the list says of it; a test holds that beside its own page of help."""

    module: str
    summary: str


LISTED = {
    "init": Listed("init_command", "Write a first manifest and a Makefile."),
    "plan": Listed("manifest_commands", "Say what a run of MANIFEST would do; send nothing."),
    "run": Listed("manifest_commands", "Make what MANIFEST asks for and is not made yet."),
    "status": Listed("folder_commands", "Say how the output FOLDER stands; also while a run is going."),
    "retry": Listed("folder_commands", "Pay again for rows of FOLDER that did not complete."),
    "results": Listed("folder_commands", "Write results.csv of the output FOLDER anew."),
    "gallery": Listed("gallery_command", "Make a page that shows what output folders hold."),
    "report": Listed("report_command", "Write a page on how the runs of each output FOLDER went."),
    "check": Listed("check_command", "Look at every image of output FOLDERs: is it any good?"),
    "export": Listed("export_command", "Make a data set, a table or a contact sheet."),
    "from-image": Listed("from_image_command", "Print the rows that images were made for."),
    "audit": Listed("folder_commands", "Check that all that was sent, paid and saved is explained."),
    "merge": Listed("merge_command", "Tell several output FOLDERs as one, with one results.csv."),
    "doctor": Listed("doctor_command", "Check all that a run needs; costs nothing."),
    "serve": Listed("service_commands", "Run the embedded API service alone, on 127.0.0.1."),
    "models": Listed("service_commands", "List the known models and what each allows."),
    "prices": Listed("prices_command", "Say what images cost; no key is needed."),
    "schema": Listed("schema_command", "Print the JSON Schema of YAML manifests."),
    "completion": Listed(
        "completion_command", "Print a script by which bash, zsh or fish completes commands."
    ),
}


class Commands(MutableMapping[str, click.Command]):
    """All of them by name, as click asks for them."""

    def __init__(self) -> None:
        self._read: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._read:
            module = import_module(f"{__package__}.{LISTED[name].module}")
            self._read[name] = getattr(module, name.replace("-", "_"))
        return self._read[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._read[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("no command of ours goes")

    def __iter__(self) -> Iterator[str]:
        return iter(LISTED)

    def __len__(self) -> int:
        return len(LISTED)
