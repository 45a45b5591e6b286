"""A profile that cannot be used is refused with a sentence, and a key never travels in clear or in a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobanana_batch.errors import KeyProblem, ProfileError
from nanobanana_batch.jobs.connection import Connection, prepare
from nanobanana_batch.model import REQUEST_FIELDS, Request
from nanobanana_batch.provider_names import BUILT_IN, credits_per_usd
from nanobanana_batch.providers import profile as profile_module
from nanobanana_batch.providers.base import Idempotency, TaskState
from nanobanana_batch.providers.profile import (
    FilesForm,
    catalog_for,
    check_address,
    files_address,
    load_profile,
    prices_address,
)
from nanobanana_batch.providers.tasks.api import check_key, form_of

OWN = """extends: evolink
models:
  m:
    dialects:
      evolink:
        aspect_ratios: [1:1]
"""


def profile_file(folder: Path, text: str, name: str = "mine.yaml") -> str:
    """A profile of one's own."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "dialect", "base_url", "key_env", "embedded", "keys"),
    [
        ("evolink", "evolink", "https://api.evolink.ai", "EVOLINK_API_KEY", False, Idempotency.HONOURED),
        ("unified", "unified", None, "NANOBANANA_API_KEY", False, Idempotency.UNPROVEN),
        ("foxapi", "unified", "https://api.foxapi.cc", "FOXAPI_API_KEY", False, Idempotency.UNPROVEN),
        ("local", "evolink", "https://api.evolink.ai", "NANOBANANA_LOCAL_KEY", True, Idempotency.HONOURED),
        ("local-unified", "unified", None, "NANOBANANA_LOCAL_KEY", True, Idempotency.UNPROVEN),
    ],
)
def test_built_in_profiles(
    name: str, dialect: str, base_url: str | None, key_env: str, embedded: bool, keys: Idempotency
) -> None:
    """Contract, first table."""
    profile = load_profile(name)
    assert (profile.name, profile.dialect, profile.base_url) == (name, dialect, base_url)
    assert (profile.key_env, profile.embedded) == (key_env, embedded)
    assert profile.idempotency is keys
    assert profile.link_lifetime_s == 86400
    assert set(profile.fields) <= set(REQUEST_FIELDS)


def test_there_are_no_other_built_in_profiles() -> None:
    """Each is in the test above."""
    assert BUILT_IN == ("evolink", "foxapi", "unified", "local", "local-unified")


def test_what_a_dollar_buys_is_known_without_reading_built_in_profiles() -> None:
    """`status` tells money by it, so it is what they say."""
    said = {name: load_profile(name).credits_per_usd for name in BUILT_IN}
    assert {name: credits_per_usd(name) for name in BUILT_IN} == said
    assert said["evolink"] is not None


