"""What a YAML parser says of a broken document, said so that a person can mend it.

The C parser and the pure one use different words for the same thing; both are told alike, at the place where
the mistake begins rather than where the parser gave up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import yaml

from nanobanana_batch.wording import shown


@dataclass(frozen=True, slots=True)
class YamlFault:
    """Line and column, counted from 1, and a sentence."""

    line: int
    column: int
    message: str
    is_outside: bool = False
    """Whether this is the beginning of something that has been read since."""


@dataclass(frozen=True, slots=True)
class _Rule:
    said: str
    """A pattern for `context: problem`."""
    message: str
    where_it_begins: bool = True
    """Told where the parser began to read the thing, not where it stopped."""


_RULES = (
    _Rule("quoted scalar: .*end of stream", "a quote is opened here and never closed"),
    _Rule(
        "quoted scalar: ",
        'a backslash inside of "..." has a meaning of its own; write it twice, or put the text in \'...\'',
        False,
    ),
    _Rule("(alias|anchor): ", "text that begins with * or & has to be in quotes"),
    _Rule("block scalar: ", "the text of a | or > begins in the next line"),
    _Rule("incompatible", "the line %YAML asks for another YAML than 1.1 or 1.2; leave it out", False),
    _Rule("directive", "a line that begins with % has to be in quotes"),
    _Rule("simple key: ", "a line without `key: value`; is a ':' missing, a `- `, or an indentation?"),
    _Rule("mapping values", "text with ': ' in it has to be in quotes; or the indentation is wrong", False),
    _Rule("sequence entries", "a list begins in the line after its key", False),
    _Rule("node content", "a value is missing here, or a list that is opened above is not closed", False),
    _Rule("document start", "something stands here after the end of the manifest", False),
    _Rule("block collection: ", "a list goes on with `- `, in the same column; check the indentation", False),
)  # fmt: skip
_UNCLOSED = re.compile(r"(flow (?:sequence|mapping)): .*expected ','")


def yaml_fault(error: yaml.YAMLError, text: str) -> YamlFault:
    """What is wrong with this text, and where."""
    context, said = getattr(error, "context", None) or "", getattr(error, "problem", None) or str(error)
    begin, end = getattr(error, "context_mark", None), getattr(error, "problem_mark", None)
    if unclosed := _UNCLOSED.search(f"{context}: {said}"):
        return _unclosed("[" if "sequence" in unclosed[1] else "{", begin or end, end or begin, text)
    if "start any token" in said:
        return _at(end, _bad_token(text, end))
    if "block mapping" in context:
        return _at(end, _bad_mapping(text, end))
    for rule in _RULES:
        if re.search(rule.said, f"{context}: {said}"):
            return _at((begin or end) if rule.where_it_begins else end, rule.message)
    return _at(end or begin, f"not valid YAML: {said}")


def _at(mark: Any, message: str) -> YamlFault:
    return YamlFault(mark.line + 1, mark.column + 1, message) if mark else YamlFault(1, 1, message)


def _unclosed(bracket: str, begin: Any, end: Any, text: str) -> YamlFault:
    closing = "]" if bracket == "[" else "}"
    if end.index >= len(text) or begin.line != end.line:
        message = f"this {bracket} is not closed with {closing}; text that begins with it has to be in quotes"
        return replace(_at(begin, message), is_outside=True)
    before = _last_char(text, end.index)
    if before in "\"'}]":
        return _at(end, f"text goes on behind {before} here; put the whole text in quotes")
    message = f"a comma or the closing {closing} is missing; text with , [ ] {{ }} in it has to be in quotes"
    return _at(end, message)


def _bad_token(text: str, mark: Any) -> str:
    char = text[mark.index : mark.index + 1]
    if char == "\t":
        return "a tab where YAML has none; indent with spaces, not tabs"
    return f"text that begins with {shown(char)} has to be in quotes"


def _bad_mapping(text: str, mark: Any) -> str:
    before = _last_char(text, mark.index)
    if mark.column and before in "\"'}]" and not text[: mark.index].rpartition("\n")[2].isspace():
        return f"text goes on behind {before} here; put the whole text in quotes"
    return "this does not fit what stands above; check the indentation"


def _last_char(text: str, index: int) -> str:
    return text[:index].rstrip(" \t")[-1:] or " "
