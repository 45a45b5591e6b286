"""Imports point down, as docs/design.md says; read from the source, so that no room is forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import nanobanana_batch

PACKAGE = Path(nanobanana_batch.__file__).parent
NAME = "nanobanana_batch"


@dataclass(frozen=True)
class Import:
    """One import, wherever in a file it stands."""

    importer: str
    target: str
    at_start: bool
    """Carried out when the file is imported: not in a function, not for type checkers only."""
    for_types: bool

    def __str__(self) -> str:
        return f"{self.importer} imports {self.target}"


def files() -> dict[str, Path]:
    """Every module of the package by its dotted name, without the package's."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


FILES = files()


def is_type_checking(node: ast.stmt) -> bool:
    """Whether a statement is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def targets(node: ast.Import | ast.ImportFrom, module: str, path: Path) -> Iterator[str]:
    """What an import statement names; names that are modules of ours count as such."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        package = [NAME, *filter(None, module.split("."))]
        package = package if path.name == "__init__.py" else package[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
    for alias in node.names:
        inner = f"{base}.{alias.name}".removeprefix(f"{NAME}.")
        yield f"{base}.{alias.name}" if base.startswith(NAME) and inner in FILES else base


def imports_of(module: str, text: str) -> list[Import]:
    """All imports of a module with this text."""
    path = FILES[module]
    found: list[Import] = []

    def walk(nodes: list[ast.stmt], at_start: bool, for_types: bool) -> None:
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                found.extend(
                    Import(module, target, at_start and not for_types, for_types)
                    for target in targets(node, module, path)
                )
            inside = at_start and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
            blocks += [handler.body for handler in getattr(node, "handlers", [])]
            blocks += [case.body for case in getattr(node, "cases", [])]
            for number, block in enumerate(blocks):
                walk(block, inside, for_types or (number == 0 and is_type_checking(node)))

    walk(ast.parse(text).body, True, False)
    return found


IMPORTS = [
    found for module, path in FILES.items() for found in imports_of(module, path.read_text(encoding="utf-8"))
]


def ours(target: str) -> str | None:
    """The module's name without the package's, or None for what is not ours."""
    if target == NAME:
        return ""
    return target.removeprefix(f"{NAME}.") if target.startswith(f"{NAME}.") else None


def room(module: str) -> str:
    """The first part of a name; of what commands do each job is a room."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "jobs" else 1])


BELOW: dict[str, set[str]] = {
    "defaults": set(),
    "digests": set(),
    "wording": set(),
    "errors": {"wording"},
    "steady": set(),
    "problems": {"errors", "wording"},
    "model": set(),
    "fidelity": {"model"},
    "file_names": set(),
    "visible": set(),
    "commands": set(),
    "project_file": {"errors", "files"},
    "catalog": {"wording", "errors", "model"},
    "user_folders": set(),
    "sharing": {"wording"},
    "provider_names": set(),
    "object_storage": {"errors", "wording"},
    "journals": {"errors", "wording", "files", "state", "object_storage"},
    "spreadsheets": set(),
    "collection": {
        "errors",
        "wording",
        "model",
        "fidelity",
        "provider_names",
        "files",
        "state",
        "spreadsheets",
    },
    "checks": {"defaults", "errors", "wording", "model", "fidelity", "files", "collection"},
    "provenance": {"errors", "model", "files", "collection"},
    "pricing": {"errors", "model", "catalog", "user_folders"},
    "files": {"errors", "commands", "file_names", "visible", "model", "user_folders"},
    "state": {"errors", "commands", "file_names", "problems", "model", "fidelity"},
    "manifest": {
        "wording",
        "errors",
        "file_names",
        "problems",
        "model",
        "catalog",
        "files",
        "state",
        "results",
        "collection",
    },
    "providers": {"wording", "errors", "steady", "model", "files", "catalog", "pricing", "provider_names"},
    "engine": {"wording", "errors", "commands", "steady", "model", "fidelity", "files", "state", "providers"}
    | {"defaults", "provider_names", "sharing"},
    "results": {"errors", "model", "fidelity", "files", "state", "estimates", "live"}
    | {"spreadsheets", "collection", "waiting_lines"},
    "waiting_lines": {"model", "state"},
    "estimates": {"errors", "model", "state", "pricing"},
    "exports": {
        "digests",
        "errors",
        "wording",
        "file_names",
        "visible",
        "model",
        "files",
        "results",
        "collection",
    }
    | {"provenance", "object_storage"},
    "galleries": {"digests", "serving", "errors", "model", "files", "collection", "file_names"},
    "reports": {
        "errors",
        "wording",
        "visible",
        "commands",
        "model",
        "provider_names",
        "files",
        "state",
        "results",
        "collection",
    },
    "serving": set(),
    "service": {"serving"},
    "live": {"errors", "wording", "files", "engine"},
    "screen": {"visible", "wording", "engine", "live", "results"},
    "receiver": {"errors"},
    "jobs.connection": {"defaults", "errors", "model", "catalog", "files", "pricing", "providers", "service"}
    | {"provider_names"},
    "jobs.session": {"errors", "commands", "model", "files", "state", "providers", "engine", "receiver"}
    | {"estimates", "live", "sharing", "journals", "jobs.connection"},
    "jobs.starter": {"errors"},
    "jobs.results_mark": {"errors", "files", "state", "jobs.session"},
    "jobs.unchanged": {"errors", "files", "state", "jobs.order"},
    "jobs.opening": {"errors", "file_names", "files", "state", "journals", "jobs.journaling"},
    "jobs.journaling": {"errors", "commands", "wording", "files", "state", "journals", "jobs.rebuild"},
    "jobs.rebuild": {"errors", "model", "files", "state"},
    "jobs.pilot": {"errors", "model", "state", "engine", "pricing", "estimates"},
    "jobs.order": {"errors", "problems", "model", "files", "state", "manifest", "providers"}
    | {"provider_names", "jobs.connection", "jobs.session"},
    "jobs.outcome": {"errors", "model", "files", "state", "results", "pricing", "providers"}
    | {"provider_names", "jobs.connection", "jobs.session", "jobs.pilot", "jobs.results_mark"},
    "jobs.collect": {"errors", "files", "state", "engine", "jobs.journaling"}
    | {"jobs.connection", "jobs.session", "jobs.opening", "jobs.order", "jobs.outcome"},
    "jobs.retry": {"errors", "model", "files", "state", "engine"}
    | {"jobs.connection", "jobs.collect", "jobs.outcome"},
    "jobs.run": {"wording", "errors", "files", "state", "manifest", "engine", "estimates", "receiver"}
    | {"jobs.connection", "jobs.session", "jobs.opening", "jobs.order", "jobs.outcome", "jobs.pilot"}
    | {"jobs.shards", "jobs.journaling", "journals", "sharing", "jobs.unchanged"},
    "jobs.plan": {"wording", "errors", "model", "files", "state", "manifest", "catalog", "providers"}
    | {"defaults", "pricing", "estimates", "jobs.connection", "jobs.order", "jobs.pilot"}
    | {"jobs.shards", "journals"},
    "jobs.shards": {"errors", "files", "state"},
    "jobs.merge": {"wording", "errors", "files", "state", "results"}
    | {"jobs.audit", "jobs.connection", "jobs.outlook"},
    "jobs.procs": {"wording", "errors", "steady", "model", "files", "state", "engine", "sharing"}
    | {"jobs.merge", "jobs.order", "jobs.outcome", "jobs.run", "jobs.shards"},
    "jobs.prices": {"errors", "model", "catalog", "providers", "pricing", "jobs.connection"},
    "jobs.told": {"errors", "engine", "live", "jobs.outcome"},
    "jobs.outlook": {"errors", "files", "state", "providers", "pricing", "estimates", "results", "live"}
    | {"defaults", "provider_names", "jobs.connection"},
    "jobs.report": {"errors", "collection", "files", "reports", "jobs.outlook"},
    "jobs.audit": {"errors", "commands", "file_names", "model", "fidelity", "files", "state", "engine"}
    | {"jobs.connection", "jobs.collect", "jobs.outcome"},
    "jobs.doctor": {"wording", "errors", "commands", "files", "state", "providers", "engine", "pricing"}
    | {"jobs.connection", "jobs.prices"},
    "jobs": set(),
    "api": {"defaults", "wording", "visible", "errors", "problems", "commands", "file_names", "model"}
    | {"files", "state", "manifest", "engine", "live", "screen", "results", "exports", "galleries"}
    | {"jobs.audit", "jobs.connection", "jobs.order", "jobs.outcome", "jobs.outlook", "jobs.plan"}
    | {"jobs.retry", "jobs.run", "jobs.session", "jobs.told", "jobs.report", "reports"}
    | {"checks", "provenance", "jobs.merge", "jobs.procs", "ray_runner"},
    "ray_runner": {"errors", "model", "files", "state", "sharing", "engine", "object_storage", "providers"}
    | {"jobs.connection", "jobs.merge", "jobs.order", "jobs.outcome", "jobs.procs", "jobs.run", "journals"}
    | {"wording"},
    "__main__": {"cli"},
    "cli": {"wording", "errors", "commands", "visible", "model", "files", "state", "catalog", "engine"}
    | {"collection"}
    | {"results", "exports", "service", "manifest", "estimates", "pricing", "receiver", "live", "screen"}
    | {"galleries", "defaults", "api", "project_file", "jobs.starter"}
    | {"jobs.audit", "jobs.connection", "jobs.doctor", "jobs.order", "jobs.outcome", "jobs.outlook"}
    | {"jobs.pilot", "jobs.plan", "jobs.prices", "jobs.rebuild", "jobs.retry", "jobs.run", "jobs.session"}
    | {"jobs.told", "jobs.merge"}
    | {"checks", "provenance"},
}
"""Each room and whom it may know; `cli` and what composes the rooms stand at the end."""


def wrong(rule: str, allowed: set[str], importers: list[str]) -> list[str]:
    """Imports of ours by some modules that are not among the allowed rooms."""
    return [
        f"{found} ({rule})"
        for found in IMPORTS
        if found.importer in importers
        and (target := ours(found.target)) is not None
        and target != ""
        and room(target) not in {*allowed, room(found.importer)}
    ]


def test_every_room_has_a_rule() -> None:
    """A new one has to say where it stands."""
    assert {room(module) for module in FILES} - {""} <= set(BELOW)


@pytest.mark.parametrize("name", BELOW)
def test_a_room_knows_only_those_below(name: str) -> None:
    """cli -> engine -> {providers, state, files} -> model -> errors, and beside that as the table says."""
    assert wrong("not below it", BELOW[name], [module for module in FILES if room(module) == name]) == []


def reachable(start: str) -> set[str]:
    """Every name that a room leads to, also in functions, and what those import."""
    seen: set[str] = set()
    waiting = [module for module in FILES if room(module) == start]
    while waiting:
        module = waiting.pop()
        for found in IMPORTS:
            if found.importer == module and found.target not in seen and not found.for_types:
                seen.add(found.target)
                target = ours(found.target)
                if target in FILES:
                    waiting.append(target)
    return seen


@pytest.mark.parametrize("name", ["manifest", "state", "results", "exports"])
def test_what_people_read_and_write_knows_no_network(name: str) -> None:
    """Not even around a corner: no HTTP client, no anyio, no provider."""
    led_to = {target.partition(".")[0] for target in reachable(name)}
    assert not led_to & {"httpx", "aiohttp", "anyio", "asyncio", "requests", "urllib3"}
    assert not {target for target in reachable(name) if (ours(target) or "").startswith("providers")}


def test_the_engine_knows_no_concrete_provider() -> None:
    """Another kind of provider is another file, and no change in the engine."""
    known = {
        found.target for found in IMPORTS if room(found.importer) == "engine" and "providers" in found.target
    }
    assert known == {f"{NAME}.providers.base"}


WHOLE_RUN = "engine.assembly"


def knowing_the_whole_run(imports: Iterable[Import]) -> set[str]:
    """Modules of the engine that could touch every part of a run."""
    return {
        found.importer
        for found in imports
        if room(found.importer) == "engine" and ours(found.target) == WHOLE_RUN
    }


def test_no_stage_knows_the_whole_run() -> None:
    """It is given what it uses, in its constructor; only who joins the stages sees all parts."""
    assert WHOLE_RUN in FILES
    assert knowing_the_whole_run(IMPORTS) == {"engine.run"}


@pytest.mark.parametrize("indent", ["", "if TYPE_CHECKING:\n    ", "def go():\n    "])
def test_a_stage_that_did_would_be_found(indent: str) -> None:
    """Also where it imports that in a function, or for types only."""
    text = f"{indent}from nanobanana_batch.{WHOLE_RUN} import Parts"
    assert "engine.stages.wait" in knowing_the_whole_run(imports_of("engine.stages.wait", text))


def test_no_value_that_stages_are_given_is_a_whole_run() -> None:
    """Few parts each, that belong together."""
    nodes = ast.parse(FILES["engine.parts"].read_text(encoding="utf-8")).body
    sizes = {
        node.name: sum(isinstance(each, ast.AnnAssign) for each in node.body)
        for node in nodes
        if isinstance(node, ast.ClassDef)
    }
    assert len(sizes) > 1
    assert max(sizes.values()) <= 8, sizes


def test_the_service_shares_nothing_with_the_client() -> None:
    """A service that used the client's parser, tables or state could not catch its mistakes.

    How a server is started and ended is neither; and that room knows nothing of ours.
    """
    shared = {ours(found.target) for found in IMPORTS if room(found.importer) == "service"} - {None}
    assert {room(str(target)) for target in shared} <= {"service", "serving"}


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        (
            "httpx",
            (
                "providers.http",
                "providers.link_http",
                "providers.link_ways",
                "providers.transports",
            ),
        ),
        ("httptools", ("providers.fresh_posts",)),
        ("aiohttp", ("providers.failure_words", "providers.kept", "providers.link_ways", "providers.pooled")),
        ("certifi", ("providers.trust",)),
        ("resource", ("files.descriptors",)),
        ("sqlite3", ("state", "service", "files.temporary_database")),
        ("pandas", ("results", "exports", "api")),
        ("fcntl", ("files.lock", "service", "manifest.rows.apart")),
        ("click", ("cli",)),
        ("tqdm", ("screen",)),
        ("ray", ("ray_runner",)),
        ("fsspec", ("object_storage",)),
        ("starlette", ("service", "galleries.server")),
        ("h11", ("receiver", "service")),
        ("pyarrow", ("manifest.read.parquet", "manifest.read.parquet_bounds", "exports")),
        ("openpyxl", ("manifest.read.workbook",)),
        ("zstandard", ("manifest.read.unpack",)),
        ("uvicorn", ("serving", "service", "galleries.server")),
        ("PIL", ("service", "exports", "api", "checks", "galleries")),
        ("imagehash", ("checks.pixels",)),
    ],
)
def test_a_library_is_known_to_few(library: str, allowed: tuple[str, ...]) -> None:
    """What only one room imports can be replaced in one room."""
    importers = {found.importer for found in IMPORTS if found.target.partition(".")[0] == library}
    strangers = {
        module
        for module in importers
        if not any(module == name or module.startswith(f"{name}.") for name in allowed)
    }
    assert not strangers


def test_the_libraries_above_are_really_found() -> None:
    """The test would hold nothing if it saw no imports."""
    seen = {found.target.partition(".")[0] for found in IMPORTS}
    assert {"httpx", "aiohttp", "sqlite3", "pandas", "fcntl", "click", "starlette", "anyio"} <= seen


def packages(module: str) -> set[str]:
    """Those that a module is in: they are carried out before it."""
    parts = module.split(".")[:-1]
    return {".".join(parts[: count + 1]) for count in range(len(parts))}


def needs(found: Import) -> set[str]:
    """Our modules that an import carries out: the one that it names, and the packages that that is in."""
    target = ours(found.target)
    if target is None or target not in FILES:
        return set()
    return {target} | packages(target) - packages(found.importer) - {found.importer}


def in_cycles(below: Mapping[str, set[str]]) -> set[str]:
    """Names that lead back to themselves, and what stands between two such cycles."""
    left = dict(below)
    while ends := {name for name, others in left.items() if not others & set(left)} | (
        set(left) - set().union(*left.values())
    ):
        for name in ends:
            del left[name]
    return set(left)


def below_each(imports: Iterable[Import]) -> dict[str, set[str]]:
    """What each module of ours needs."""
    below: dict[str, set[str]] = {module: set() for module in FILES}
    for found in imports:
        below[found.importer] |= needs(found)
    return below


def test_there_is_no_cycle() -> None:
    """Modules can be imported in any order, and understood in one.

    Every import counts: those in functions, which a change of order would make fail, those for type checkers
    only, since who reads a signature reads the other file, and those of packages on the way.
    """
    assert in_cycles(below_each(IMPORTS)) == set()


def test_no_room_stands_below_itself() -> None:
    """Neither by what the table above allows."""
    assert in_cycles(BELOW) == set()


@pytest.mark.parametrize(
    ("importer", "text", "cycle"),
    [
        ("cli.text", "from nanobanana_batch.cli.plan_text import plan_text", {"cli.text", "cli.plan_text"}),
        (
            "cli.text",
            "def table():\n    with x:\n        from nanobanana_batch.cli import plan_text",
            {"cli.text", "cli.plan_text"},
        ),
        (
            "catalog.rules",
            "if TYPE_CHECKING:\n    from .checks import check_images",
            {"catalog.rules", "catalog.checks"},
        ),
        ("catalog.findings", "import nanobanana_batch.catalog.catalog", None),
        ("catalog.findings", "from nanobanana_batch.cli.show import show", None),
        ("errors", "import nanobanana_batch.errors", {"errors"}),
    ],
    ids=["at once", "in a function", "for types", "of many", "the package of a module", "itself"],
)
def test_a_cycle_would_be_found(importer: str, text: str, cycle: set[str] | None) -> None:
    """Of any kind of import; one import makes it, so that all of it hangs on that one."""
    found = in_cycles(below_each([*IMPORTS, *imports_of(importer, text)]))
    assert importer in found
    assert cycle is None or found == cycle


def test_starting_the_command_line_loads_no_heavy_library() -> None:
    """`--help` and `status` answer at once: what is heavy is imported where it is used."""
    started, waiting = {"cli"}, ["cli"]
    loaded: set[str] = set()
    while waiting:
        module = waiting.pop()
        for found in IMPORTS:
            if found.importer == module and found.at_start:
                loaded.add(found.target.partition(".")[0])
                target = ours(found.target)
                if target in FILES and target not in started:
                    started.add(str(target))
                    waiting.append(str(target))
    heavy = {"pandas", "pyarrow", "httpx", "aiohttp", "starlette", "uvicorn", "PIL", "pydantic"}
    assert not loaded & {*heavy, "openpyxl", "zstandard"}
    assert not loaded & {"yaml", "sqlite3", "tqdm", "anyio"}