def test_a_profile_may_extend_another(tmp_path: Path) -> None:
    """What it says replaces, field by field; the rest is inherited."""
    text = "extends: unified\nname: mine\nkey_env: X_KEY\nbase_url: https://x.example\n"
    text += "fields: {aspect_ratio: ratio}\n"
    profile = load_profile(profile_file(tmp_path, text))
    assert (profile.name, profile.base_url, profile.dialect) == ("mine", "https://x.example", "unified")
    assert profile.wire_name("aspect_ratio") == "ratio"
    assert profile.wire_name("web_search") == "google_search"
    assert profile.wire_name("thinking_level") is None
    assert profile.wire_name("prompt") == "prompt"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: evolink\nbase_ulr: https://x\n", r":2: base_ulr: unknown key; .*mean 'base_url'"),
        ("name: x\ndialect: evolink\nfields: {}\n", r"key_env: is missing"),
        ("extends: evolink\nfields:\n  ratio: size\n", r":3: fields.ratio: unknown field; allowed: prompt"),
        ("extends: evolink\nfields: {aspect_ratoi: size}\n", "mean 'aspect_ratio'"),
        ("extends: evolink\nfields: {resolution: 2K}\n", r"fields.resolution: '2K' is not allowed"),
        ("extends: evolink\nfields: {resolution: a..b}\n", r"fields.resolution: 'a..b' is not allowed"),
        ("extends: evolink\nfields: {resolution: size}\n", r"'size' collides with fields.aspect_ratio"),
        ("extends: evolink\nfields: {resolution: model_params}\n", "collides"),
        ("extends: evolink\nfields: {resolution: model}\n", "collides"),
        ("extends: evolink\ncallback_field: prompt\n", "callback_field: 'prompt' collides"),
        ("extends: evolink\nfields: {prompt: null}\n", "fields.prompt: cannot be left out"),
        ("extends: evolink\npoll_interval_s: 0\n", r":2: poll_interval_s: '0' is not .*: seconds above"),
        ("extends: evolink\npoll_interval_s: fast\n", "'fast' is not allowed"),
        ("extends: evolink\nreads_per_s: inf\n", "reads_per_s"),
        ("extends: evolink\nidempotency: maybe\n", "honoured, unproven or ignored"),
        ("extends: evolink\nname: a/b\n", "name"),
        ("extends: evolink\nname:\n", "name: nothing is not allowed"),
        ("extends: nobody\n", "nobody"),
        ("extends: [a]\n", "extends: has to be"),
        ("extends: evolink\nfields: none\n", "fields: 'none' is not allowed"),
        ("extends: evolink\nfields: [a]\n", "fields: a list is not allowed"),
        (
            "extends: evolink\nresult_paths: a.b\n",
            r":2: result_paths: 'a.b' is not allowed; allowed: a list of",
        ),
        ("extends: evolink\nresult_paths:\n- a..b\n", r":2: result_paths.0: 'a..b' is not allowed"),
        ("extends: evolink\nresult_paths: [{a: b}]\n", r"result_paths.0: a mapping is not allowed"),
        ("extends: evolink\nresult_paths: ['a[0].b']\n", r"result_paths.0: 'a\[0\].b' is not allowed"),
        ("extends: evolink\nstatuses:\n  done: ready\n", r":3: statuses.done: 'ready' is not .* completed"),
        ("extends: evolink\nstatuses: [done]\n", "statuses: a list is not allowed"),
        ("extends: evolink\nsync_query: yes please\n", r":2: sync_query: 'yes please' is not allowed"),
        (
            "extends: evolink\nfiles_api:\n  upload: v1/files\n",
            r":3: files_api.upload: 'v1/files' is not .*/v1",
        ),
        (
            "extends: evolink\nfiles_api: {delete: /v1/files}\n",
            r":2: files_api.delete: '/v1/files' is not .*{id}",
        ),
        ("extends: evolink\nfiles_api: {delete: '/v1/{name}'}\n", r"files_api.delete: "),
        (
            "extends: evolink\nfiles_api: {uplaod: /v1}\n",
            r"files_api.uplaod: unknown key; did you mean 'upload'",
        ),
        ("extends: evolink\nfiles_api: {fields: {a b: c}}\n", r"files_api.fields"),
        ("extends: evolink\nfiles_api: {fields: {a: [b]}}\n", r"files_api.fields.a: a list is not allowed"),
        ("extends: evolink\nfiles_api: /v1\n", r"files_api: '/v1' is not allowed; allowed: a mapping"),
        ("extends: evolink\nbase_url: http://x.example\n", r":2: base_url: .*in clear"),
        ("extends: evolink\nfiles_url: ftp://x\n", r":2: files_url: this cannot be used"),
        ("extends: evolink\nname: a\nname: b\n", r":3: name: stands twice, first in .*:2"),
        ("extends: evolink\nfields: {model: a, model: b}\n", r":2: fields.model: stands twice"),
        ("extends: evolink\n? [a, b]\n: c\n", "one word"),
        ("extends: evolink\nprices_as_of: yesterday\n", "a date such as"),
        (
            "extends: evolink\nprices_url: http://192.0.2.1/p\n",
            r":2: prices_url: .* could be changed on the way",
        ),
        ("extends: evolink\nprices_url: here\n", r":2: prices_url: this cannot be used"),
        ("extends: evolink\ncredits_per_usd: 0\n", r"credits_per_usd: '0' is not allowed; allowed: a number"),
        ("extends: evolink\nmodels: [x]\n", "models: a list is not allowed"),
        ("extends: evolink\nmodels:\n  x:\n    dialect: {}\n", r":4: models.x.dialect: unknown key"),
        ("extends: evolink\nprices:\n  nano-banana-beat: 1\n", r":3: prices.nano.*mean 'nano-banana-beta'"),
        (
            f"{OWN}        extra: {{seed: whole}}\n",
            r":7: models.m.dialects.evolink.extra.seed: 'whole' is not",
        ),
        (f"{OWN}        extra: {{x: {{type: text, field: size}}}}\n", r":7: .*extra.x: 'size' collides with"),
        (f"{OWN}        fields: {{resolution: 2K}}\n", r":7: .*fields.resolution: '2K' is not allowed"),
        (f"{OWN}        fields: {{resolutoin: x}}\n", r":7: .*mean 'resolution'"),
        ("- a\n", "not a mapping"),
        ("a: [\n", r"mine.yaml:2:1: not valid YAML"),
        ("a: &a [*a]\n", "too deep|YAML"),
        ("", "not a mapping"),
    ],
)
def test_a_wrong_profile_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    """The file, the line, the path inside and what is allowed, not a traceback."""
    with pytest.raises(ProfileError, match=said) as caught:
        load_profile(profile_file(tmp_path, text))
    assert caught.value.exit_code == 2


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Of every kind, each with its line."""
    text = """extends: evolink
