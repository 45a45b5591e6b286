"""The page around the data. It may show what stands beside it, and nothing else: that is written into it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path

from nanobanana_batch.galleries.place import PAGE
from nanobanana_batch.galleries.scripts import as_script

SCRIPTS = (
    "core.js",
    "words.js",
    "query.js",
    "state.js",
    "picture.js",
    "head.js",
    "filters.js",
    "grid.js",
    "table.js",
    "compare.js",
    "single.js",
    "keys.js",
    "main.js",
)
"""In the order in which they run; each adds its part to `Gallery`."""
STYLES = ("gallery.css",)
_TEMPLATE = "page.html"
HEAD = b"<!doctype html>\n<!-- nanobanana-batch gallery -->"
_FORBIDDEN = "default-src 'none'; base-uri 'none'; form-action 'none'"


def assets() -> Iterator[tuple[str, bytes]]:
    """Scripts and styles, which stand beside the page."""
    for name in (*SCRIPTS, *STYLES):
        yield name, _asset(name)


def page(data: str, items: int) -> bytes:
    """The page of a gallery in a folder; `data`: where its data are, of so many items."""
    policy = f"{_FORBIDDEN}; script-src 'self'; style-src 'self'; img-src 'self' data:"
    styles = "\n".join(f'<link rel="stylesheet" href="{PAGE}/{name}">' for name in STYLES)
    files = [f"{PAGE}/{SCRIPTS[0]}", f"{data}/summary.js"]
    files += [f"{data}/index-0.js", f"{data}/items-0.js"] if items else []
    files += [f"{PAGE}/{name}" for name in SCRIPTS[1:]]
    scripts = "\n".join(f'<script src="{file}" defer></script>' for file in files)
    return _filled(policy, styles, scripts, data)


def one_file(data: Iterable[bytes], pictures: Mapping[str, Path]) -> bytes:
    """All of it in one file; a script and a style that are not these very ones do not run in it."""
    uris = {key: _data_uri(file) for key, file in pictures.items()}
    texts = [_asset(SCRIPTS[0]), *data, f"Gallery.thumbs={as_script(uris)};\n".encode()]
    script = b"\n" + b"\n".join([*texts, *map(_asset, SCRIPTS[1:])])
    style = b"\n" + b"\n".join(map(_asset, STYLES))
    policy = f"{_FORBIDDEN}; script-src {_hash(script)}; style-src {_hash(style)}; img-src 'self' data:"
    return _filled(policy, f"<style>{style.decode()}</style>", f"<script>{script.decode()}</script>", "")


def _filled(policy: str, styles: str, scripts: str, data: str) -> bytes:
    text = _asset(_TEMPLATE).decode()
    for name, value in (("policy", policy), ("styles", styles), ("data", data), ("scripts", scripts)):
        text = text.replace(f"<!--{name}-->", value)
    return HEAD + b"\n" + text.encode()


def _asset(name: str) -> bytes:
    return (resources.files(__package__) / "page" / name).read_bytes()


def _hash(content: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


def _data_uri(file: Path) -> str:
    return f"data:image/webp;base64,{base64.b64encode(file.read_bytes()).decode()}"
