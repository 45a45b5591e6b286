"""Where a value is handled on its way from manifest to results: the files, and the forms in which it is held.

    python -m benchmarks.walk prompt [task_id ...] [--tree FOLDER]

Read from the syntax tree, without the embedded service, which has words of its own. A file handles a value
where it has an attribute, a variable, a parameter, a keyword or a key of that name, or says it in a text,
alone or in SQL. A form is a field of a class of that name, or the file in which it is a key of a mapping;
that the state has a column for it is not counted.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nanobanana_batch

_SQL = re.compile(r"\b(SELECT|CREATE|INSERT|UPDATE|WHERE)\b")


def handles(node: ast.AST, name: str) -> bool:
    """Whether a part of the syntax tree has to do with a value of this name."""
    match node:
        case ast.Attribute(attr=found) | ast.Name(id=found) | ast.keyword(arg=found) | ast.arg(arg=found):
            return found == name
        case ast.Constant(value=str(text)):
            return text == name or bool(_SQL.search(text) and re.search(rf"\b{name}\b", text))
    return False


def forms(node: ast.AST, name: str, file: str) -> Iterator[str]:
    """What holds a value of this name, as far as this part of the tree says."""
    match node:
        case ast.ClassDef(name=owner, body=body):
            for part in body:
                if isinstance(part, ast.AnnAssign) and ast.unparse(part.target) == name:
                    yield f"{owner}.{name} ({file})"
        case ast.Dict(keys=keys) if any(isinstance(key, ast.Constant) and key.value == name for key in keys):
            yield f"key in {file}"
        case ast.Subscript(slice=ast.Constant(value=key)) if key == name:
            yield f"key in {file}"


def walk(package: Path, name: str) -> tuple[list[str], set[str]]:
    """The files that handle a value of this name, and its forms."""
    files, held = [], set[str]()
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        if not file.startswith("service/"):
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            files += [file] if any(handles(node, name) for node in nodes) else []
            held |= {form for node in nodes for form in forms(node, name, file)}
    return files, held


def main() -> None:
    """Print both for each name."""
    parser = argparse.ArgumentParser(description="Where a value is handled.")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--tree", type=Path, default=Path(nanobanana_batch.__file__).parent.parent)
    given = parser.parse_args()
    for name in given.names:
        files, held = walk(given.tree / "nanobanana_batch", name)
        print(f"{name}: {len(files)} files, {len(held)} forms")
        print(*(f"  {line}" for line in (*files, *sorted(held))), sep="\n")


if __name__ == "__main__":
    main()