poll_interval_s: often
colour: blue
base_url: http://x.example
fields:
  resolution: size
  ratio: x
models:
  new-one: {dialects: {evolink: {max_images: many}}}
prices:
  nano-banana-beta: {1K: 3}
poll_interval_s: 4
"""
    with pytest.raises(ProfileError) as caught:
        load_profile(profile_file(tmp_path, text))
    lines = str(caught.value).split("\n")
    found = [line.partition("mine.yaml:")[2].split(": ")[:2] for line in lines[:-1]]
    assert sorted(found) == [
        ["11", "prices.nano-banana-beta.1K"],
        ["12", "poll_interval_s"],
        ["2", "poll_interval_s"],
        ["3", "colour"],
        ["4", "base_url"],
        ["6", "fields.resolution"],
        ["7", "fields.ratio"],
        ["9", "models.new-one.dialects.evolink.max_images"],
    ]
    assert lines[-1] == "8 problems in the profile; nothing was sent."


@pytest.mark.parametrize("line", ["key_env: sk-canary-9b1", "api_key: sk-canary-9b1"])
def test_a_key_that_was_put_into_a_profile_is_not_repeated(tmp_path: Path, line: str) -> None:
    """A message may end up in a log."""
    with pytest.raises(ProfileError) as caught:
        load_profile(profile_file(tmp_path, f"extends: evolink\n{line}\n"))
    assert "canary" not in str(caught.value)


def test_a_profile_says_how_its_provider_answers(tmp_path: Path) -> None:
    """Inherited and laid over like everything else."""
    text = """extends: foxapi
name: mine
key_env: MINE_KEY
base_url: https://mine.example
files_api: {name_field: null, fields: {purpose: image}, delete: "/v2/files/{id}/remove"}
result_paths: [answer.pictures.href, "extra[].link"]
statuses: {All Done: completed, asleep: working}
sync_query: null
"""
    profile = load_profile(profile_file(tmp_path, text))
    assert profile.files_api == FilesForm(
        upload="/v1/files/upload/stream",
        name_field=None,
        fields={"auto_cleanup": "true", "purpose": "image"},
        delete="/v2/files/{id}/remove",
        quota=None,
    )
    assert profile.files_url == "https://mine.example"
    assert profile.sync_query is None
    form = form_of(profile)
    assert form.result_paths == ("answer.pictures.href", "extra[].link")
    assert form.statuses == {"alldone": TaskState.COMPLETED, "asleep": TaskState.WORKING}


def test_foxapi_is_unified_with_its_own_limits() -> None:
    """Contract, table of FoxAPI: up to 14 images; formats and image search with the flash model only."""
    profile = load_profile("foxapi")
    assert profile.fields == load_profile("unified").fields
    assert profile.sync_query == "sync_upstream=true"
    flash, pro = (
        catalog_for(profile).rules(f"gemini-3{name}-image-preview", "unified")
        for name in (".1-flash", "-pro")
    )
    assert flash is not None
    assert pro is not None
    assert (flash.max_images, flash.image_search, flash.output_formats) == (14, True, ("jpg", "png", "webp"))
    assert (pro.max_images, pro.image_search, pro.output_formats) == (14, False, ())


def test_values_are_what_was_written(tmp_path: Path) -> None:
    """16:9 is no 969, `no` no false, and 010 no 8."""
    text = """extends: evolink
