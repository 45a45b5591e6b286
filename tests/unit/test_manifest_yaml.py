"""YAML without its traps, and every error with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nanobanana_batch.manifest.read import yaml_file
from nanobanana_batch.manifest.read.nodes import Map, Scalar, Seq, place
from nanobanana_batch.manifest.read.yaml_file import parse_nodes


@pytest.fixture(params=["c", "python"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no C loader the pure one has to do the same."""
    if request.param == "python":
        monkeypatch.setattr(yaml_file, "_LOADER", yaml.SafeLoader)


def plain(node: object) -> object:
    if isinstance(node, Map):
        return {key: plain(value) for key, (_, value) in node.entries.items()}
    if isinstance(node, Seq):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.text


def read(text: str) -> object:
    root, problems = parse_nodes(text.encode(), "m.yaml")
    assert problems == []
    return plain(root)


def fault(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    _, problems = parse_nodes(data, "m.yaml")
    assert problems
    return str(problems[0])


def test_every_scalar_is_text() -> None:
    """No times of day, no truths, no numbers, no dates."""
    for word in (
        "on",
        "Off",
        "y",
        "N",
        "TRUE",
        "0o17",
        "0b1",
        "1_000",
        "+12",
        ".5",
        ".NaN",
        "1:30:00",
        "<<x",
    ):
        assert read(f"{{a: {word}}}") == {"a": word}
    text = "{a: 16:9, b: no, c: 007, d: 2026-11-21, e: 1e3, f: 0x10, g: .inf, h: =}"
    assert read(text) == {
        "a": "16:9",
        "b": "no",
        "c": "007",
        "d": "2026-11-21",
        "e": "1e3",
        "f": "0x10",
        "g": ".inf",
        "h": "=",
    }
    assert read("yes: 1\n1: 2\nnull_: x\n") == {"yes": "1", "1": "2", "null_": "x"}


def test_null_is_not_given_but_quoted_text_is() -> None:
    """An empty text in quotes is an empty text."""
    text = 'a: null\nb: ~\nc:\nd: ""\ne: "null"\nf: \'~\'\n'
    assert read(text) == {"a": None, "b": None, "c": None, "d": "", "e": "null", "f": "~"}


def test_anchors_and_merge_keys() -> None:
    """What is written beside `<<` wins, the first of several merged mappings wins."""
    text = (
        "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\none: {<<: *b, x: 9}\ntwo: {<<: [*b, *o]}\nl: [*b]\n"
    )
    content = read(text)
    assert isinstance(content, dict)
    assert content["one"] == {"x": "9", "y": "2"}
    assert content["two"] == {"x": "1", "y": "2", "z": "4"}
    assert content["l"] == [{"x": "1", "y": "2"}]


def test_places_count_from_one() -> None:
    """As editors do."""
    root, _ = parse_nodes(b"a: 1\nb:\n  c: 16:9\n", "m.yaml")
    assert root is not None
    inner = root.get("b")
    assert isinstance(inner, Map)
    value = inner.get("c")
    assert value is not None
    assert place("m.yaml", value.pos) == "m.yaml:3:6"
    assert place("m.yaml", inner.entries["c"][0]) == "m.yaml:3:3"


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", "m.yaml:3:1", "twice (first in line 1)"),
        ("a: !x 1\n", "m.yaml:1:4", "tag"),
        ("a: !!python/object:os.system 1\n", "m.yaml:1:4", "tag"),
        ("a: !!str 1\n", "m.yaml:1:4", "tag"),
        ("a: ! 1\n", "m.yaml:1:4", "tag"),
        ("a: !!map {}\n", "m.yaml:1:4", "tag"),
        ("a:\n\t- 1\n", "m.yaml:2:1: a", "spaces, not tabs"),
        ("a: b: c\n", "m.yaml:1:5", "in quotes"),
        ("a: [1, 2\n", "m.yaml:1:4", "not closed with ]"),
        ("a: [x,,y]\n", "m.yaml:1:7: a[1]", "a value is missing"),
        ("a: {b: 1\nc: 2\n", "m.yaml:1:4", "not closed with }"),
        ('a: "open\n', "m.yaml:1:4: a", "never closed"),
        ('a: "open\nb: c\n', "m.yaml:1:4: a", "never closed"),
        ("a: {b} c\n", "m.yaml:1:5: a.b", "in quotes"),
        ('a: "b" c\n', "m.yaml:1:8", 'goes on behind "'),
        ("a: ['b' c]\n", "m.yaml:1:9: a[1]", "goes on behind '"),
        ("a: [b [c]]\n", "m.yaml:1:7: a[1]", "a comma or the closing ]"),
        ("a:\n  b: 1\n c: 2\n", "m.yaml:3:2", "check the indentation"),
        ("a:\n  - 1\n  b\n", "m.yaml:3:3: a[1]", "a ':' missing"),
        ("- a\nb: c\n", "m.yaml:2:1: [1]", "a list goes on with"),
        ("a: - b\n", "m.yaml:1:4: a", "the line after its key"),
        ("a: *b*\n", "m.yaml:1:4: a", "has to be in quotes"),
        ("a: & b\n", "m.yaml:1:4: a", "has to be in quotes"),
        ("a: @b\n", "m.yaml:1:4: a", "begins with '@'"),
        ("a: |b\n", "m.yaml:1:4: a", "begins in the next line"),
        ("%YAML 3.0\n---\na: b\n", "m.yaml:1:1", "leave it out"),
        ("a: b\n...\nc: d\n", "m.yaml:3:1", "after the end"),
        ("a: {b, c: d}\n", "m.yaml:1:5: a.b", "stands alone"),
        ("a: {b: Paris, France}\n", "m.yaml:1:15: a.France", "text with a comma"),
        ("a: *nowhere\n", "m.yaml:1:4", "no anchor"),
        ("a: &x [*x]\n", "m.yaml:1:8", "inside of what it refers to"),
        ("a: 1\n---\nb: 2\n", "m.yaml:2:1", "second document"),
        ("? [a]\n: 1\n", "m.yaml:1:3", "key has to be a text"),
        ("~: 1\n", "m.yaml:1:1", "key has to be a text"),
        ("<<: 1\n", "m.yaml:1:5", "merges mappings"),
        ("- a\n- b\n", "m.yaml:1:1", "`rows:`"),
        ("just text\n", "m.yaml:1:1", "pairs at the top"),
        ("a:b\n", "m.yaml:1:1", "a blank behind the colon"),
        ("a: 1\nb: \x00\n", "m.yaml:2:4", "not allowed"),
        ("a: \x07\n", "m.yaml:1:4", "not allowed"),
        ('a: "\\0"\n', "m.yaml:1:4", "control character"),
        ("", "m.yaml", "empty"),
        ("# only a comment\n", "m.yaml", "empty"),
        ("[" * 100, "m.yaml:1:33", "deeper than 32"),
        ("{a: " * 100, "m.yaml:1:1", "deeper than 32"),
    ],
)
def test_errors_have_a_place_and_help(text: str, place: str, part: str) -> None:
    """Never a traceback of the parser."""
    message = fault(text)
    assert message.startswith(f"{place}: " if "{a:" not in text else "m.yaml:1:")
    assert part in message


