"""By which options an advised command reaches the provider that this one has reached."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from nanobanana_batch.jobs.connection import LAST, Connection, prepare, remembered, way_to
from nanobanana_batch.providers.base import Idempotency

LOCAL = Connection("local")


@pytest.mark.parametrize(
    ("folder", "there", "way"),
    [
        (LOCAL, LOCAL, ()),
        (Connection("evolink"), LOCAL, ("--provider", "local")),
        (None, LOCAL, ("--provider", "local")),
        (LOCAL, Connection("local", key_file=Path("key")), ("--key-file", "key")),
        (
            Connection("evolink", "http://127.0.0.1:1"),
            Connection("evolink", "http://127.0.0.1:1"),
            ("--provider", "evolink", "--base-url", "http://127.0.0.1:1"),
        ),
    ],
    ids=["by itself", "another", "no folder", "a key", "an address"],
)
def test_only_what_the_folder_does_not_say_itself(
    folder: Connection | None, there: Connection, way: tuple[str, ...]
) -> None:
    """And with these options the folder leads there."""
    text = folder.as_text() if folder else None
    assert way_to(there, text) == way
    said = dict(zip(way[::2], way[1::2], strict=True))
    led = remembered(text, Connection(said.get("--provider", ""), said.get("--base-url")))
    assert (led.provider, led.base_url) == (there.provider, there.base_url)


@pytest.mark.parametrize(
    ("provider", "url", "trust"),
    [
        ("evolink", None, Idempotency.HONOURED),
        ("evolink", "https://api.evolink.ai/", Idempotency.HONOURED),
        ("evolink", "https://gate.example", Idempotency.UNPROVEN),
        ("evolink", "http://127.0.0.1:9", Idempotency.UNPROVEN),
        ("local", "http://127.0.0.1:9", Idempotency.HONOURED),
        ("own.yaml", "http://127.0.0.1:9", Idempotency.HONOURED),
    ],
)
def test_what_a_provider_says_of_its_keys_is_believed_at_its_own_address(
    provider: str, url: str | None, trust: Idempotency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere a repeat of a lost request could be paid; a person's own profile says it itself."""
    own = "extends: evolink\nname: own\nkey_env: OWN_KEY\nidempotency: honoured\n"
    (tmp_path / "own.yaml").write_text(own)
    monkeypatch.chdir(tmp_path)
    for name in ("EVOLINK_API_KEY", "OWN_KEY", "NANOBANANA_LOCAL_KEY"):
        monkeypatch.setenv(name, "a-key-of-nobody")

    async def trusted() -> Idempotency:
        async with prepare(Connection(provider, url), 1).connect(tmp_path, None) as line:
            return line.capabilities.idempotency

    assert anyio.run(trusted) is trust


def test_the_connection_of_a_folder_is_remembered_and_can_be_moved(tmp_path: Path) -> None:
    """Later commands find the same built-in provider, at the address that is given now, if any."""
    text = Connection(provider="foxapi").as_text()
    assert remembered(text, Connection(LAST)) == Connection("foxapi")
    assert remembered(text, Connection(LAST, "https://new.example")) == Connection(
        "foxapi", "https://new.example"
    )
    assert remembered(None, Connection(LAST)) == Connection()