name: no
models:
  new-one:
    dialects:
      evolink: {aspect_ratios: [16:9, 1:1], resolutions: [512, 0.5K, 010], web_search: true}
"""
    profile = load_profile(profile_file(tmp_path, text))
    rules = catalog_for(profile).rules("new-one", "evolink")
    assert rules is not None
    assert profile.name == "no"
    assert rules.aspect_ratios == ("16:9", "1:1")
    assert rules.resolutions == ("512", "0.5K", "010")
    assert rules.web_search


def test_models_and_prices_of_a_profile(tmp_path: Path) -> None:
    """Added to the built-in ones, on top of those of the profile that it extends."""
    house = """extends: evolink
name: house
models:
  new-one: {title: New, dialects: {evolink: {resolutions: [1K, 2K]}}}
prices: {new-one: {1K: 2, 2K: 3}, nano-banana-beta: 4}
prices_as_of: 2026-11-01
"""
    profile_file(tmp_path, house, "house.yaml")
    mine = "extends: house.yaml\nmodels: {new-one: {title: Newer}}\nprices: {new-one: {2K: 2.5}}\n"
    file = profile_file(tmp_path, mine)
    catalog = catalog_for(load_profile(file))
    rules = catalog.rules("new-one", "evolink")
    assert rules is not None
    assert (rules.title, rules.credits) == ("Newer", {"1K": 2.0, "2K": 2.5})
    assert (rules.source, rules.credits_as_of) == (file, "2026-11-01")
    assert catalog.price(Request("nano-banana-beta", "p"), "evolink") == 4.0
    assert catalog.rules("gemini-3-pro-image-preview", "evolink") is not None


@pytest.mark.parametrize(
    ("text", "base_url", "url"),
    [
        ("", None, "https://api.evolink.ai/web/api/models/pricing"),
        ("", "https://x.example/a/", "https://x.example/a/web/api/models/pricing"),
        ("base_url: https://x.example", None, "https://x.example/web/api/models/pricing"),
        ("base_url: https://x.example/a", "http://[::1]:8/", "http://[::1]:8/web/api/models/pricing"),
        ("prices_url: https://p.example/list/", "https://x.example", "https://p.example/list/"),
        ("prices_url: https://p.example/list", None, "https://p.example/list"),
        (
            "base_url: https://X.example/v1\nprices_url: https://x.example/list",
            "https://y.example:8/v1",
            "https://y.example:8/list",
        ),
        ("prices_url: null", None, None),
        ("credits_per_usd: null", None, None),
        ("base_url: null", None, "https://api.evolink.ai/web/api/models/pricing"),
    ],
)
def test_a_price_list_goes_with_its_provider(
    tmp_path: Path, text: str, base_url: str | None, url: str | None
) -> None:
    """On the host of the base URL it is wherever that goes; elsewhere it stays where the profile says."""
    address = prices_address(
        load_profile(profile_file(tmp_path, f"extends: evolink\nkey_env: X_KEY\n{text}\n")), base_url
    )
    assert (address.url if address else None) == url


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", Idempotency.HONOURED),
        ("base_url: https://api.evolink.ai", Idempotency.HONOURED),
        ("base_url: https://x.example", Idempotency.UNPROVEN),
        ("base_url: https://x.example\nidempotency: honoured", Idempotency.HONOURED),
        ("idempotency: ignored", Idempotency.IGNORED),
    ],
)
def test_what_a_provider_says_of_keys_is_not_said_of_another(
    tmp_path: Path, text: str, keys: Idempotency
) -> None:
    """A profile for another address relies on keys only if it says so itself."""
    file = profile_file(tmp_path, f"extends: evolink\nkey_env: X_KEY\n{text}\n")
    assert load_profile(file).idempotency is keys


@pytest.mark.parametrize("name", ["unified", "local", "local-unified"])
def test_only_evolink_has_a_price_list_and_a_price_of_credits(name: str) -> None:
    """The others publish none, or cost nothing."""
    assert load_profile("evolink").credits_per_usd == 68.0
    assert (load_profile(name).credits_per_usd, prices_address(load_profile(name))) == (None, None)


def test_an_address_that_is_wrong_is_told_once(tmp_path: Path) -> None:
    """What goes with it is wrong for no reason of its own."""
    with pytest.raises(ProfileError, match="1 problem in the profile"):
        load_profile(profile_file(tmp_path, "extends: evolink\nbase_url: http://192.0.2.1\n"))


@pytest.mark.parametrize("parent", ["local", "evolink"])
def test_a_connection_knows_what_the_profile_says_of_prices(tmp_path: Path, parent: str) -> None:
    """A budget rests on it, with the embedded service as with a real one."""
    text = f"extends: {parent}\nprices: {{nano-banana-beta: 4}}\n"
    (tmp_path / "key").write_text("a-key-of-mine")
    line = prepare(Connection(profile_file(tmp_path, text), None, tmp_path / "key"), 1)
    assert line.prices.price(Request("nano-banana-beta", "p")) == 4.0
    assert line.prices.price(Request("nano-banana-2-beta", "p")) is None


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "foxapi"])
def test_a_built_in_profile_changes_no_model(name: str) -> None:
    """The contract is in the catalogue; prices are in neither."""
    catalog = catalog_for(load_profile(name))
    assert {rules.source for dialect in catalog.dialects for rules in catalog.models(dialect)} == {"built in"}


@pytest.mark.parametrize("name", ["evolink", "foxapi", "unified"])
def test_a_provider_is_a_file(tmp_path: Path, name: str) -> None:
    """Both built-in dialects could have been a person's own: nothing in them is special."""
    text = (Path(profile_module.__file__).parent / "profiles" / f"{name}.yaml").read_text("utf-8")
    own, built_in = load_profile(profile_file(tmp_path, text)), load_profile(name)
    assert own.model_dump() == built_in.model_dump()