def test_undecodable_bytes_name_the_line() -> None:
    """And say what to do."""
    assert fault(b"a: 1\nb: \xff\n").startswith("m.yaml:2: not UTF-8")
    assert "iconv -f WINDOWS-1252" in fault("a: caf\xe9\n".encode("latin-1"))
    assert "damaged UTF-16" in fault("a: b".encode("utf-16")[:-1])


def test_utf16_and_any_line_end_are_read() -> None:
    """As spreadsheets and editors of other systems write them."""
    text = "a: é\r\nb: |\r\n  one\r\n  two\r\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        root, problems = parse_nodes(text.encode(encoding), "m.yaml")
        assert problems == []
        assert plain(root) == {"a": "é", "b": "one\ntwo\n"}
    assert read("a: 1\rb: 2\r") == {"a": "1", "b": "2"}


def test_a_key_without_a_value_has_to_say_so() -> None:
    """`{city: Paris, France}` would make a key France; with a colon the value is left out on purpose."""
    assert read("a: {b: , c: }\n") == {"a": {"b": None, "c": None}}
    assert read("? a\n? b\n") == {"a": None, "b": None}


def test_several_problems_are_found_together() -> None:
    """Those after which reading can go on."""
    _, problems = parse_nodes(b"a: !x 1\na: 2\nb: *c\n", "m.yaml")
    assert len(problems) == 3


def test_aliases_cannot_explode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A billion laughs in 10 lines is refused, whatever it would be used for."""
    monkeypatch.setattr(yaml_file, "MAX_NODES", 10_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "more than 10000 values" in fault("\n".join(lines))
    many = "".join(f"k{n}: 1\n  " for n in range(200))
    merges = "".join(f"m{n}: {{<<: *b}}\n" for n in range(200))
    assert "more than 10000 values" in fault(f"b: &b\n  {many}\n{merges}")


def test_too_many_values_and_bytes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Large data belongs into a table."""
    monkeypatch.setattr(yaml_file, "MAX_NODES", 100)
    assert "table" in fault("a: [" + "x, " * 200 + "]")
    monkeypatch.setattr(yaml_file, "MAX_BYTES", 10)
    path = tmp_path / "m.yaml"
    path.write_text("a: " + "x" * 20)
    _, problems = yaml_file.read_nodes(path, "m.yaml")
    assert "table" in str(problems[0])
