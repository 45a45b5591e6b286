"""Somebody's folder or profile says where to; a key goes only where its owner has said so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.errors import FolderRefused, ProfileError, UsageError
from nanobanana_batch.files.folder import find
from nanobanana_batch.jobs import retry as retry_job
from nanobanana_batch.jobs.audit import repair_folder
from nanobanana_batch.jobs.connection import CONNECTION, LAST, Connection, prepare, remembered
from nanobanana_batch.jobs.outlook import priced_standing
from nanobanana_batch.jobs.retry import Retry
from nanobanana_batch.providers.profile import load_profile
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.store import Store
from tests.unit.earlier_run import Earlier, make_run

EVIL = "https://evil.example"
LEADS_AWAY = (
    Connection("evolink", EVIL),
    Connection("evolink", "http://127.0.0.1:8080"),
    Connection("unified", EVIL),
    Connection("local", EVIL),
    Connection("evil.yaml"),
    Connection("/home/victim/outputs/profile.yml", EVIL),
)


@pytest.mark.parametrize("last", LEADS_AWAY)
def test_a_folder_does_not_decide_where_the_key_goes(last: Connection) -> None:
    """A profile file or another address is named, to be said by the person or not."""
    wanted = (last.base_url if last.provider in ("evolink", "unified", "local") else last.provider) or ""
    with pytest.raises(FolderRefused, match="does not decide where your key goes") as caught:
        remembered(last.as_text(), Connection(LAST))
    assert wanted in str(caught.value)


@pytest.mark.parametrize(
    "last",
    [
        Connection("evolink"),
        Connection("evolink", "https://api.evolink.ai/"),
        Connection("foxapi"),
        Connection("local", "http://127.0.0.1:8080"),
    ],
)
def test_a_built_in_provider_at_its_own_address_is_found_again(last: Connection) -> None:
    """As before; the embedded service gets no key of anybody."""
    assert remembered(last.as_text(), Connection(LAST)).provider == last.provider


def test_what_a_person_names_in_this_command_holds() -> None:
    """Provider and address, each for itself."""
    last = Connection("evolink", EVIL).as_text()
    assert remembered(last, Connection(LAST, EVIL)) == Connection("evolink", EVIL)
    assert remembered(last, Connection("foxapi")) == Connection("foxapi")
    with pytest.raises(FolderRefused, match="--base-url"):  # else the rows of that address were lost sight of
        remembered(last, Connection("evolink"))


@pytest.mark.parametrize("text", ["", "x", "[]", "7", '{"provider": 7, "base_url": []}', "[" * 100_000])
def test_what_nobody_can_read_is_nothing(text: str) -> None:
    """It is not ours."""
    assert remembered(text, Connection(LAST)) == Connection()


def a_folder(tmp_path: Path, last: Connection) -> Path:
    """Of one image, whose file is gone, and that remembers this."""
    out = tmp_path / "out"
    make_run(out, [Earlier("lighthouse")], provider="evolink@api.evolink.ai")
    for image in (out / "images").iterdir():
        image.unlink()
    store = Store(find(out).state)
    store.remember(CONNECTION, last.as_text())
    store.close()
    return out


@pytest.mark.parametrize("last", LEADS_AWAY)
def test_retry_and_repair_refuse_before_anything_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: Connection
) -> None:
    """And status reads no file that a folder names."""
    monkeypatch.setenv("EVOLINK_API_KEY", "a-key-of-mine")
    out = a_folder(tmp_path, last)
    with pytest.raises(FolderRefused):
        retry_job.retry(out, Retry.FAILED, Connection(LAST), Settings(), Tally())
    with pytest.raises(FolderRefused):
        repair_folder(out, Connection(LAST), Tally())
    with open_reader(find(out).state) as reader:
        assert [attempt.phase for attempt in reader.attempts()] == [Phase.SAVED]
    assert priced_standing(find(out)).credits_per_usd is None


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (Connection("evolink"), ""),
        (Connection("evolink", "https://api.evolink.ai/"), ""),
        (Connection("evolink", EVIL), f"The key in EVOLINK_API_KEY goes to {EVIL}."),
        (Connection("FORUM"), f"The key in FORUM_KEY goes to {EVIL} and https://files.evil.example."),
        (Connection("local", "http://127.0.0.1:8080"), ""),
    ],
)
def test_where_a_key_goes_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Connection, shown: str
) -> None:
    """By every command that uses it, unless it is a built-in provider's own address."""
    for name in ("EVOLINK_API_KEY", "FORUM_KEY", "NANOBANANA_LOCAL_KEY"):
        monkeypatch.setenv(name, "a-key-of-mine")
    settings = {"base_url": EVIL, "files_url": "https://files.evil.example", "key_env": "FORUM_KEY"}
    file = profile(tmp_path, extends="evolink", name="forum", **settings)
    named = replace(given, provider=file) if given.provider == "FORUM" else given
    assert prepare(named, 1).key_goes == shown


def test_another_kind_of_provider_is_not_mixed_in(tmp_path: Path) -> None:
    """Placeholders for real images, by the word of whoever named the wrong one."""
    out = a_folder(tmp_path, Connection("evolink", EVIL))
    with pytest.raises(UsageError, match="would mix them"):
        retry_job.retry(out, Retry.FAILED, Connection("local"), Settings(), Tally())


def profile(tmp_path: Path, **settings: object) -> str:
    """From a forum."""
    path = tmp_path / "forum.yaml"
    path.write_text(json.dumps(settings))
    return str(path)


@pytest.mark.parametrize("parent", ["evolink", "foxapi", "unified", "local"])
@pytest.mark.parametrize("place", ["base_url", "files_url"])
def test_a_profile_that_leads_elsewhere_does_not_get_a_built_in_providers_key(
    tmp_path: Path, parent: str, place: str
) -> None:
    """Whether it is inherited or named."""
    with pytest.raises(ProfileError, match=f"{place}: the key in .*_KEY is not for"):
        load_profile(profile(tmp_path, extends=parent, **{place: EVIL}))
    for variable in ("EVOLINK_API_KEY", "FOXAPI_API_KEY", "NANOBANANA_API_KEY"):
        with pytest.raises(ProfileError, match=f"the key in {variable} is not for"):
            load_profile(profile(tmp_path, extends=parent, key_env=variable, **{place: EVIL}))
    assert load_profile(profile(tmp_path, extends=parent, key_env="MY_API_KEY", **{place: EVIL}))


def test_nor_the_key_of_the_profile_that_it_extends(tmp_path: Path) -> None:
    """A person's own profile may lie beside it."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: evolink\nname: mine\nbase_url: https://mine.example\nkey_env: MINE_API_KEY\n")
    for place in ("base_url", "files_url"):
        with pytest.raises(ProfileError, match=f"{place}: leads to another host"):
            load_profile(profile(tmp_path, extends="mine.yaml", **{place: EVIL}))
    assert load_profile(profile(tmp_path, extends="mine.yaml", base_url="https://mine.example/v2"))


@pytest.mark.parametrize(
    "variable",
    [
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "GH_API_KEY",
        "OPENAI_API_KEY",
        "HOME",
        "MY_PRIVATE_KEY",
    ],
)
def test_no_profile_asks_for_another_services_secret(tmp_path: Path, variable: str) -> None:
    """A variable of a provider's key looks like one."""
    with pytest.raises(ProfileError, match="key_env: this is not allowed"):
        load_profile(profile(tmp_path, extends="evolink", base_url=EVIL, key_env=variable))