def test_the_first_profile_names_every_setting() -> None:
    """It is where people look for them."""
    text = (Path(profile_module.__file__).parent / "profiles" / "evolink.yaml").read_text("utf-8")
    left_out = {"embedded", "models", "prices", "prices_as_of"}
    assert {name for name in profile_module.Profile.model_fields if f"\n{name}:" not in text} == left_out


def test_the_example_of_the_manual_is_a_profile(tmp_path: Path) -> None:
    """People begin with it."""
    manual = (Path(__file__).parents[2] / "docs" / "providers.md").read_text("utf-8")
    (example,) = [block for block in manual.split("```yaml\n") if block.startswith("extends: evolink")]
    profile = load_profile(profile_file(tmp_path, example.partition("```")[0]))
    assert profile.wire_name("aspect_ratio") == "ratio"
    assert catalog_for(profile).price(Request("next-year", "p", resolution="2K"), "evolink") == 3.5


def test_the_manuals_second_example_is_a_profile_too(tmp_path: Path) -> None:
    """Whoever has a provider that answers otherwise begins with that."""
    manual = (Path(__file__).parents[2] / "docs" / "providers.md").read_text("utf-8")
    (example,) = [block for block in manual.split("```yaml\n") if block.startswith("result_paths")]
    profile = load_profile(
        profile_file(tmp_path, "extends: unified\nkey_env: MY_KEY\n" + example.partition("```")[0])
    )
    assert form_of(profile).statuses == {"alldone": TaskState.COMPLETED, "asleep": TaskState.WORKING}
    assert profile.files_api.name_field == "file_name"


