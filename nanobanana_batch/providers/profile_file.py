"""A profile file as plain values, with the place of each: every scalar is text, no key stands twice.

YAML's own types would make 969 of 16:9 and false of `no`; here nothing but an empty value is anything
else than what was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from nanobanana_batch.errors import Problem, ProfileError
from nanobanana_batch.files.plain import reading
from nanobanana_batch.provider_names import BUILT_IN
from nanobanana_batch.wording import closest, did_you_mean

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_MAX_BYTES = 1 << 20
_MAX_NODES = 20_000
_MAX_DEPTH = 16
_MAX_PARENTS = 8
_KEY_GOES_TO = ("base_url", "files_url")


@dataclass(slots=True)
class Settings:
    """What a profile says, what it inherits, and where each of it stands."""

    file: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """`file:line` by the path inside, such as `fields.aspect_ratio`."""
    problems: list[Problem] = field(default_factory=list)

    def found(self, path: str, message: str, allowed: tuple[str, ...] = (), suggestion: str = "") -> None:
        """Note what is wrong with the value at a path."""
        self.problems.append(Problem(self._place(path), message, path, allowed, suggestion))

    def _place(self, path: str) -> str:
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self.places.get(path, self.file)


def read_settings(name_or_file: str, children: tuple[str, ...] = ()) -> Settings:
    """A profile with all that it inherits.

    Raises:
        ProfileError: there is no such file, or it is no YAML mapping at all.
    """
    text = _text(name_or_file)
    settings = Settings(name_or_file)
    _Walk(settings).read(text)
    parent = settings.values.pop("extends", None)
    if parent is None:
        return settings
    if not isinstance(parent, str):
        settings.found("extends", "has to be the name of a profile or a file", BUILT_IN)
        return settings
    parent = _beside(name_or_file, parent)
    family = (*children, name_or_file)
    if len(family) > _MAX_PARENTS:
        raise ProfileError(f"Profile {family[0]} extends itself, or too many others.")
    return _inherited(settings, read_settings(parent, family))


def _inherited(own: Settings, parent: Settings) -> Settings:
    is_elsewhere = own.values.get("base_url", parent.values.get("base_url")) != parent.values.get("base_url")
    if is_elsewhere and parent.values.get("idempotency") == "honoured":
        # What one provider says of its keys, nobody has said of another's.
        own.values.setdefault("idempotency", "unproven")
    if "base_url" in own.values and "files_url" not in own.values and parent.values.get("files_url"):
        # Another provider's key is nothing for the files host of the parent.
        own.values["files_url"] = own.values["base_url"]
    _note_inherited_key(own, parent)
    if "base_url" in own.values and "prices_url" not in own.values:
        urls = [parent.values.get("prices_url"), parent.values.get("base_url"), own.values["base_url"]]
        if all(isinstance(url, str) for url in urls):
            own.values["prices_url"] = moved(*urls)
    return Settings(
        own.file,
        _merged(parent.values, own.values),
        {**parent.places, **own.places},
        [*parent.problems, *own.problems],
    )


def _note_inherited_key(own: Settings, parent: Settings) -> None:
    """A profile that leads elsewhere does not take its parent's key along."""
    if "key_env" in own.values or parent.file in BUILT_IN:  # whose keys are looked after by name
        return
    known = {_host(parent.values.get(path)) for path in _KEY_GOES_TO}
    for path in _KEY_GOES_TO:
        url = own.values.get(path)
        if path in own.places and isinstance(url, str) and _host(url) not in known:
            own.found(path, "leads to another host than the parent's; give `key_env: ..._API_KEY`, too")
            return


def _host(url: object) -> str:
    found = re.match(r"(?i)https?://([^/]+)", url) if isinstance(url, str) else None
    return found[1].lower() if found else ""


def moved(url: str, old_base: str, new_base: str) -> str:
    """Where an address that belongs to one base URL is at another; one on another host stays."""
    old, new = old_base.rstrip("/"), new_base.rstrip("/")
    if url.startswith(f"{old}/"):
        return new + url.removeprefix(old)
    own, theirs, target = (re.match(r"(?i)https?://[^/]+", text) for text in (url, old, new))
    if own and theirs and target and own[0].lower() == theirs[0].lower():
        return target[0] + url.removeprefix(own[0])
    return url


def _merged(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings key by key; everything else is replaced."""
    merged = dict(theirs)
    for key, value in own.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _beside(file: str, parent: str) -> str:
    """Another file's name is meant from where the file that names it stands."""
    if parent in BUILT_IN or file in BUILT_IN:
        return parent
    return str(Path(file).parent / parent)


def _text(name_or_file: str) -> str:
    if name_or_file in BUILT_IN:
        folder = resources.files("nanobanana_batch.providers") / "profiles"
        return (folder / f"{name_or_file}.yaml").read_text(encoding="utf-8")
    if not name_or_file.endswith((".yaml", ".yml")):
        near = did_you_mean(closest(name_or_file, BUILT_IN))
        hint = f"{near} Known: {', '.join(BUILT_IN)}, or a .yaml file.".lstrip()
        raise ProfileError(f"There is no provider {name_or_file!r}.", hint=hint)
    try:
        with reading(Path(name_or_file)) as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"Profile {name_or_file} cannot be read: {error.strerror}.") from error
    if len(data) > _MAX_BYTES:
        raise ProfileError(f"Profile {name_or_file} is larger than {_MAX_BYTES >> 20} MiB.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError(f"{name_or_file}:{line}: not UTF-8 text; save the file as UTF-8.") from error


class _Walk:
    """From YAML's nodes to values; bounded, since an alias may repeat what it stands for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nodes = 0

    def read(self, text: str) -> None:
        """Fill in values and places.

        Raises:
            ProfileError: it is not YAML, or not a mapping.
        """
        file = self._settings.file
        try:
            root = yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            said = getattr(error, "problem", None) or "it cannot be read"
            place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
            raise ProfileError(f"{place}: not valid YAML: {said}.") from None
        if not isinstance(root, yaml.MappingNode):
            raise ProfileError(f"Profile {file} is not a mapping of settings (`key: value` lines).")
        self._settings.values = self._mapping(root, "", 0)

    def _value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise ProfileError(f"Profile {self._settings.file} is nested too deep or too large.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, path, depth + 1) for item in node.value]
        is_plain = isinstance(node, yaml.ScalarNode) and not node.style
        return None if is_plain and node.value in _NULLS else str(node.value)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = f"{self._settings.file}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                self._settings.problems.append(Problem(place, "a key has to be one word", path))
                continue
            key = str(key_node.value)
            inner = f"{path}.{key}" if path else key
            if key in values:
                first = self._settings.places[inner]
                self._settings.problems.append(Problem(place, f"stands twice, first in {first}", inner))
                continue
            self._settings.places[inner] = place
            values[key] = self._value(value_node, inner, depth + 1)
        return values
