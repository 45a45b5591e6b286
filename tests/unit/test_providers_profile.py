"""A profile that cannot be used is refused with a sentence, and a key never travels in clear or in a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.errors import KeyProblem, ProfileError
from nanobanana_batch.model import REQUEST_FIELDS
from nanobanana_batch.providers.base import Idempotency
from nanobanana_batch.providers.profile import BUILT_IN, check_address, load_profile
from nanobanana_batch.providers.task_api import check_key


def profile_file(folder: Path, text: str, name: str = "mine.yaml") -> str:
    """A profile of one's own."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "dialect", "base_url", "key_env", "embedded"),
    [
        ("evolink", "evolink", "https://api.evolink.ai", "EVOLINK_API_KEY", False),
        ("unified", "unified", None, "NANOBANANA_API_KEY", False),
        ("local", "evolink", "https://api.evolink.ai", "NANOBANANA_LOCAL_KEY", True),
        ("local-unified", "unified", None, "NANOBANANA_LOCAL_KEY", True),
    ],
)
def test_built_in_profiles(
    name: str, dialect: str, base_url: str | None, key_env: str, embedded: bool
) -> None:
    """Contract, first table."""
    profile = load_profile(name)
    assert (profile.name, profile.dialect, profile.base_url) == (name, dialect, base_url)
    assert (profile.key_env, profile.embedded) == (key_env, embedded)
    assert profile.idempotency is Idempotency.UNPROVEN
    assert profile.link_lifetime_s == 86400
    assert set(profile.fields) <= set(REQUEST_FIELDS)


def test_there_are_no_other_built_in_profiles() -> None:
    """Each is in the test above."""
    assert BUILT_IN == ("evolink", "unified", "local", "local-unified")


def test_a_profile_may_extend_another(tmp_path: Path) -> None:
    """What it says replaces, field by field; the rest is inherited."""
    text = "extends: unified\nname: mine\nbase_url: https://x.example\nfields: {aspect_ratio: ratio}\n"
    profile = load_profile(profile_file(tmp_path, text))
    assert (profile.name, profile.base_url, profile.dialect) == ("mine", "https://x.example", "unified")
    assert profile.wire_name("aspect_ratio") == "ratio"
    assert profile.wire_name("web_search") == "google_search"
    assert profile.wire_name("thinking_level") is None
    assert profile.wire_name("prompt") == "prompt"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: evolink\nbase_ulr: https://x\n", "base_ulr"),
        ("name: x\ndialect: evolink\nfields: {}\n", "key_env"),
        ("extends: evolink\nfields: {ratio: size}\n", "'ratio' is none of"),
        ("extends: evolink\npoll_interval_s: 0\n", "poll_interval_s"),
        ("extends: evolink\npoll_interval_s: fast\n", "poll_interval_s"),
        ("extends: evolink\nidempotency: maybe\n", "idempotency"),
        ("extends: evolink\nname: a/b\n", "name"),
        ("extends: nobody\n", "no provider 'nobody'"),
        ("extends: evolink\nfields: none\n", "fields"),
        ("extends: evolink\nfields: [a]\n", "fields"),
        ("- a\n", "not a mapping"),
        ("a: [\n", "cannot be read"),
        ("", "not a mapping"),
    ],
)
def test_a_wrong_profile_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    """The name of the file and of the line's key, not a traceback."""
    with pytest.raises(ProfileError, match=said) as caught:
        load_profile(profile_file(tmp_path, text))
    assert caught.value.exit_code == 2


def test_a_profile_that_extends_itself_is_refused(tmp_path: Path) -> None:
    """Directly, or around a corner."""
    one, two = str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")
    profile_file(tmp_path, f"extends: {two}\n", "one.yaml")
    profile_file(tmp_path, f"extends: {one}\n", "two.yaml")
    with pytest.raises(ProfileError, match="extends itself"):
        load_profile(one)


@pytest.mark.parametrize("name", ["nobody", "", "none.yaml", "../evolink"])
def test_a_provider_that_does_not_exist(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileError, match=name or "no provider"):
        load_profile(name)


# --- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "clean", "loopback"),
    [
        ("https://api.example.com/", "https://api.example.com", False),
        ("https://api.example.com:8443/proxy/", "https://api.example.com:8443/proxy", False),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("http://localhost:8080/unified", "http://localhost:8080/unified", True),
        ("http://[::1]:8080", "http://[::1]:8080", True),
    ],
)
def test_https_or_loopback(url: str, clean: str, loopback: bool) -> None:
    """The only two places to which a key goes."""
    address = check_address(load_profile("evolink"), url)
    assert (address.url, address.is_loopback) == (clean, loopback)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://10.0.0.5:8080",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "HTTP://api.example.com",
    ],
)
def test_a_key_does_not_travel_in_clear(url: str) -> None:
    """Not even within the house, and not to a name that only looks like loopback."""
    with pytest.raises(ProfileError):
        check_address(load_profile("evolink"), url)


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com",
        "ftp://api.example.com",
        "https://",
        "https://user:secret-word@api.example.com",
        "https://api.example.com?key=secret-word",
        "https://api.example.com/#x",
        "https://api.example.com:port",
        "https://api.example.com:99999",
        "https://[::1",
        "https://exa mple.com",
        "https://example.com\n.evil.com",
        "https://example.com\\@evil.com",
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_sent(url: str) -> None:
    """Else every row would end as an unknown outcome; a secret in it is not repeated."""
    with pytest.raises(ProfileError, match="address") as caught:
        check_address(load_profile("evolink"), url)
    assert "secret-word" not in str(caught.value)


def test_a_provider_without_an_address_asks_for_one() -> None:
    """The unified dialect has no default."""
    with pytest.raises(ProfileError, match="--base-url"):
        check_address(load_profile("unified"), None)
    assert check_address(load_profile("evolink"), None).url == "https://api.evolink.ai"


# --- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "",
        "sk-canary\n",
        "sk-canary\r\nX: y",
        " sk-canary",
        "sk canary",
        "sk-canary\t",
        "sk-cänary",
        "sk-canary\0",
    ],
)
def test_a_key_of_an_impossible_form_is_refused_and_not_shown(key: str) -> None:
    """A stray newline would end up in an error text of the HTTP library, with the key."""
    with pytest.raises(KeyProblem, match="EVOLINK_API_KEY") as caught:
        check_key(key, "EVOLINK_API_KEY")
    assert "nary" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_key_is_not_changed() -> None:
    """Whatever visible ASCII it is made of."""
    key = "sk-~!@#$%^&*()_+=/09azAZ"
    assert check_key(key, "X") == key