def test_what_a_profile_has_no_name_for_is_not_offered(tmp_path: Path) -> None:
    """By none of its models, unless one has its own name for it: `plan` refuses it, and not the run."""
    text = (
        "extends: evolink\nfields: {thinking_level: null, images: null, aspect_ratio: null}\n"
        "models: {nano-banana-2-beta: {dialects: {evolink: {fields: {thinking_level: thought}}}}}\n"
    )
    catalog = catalog_for(load_profile(profile_file(tmp_path, text)))
    flash = Request(
        "gemini-3.1-flash-image-preview", "p", "1:1", thinking_level="min", images=("https://x/a.png",)
    )
    found = {finding.field for finding in catalog.check(flash, "evolink")}
    assert found == {"aspect_ratio", "thinking_level", "images"}
    assert catalog.check(Request("nano-banana-2-beta", "p", thinking_level="min"), "evolink") == []
    unknown = Request("new", "p", aspect_ratio="1:1", resolution="1K")
    (finding,) = catalog.check(unknown, "evolink", allow_unknown_model=True)
    assert finding.field == "aspect_ratio"


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path) -> None:
    """In a sentence, and before it fills the memory."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: x\nkey_env: \xff\n")
    with pytest.raises(ProfileError, match=r"mine.yaml:2: not UTF-8"):
        load_profile(str(path))
    path.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ProfileError, match="larger than 1 MiB"):
        load_profile(str(path))
    bomb = [
        f"{name}: &{name} [{', '.join([f'*{last}'] * 10)}]"
        for last, name in zip("abcde", "bcdef", strict=True)
    ]
    path.write_text("\n".join(["a: &a [x, x, x, x, x, x, x, x, x, x]", *bomb]))
    with pytest.raises(ProfileError, match="too large"):
        load_profile(str(path))


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
        ("https://api.example.com/a/../v1/.", "https://api.example.com/v1", False),
        ("https://api.example.com/..", "https://api.example.com", False),
        ("https://api.example.com/a//b%2F..", "https://api.example.com/a//b%2F..", False),
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


# --- where files go --------------------------------------------------------------------------------

OWN_KEY = "extends: evolink\nkey_env: MINE_KEY\n"
OWN_FILES = OWN_KEY + "name: mine\nfiles_url: https://files.mine.example\n"


@pytest.mark.parametrize(
    ("text", "base_url", "files"),
    [
        ("extends: evolink\n", None, "https://files-api.evolink.ai"),
        ("extends: evolink\n", "https://api.evolink.ai/", "https://files-api.evolink.ai"),
        ("extends: evolink\n", "https://other.example", "https://other.example"),
        ("extends: evolink\n", "http://127.0.0.1:9", "http://127.0.0.1:9"),
        (OWN_KEY + "base_url: https://mine.example\n", None, "https://mine.example"),
        (OWN_KEY + "base_url: https://mine.example\nfiles_url: null\n", None, None),
        (OWN_FILES + "base_url: https://mine.example\n", None, "https://files.mine.example"),
        (OWN_FILES + "base_url: https://mine.example\n", "https://other.example", "https://other.example"),
        (OWN_FILES + "base_url: null\n", "https://other.example", "https://files.mine.example"),
        ("extends: unified\n", "https://other.example", None),
    ],
)
def test_files_go_with_the_address(
    tmp_path: Path, text: str, base_url: str | None, files: str | None
) -> None:
    """A key for one provider is never sent to the files host of another."""
    profile = load_profile(profile_file(tmp_path, text))
    found = files_address(profile, check_address(profile, base_url))
    assert (found.url if found else None) == files


@pytest.mark.parametrize(
    "url", ["http://files.example.com", "files.example.com", "https://u:p@files.example"]
)
def test_a_files_address_is_checked_like_the_other(tmp_path: Path, url: str) -> None:
    """HTTPS or loopback, and nothing hidden in it; also where a profile did not come from a file."""
    with pytest.raises(ProfileError, match=r"files_url"):
        load_profile(profile_file(tmp_path, f"extends: evolink\nfiles_url: {url}\n"))
    profile = load_profile("evolink").model_copy(update={"files_url": url})
    with pytest.raises(ProfileError, match=r"files_url|plain HTTP"):
        files_address(profile, check_address(profile, None))
