"""The pages for people lead somewhere, have one width, and name commands and options that there are."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nanobanana_batch.cli import commands

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "outputs/*.md", "pipelines/*.md")
    for path in ROOT.glob(pattern)
    if path.is_file()
)
WIDTH = 120
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
_LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
_ELSEWHERE = re.compile(r"[a-z]+:")


def read(path: Path) -> str:
    """A page."""
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The names of a page's headings, as hosts of repositories make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", read(path)), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def told(path: Path) -> Iterator[list[str]]:
    """The words of each command of ours that a page shows, be it in a block or in a sentence."""
    text = read(path)
    blocks = [line for block in _FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    for shown in [*blocks, *re.findall(r"`([^`]+)`", _FENCE.sub("", text))]:
        if found := re.search(r"(?:^|\s)nanobanana-batch\s+(.+)", re.sub(r"\s+#.*|[|;&].*", "", shown)):
            yield found[1].split()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_no_wider_than_a_screen(path: Path) -> None:
    """Pictures and tables, too: a change is then seen where it is."""
    assert [line for line in read(path).splitlines() if len(line) > WIDTH] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(path: Path) -> None:
    """Files, and headings of pages."""
    lost = []
    for link in _LINK.findall(_FENCE.sub("", read(path))):
        name, _, anchor = link.partition("#")
        if _ELSEWHERE.match(link):
            continue
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


def test_the_readme_leads_to_every_page() -> None:
    """In one line each; nobody searches a folder."""
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in _LINK.findall(read(ROOT / "README.md"))}
    assert {path for path in PAGES if path.name != "README.md"} <= linked


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_page_are_ours(path: Path) -> None:
    """What a page shows can be typed; the changelog tells of what was."""
    for name, *words in told(path):
        if name.startswith("-"):
            continue
        command = commands.commands[name]
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= {*known, "--help"}, (name, words)


def test_the_page_of_commands_has_each_of_them() -> None:
    """As `--help` does."""
    listed = re.findall(r"^- `nanobanana-batch ([\w-]+)", read(ROOT / "docs" / "commands.md"), re.M)
    assert sorted(listed) == sorted(commands.list_commands(click.Context(commands)))


def test_every_option_that_a_page_names_is_one() -> None:
    """In a sentence, without its command."""
    programs = [commands, *commands.commands.values()]
    params = [param for program in programs for param in program.params]
    known = {option for param in params for option in (*param.opts, *param.secondary_opts)} | {"--help"}
    pages = [
        ROOT / "README.md",
        ROOT / "SECURITY.md",
        *(path for path in PAGES if path.parent == ROOT / "docs"),
    ]
    for path in pages:
        named = re.findall(r"`[^`]*?(?<![\w-])(--[a-z][a-z-]+)", _FENCE.sub("", read(path)))
        assert set(named) <= known, path


def test_the_licence_that_is_declared_goes_with_the_package() -> None:
    """MIT asks that its text goes with every copy."""
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
    assert read(ROOT / "LICENSE").startswith("MIT License\n")
