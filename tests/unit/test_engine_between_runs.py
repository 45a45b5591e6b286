"""What people do between two runs: rows that leave, providers under another name, keys that change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Capabilities, Idempotency, Unknown
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.reports import AttemptReport
from tests.unit.beside import stop_now_at, within
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import NEVER_S, PROMPTS, Night, night
from tests.unit.watched import Watched
from tests.unit.wire import BAD_GATEWAY, working

DONE, UNKNOWN, RUNNING = RowStatus.COMPLETED, RowStatus.UNKNOWN, RowStatus.RUNNING
RUN = Settings(submit_concurrency=1, asks_resting=False)
RETRY_UNKNOWN = Settings(
    submit_concurrency=1, new_rows=False, on_unknown=OnUnknown.RESUBMIT, gives_up_left=True, takes_over=True
)
RETRY_RUNNING = Settings(
    submit_concurrency=1, new_rows=False, gives_up=True, gives_up_left=True, takes_over=True
)


@dataclass
class Called(FakeProvider):
    """A provider under a name of its own; it counts how often it was asked about a key or for its list."""

    name: str = "fake"

    @property
    def capabilities(self) -> Capabilities:
        """As any, by this name."""
        return replace(super().capabilities, name=self.name)

    @property
    def asked(self) -> int:
        """Requests about what is not answered."""
        return self.probes + self.listings + self.submits


@dataclass
class Told(Night):
    """Keeps what a person is told."""

    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen."""
        self.on_announce = self.said.append


def attempts(it: Night) -> list[AttemptReport]:
    """All of a folder, also of rows that left."""
    with open_reader(it.folder / "state.sqlite3") as reader:
        return list(reader.attempts())


def lost(n: int) -> str | None:
    """The second request makes its task, and nobody is told."""
    return "lost" if n == 1 else None


def forgetful(**more: object) -> Called:
    """A provider that shows nothing of what it has made."""
    provider = Called(idempotency=Idempotency.IGNORED, lists_tasks=False)
    for name, value in more.items():
        setattr(provider, name, value)
    return provider


# --- a row that leaves while its request has no answer ---------------------------------------------


@pytest.mark.parametrize("by", ["key", "list"])
def test_what_was_made_for_a_row_that_left_is_fetched(tmp_path: Path, by: str) -> None:
    """Free questions settle it as they do any other."""
    remembers = by == "key"
    provider = Called(
        idempotency=Idempotency.UNPROVEN, remembers_keys=remembers, lists_tasks=by == "list", on_submit=lost
    )
    it = Told(tmp_path, provider, ["a", "b"], Settings(submit_concurrency=1, resolve_tries=0))
    provider.lists_tasks, listed = False, provider.lists_tasks
    it.run()
    assert it.statuses() == [DONE, UNKNOWN]
    provider.lists_tasks, provider.on_submit = listed, lambda n: None
    it.prompts, it.settings = ["a"], RUN
    it.run()
    assert [one.phase for one in attempts(it)] == [Phase.SAVED, Phase.SAVED]
    assert set(provider.paid().values()) == {1}


def test_a_row_that_left_without_an_answer_is_told_once_and_not_asked_about_again(tmp_path: Path) -> None:
    """Where nothing shows what became of it."""
    provider = forgetful(on_submit=lost)
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run()
    it.prompts = ["a"]
    it.run()
    assert sum("have left the manifest" in text for text in it.said) == 1
    asked = provider.asked
    it.run()
    assert provider.asked == asked
    assert sum("have left the manifest" in text for text in it.said) == 1
    assert [one.phase for one in attempts(it)] == [Phase.SAVED, Phase.UNKNOWN]


@pytest.mark.parametrize("settings", [RUN, RETRY_UNKNOWN], ids=["run", "retry"])
def test_a_row_that_left_does_not_rest_while_the_provider_is_in_trouble(
    tmp_path: Path, settings: Settings
) -> None:
    """No answer is no word about the request: what was made for it may be found yet."""
    provider = forgetful(on_submit=lost)
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run()
    provider.lists_tasks, provider.on_list = True, lambda n: BAD_GATEWAY
    it.prompts, it.settings = ["a"], settings
    it.run()
    assert attempts(it)[1].phase is Phase.UNKNOWN
    assert not any("have left the manifest" in text for text in it.said)
    provider.on_list, it.settings = lambda n: None, RUN
    it.run()
    assert attempts(it)[1].phase is Phase.SAVED


def test_a_task_with_an_unknown_word_does_not_rest_when_its_row_leaves(tmp_path: Path) -> None:
    """It may stand for "still working"."""
    provider = Called(on_read=lambda n, task: {**working(task.id), "status": "simmering"})
    it = Told(tmp_path, provider, ["a", "b"], replace(RUN, stuck_after_s=60.0))
    it.run(stop_now_at(5.0))
    it.prompts = ["a"]
    it.run()
    provider.on_read = lambda n, task: None
    it.run()
    assert [one.phase for one in attempts(it)] == [Phase.SAVED, Phase.SAVED]


def test_a_row_that_comes_back_is_asked_about_again(tmp_path: Path) -> None:
    """It rests only as long as nobody wants it."""
    provider = forgetful(on_submit=lost)
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run()
    it.prompts = ["a"]
    it.run()
    provider.lists_tasks, it.prompts = True, ["a", "b"]
    it.run()
    assert it.statuses() == [DONE, DONE]
    assert set(provider.paid().values()) == {1}


def test_a_person_settles_a_row_that_left_without_paying_for_it(tmp_path: Path) -> None:
    """`retry --only unknown` gives it up; what it may have cost stays counted."""
    provider = forgetful(on_submit=lost)
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run()
    it.prompts = ["a"]
    it.run()
    it.settings = RETRY_UNKNOWN
    it.run()
    assert provider.submits == 2
    assert [(one.phase, one.error_code) for one in attempts(it)][1] == (Phase.FAILED, "given_up")
    with open_reader(it.folder / "state.sqlite3") as reader:
        assert reader.credits().unknown == 2.0


@pytest.mark.parametrize("has_left", [False, True])
def test_a_task_that_the_provider_has_forgotten_can_be_given_up(tmp_path: Path, has_left: bool) -> None:
    """It is read once more before; the row is paid for again only if the manifest still asks for it."""
    provider = Called()
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run(stop_now_at(5.0))
    assert it.statuses() == [RUNNING, RUNNING]
    provider.tasks = {f"x-{n}": FakeTask(f"x-{n}", b"{}", "", "other", -1e6, -1e6) for n in range(9)}
    it.prompts, it.settings = ["a"] if has_left else ["a", "b"], RUN
    it.run()
    assert it.statuses()[0] is RUNNING
    it.settings = RETRY_RUNNING
    it.run()
    assert set(it.statuses()) == {DONE}
    assert provider.submits == (3 if has_left else 4)
    assert Counter(one.error_code for one in attempts(it))["given_up"] == 2


# --- the same provider under another name, or with another key -------------------------------------


def test_an_earlier_rows_task_is_not_adopted_under_another_name(tmp_path: Path) -> None:
    """The account's list shows it, and the state knows whose it is."""
    provider = Called()
    it = Told(tmp_path, provider, ["a"], RUN)
    it.run()
    provider.name, provider.remembers_keys = "renamed", False
    it.prompts = ["a", "b"]
    provider.on_submit = lambda n: Unknown("reset") if n == 1 else None
    it.now = lambda: 0.5
    it.run()
    rows = it.rows()
    assert (rows[0].task_id, rows[1].task_id) == ("task-0", None)
    assert rows[1].status is UNKNOWN


def test_what_has_no_answer_under_another_name_is_a_rival(tmp_path: Path) -> None:
    """A task of that time may be either's."""
    provider = forgetful(on_submit=lambda n: "lost")
    it = Told(tmp_path, provider, ["a"], RUN)
    it.run()
    provider.name, provider.lists_tasks, it.prompts = "renamed", True, ["a", "b"]
    provider.on_submit = lambda n: Unknown("reset")
    it.run()
    assert it.statuses() == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("account", ["one", "another"])
def test_a_person_settles_what_went_elsewhere(tmp_path: Path, account: str) -> None:
    """The same account: the same request under its key; another one: given up there, and paid for here."""
    provider = forgetful(on_submit=lost)
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run()
    other = Called(name="other", account=account, tasks=dict(provider.tasks) if account == "one" else {})
    it.provider, it.settings = other, RUN
    it.run()
    assert (it.statuses(), other.submits) == ([DONE, UNKNOWN], 0)
    it.settings = replace(RETRY_UNKNOWN, takes_over=False)
    it.run()
    assert (it.statuses()[1], other.submits) == ((DONE, 1) if account == "one" else (UNKNOWN, 0))
    it.settings = RETRY_UNKNOWN
    it.run()
    assert it.statuses() == [DONE, DONE]
    if account == "one":
        assert set(other.paid().values()) == {1}
    else:
        assert [one.error_code for one in attempts(it)] == [None, "given_up", None]


def test_what_is_sent_with_another_accounts_key_is_another_payment(tmp_path: Path) -> None:
    """And no run sends it once more by itself."""
    provider = forgetful(on_submit=lost)
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run()
    other = Called(account="two", idempotency=Idempotency.HONOURED, lists_tasks=False, keys_come_first=False)
    other.on_submit = lambda n: "lost"
    it.provider, it.settings = other, replace(RETRY_UNKNOWN, resolve_tries=0)
    it.run()
    assert (it.statuses(), other.submits) == ([DONE, UNKNOWN], 1)
    it.settings = RUN
    it.run()
    assert (it.statuses(), other.submits) == ([DONE, UNKNOWN], 1)
    assert attempts(it)[1].sent == 2


@pytest.mark.parametrize("forgets", [False, True])
def test_a_task_at_the_same_host_is_collected_with_another_key(tmp_path: Path, forgets: bool) -> None:
    """Under another name, too; by a person's word it is given up where it cannot be read."""
    provider = Called(name="p@api.example")
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run(stop_now_at(5.0))
    tasks = {} if forgets else dict(provider.tasks)
    other = Called(name="q@api.example", account="two", tasks=tasks)
    it.provider = other
    it.run()
    assert it.statuses() == ([RUNNING, RUNNING] if forgets else [DONE, DONE])
    other.tasks |= {f"x-{n}": FakeTask(f"x-{n}", b"{}", "", "other", -1e6, -1e6) for n in range(9)}
    it.settings = RETRY_RUNNING
    it.run()
    assert set(it.statuses()) == {DONE}
    assert other.submits == (2 if forgets else 0)


def test_no_answer_gives_no_task_up(tmp_path: Path) -> None:
    """An outage says nothing of a task, whatever a person has said of tasks that are gone."""
    provider = Called(name="p@api.example")
    it = Told(tmp_path, provider, ["a"], RUN)
    it.run(stop_now_at(5.0))
    other = Called(name="q@api.example", account="two", tasks=dict(provider.tasks))
    other.on_batch = lambda n: "reset" if n == 0 else None
    it.provider, it.settings = other, RETRY_RUNNING
    it.run()
    assert (it.statuses(), other.submits) == ([RUNNING], 0)
    it.run()
    assert (it.statuses(), other.submits) == ([DONE], 0)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_task_under_another_name_is_collected_where_it_can_be_read(tmp_path: Path, forgets: bool) -> None:
    """The key is the same, and it is no trouble if the provider is another one after all."""
    provider = Called()
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run(stop_now_at(5.0))
    it.provider = Called(name="renamed", tasks={} if forgets else dict(provider.tasks))
    it.run()
    assert it.statuses() == ([RUNNING, RUNNING] if forgets else [DONE, DONE])
    assert it.provider.submits == 0
    assert not it.stop.asked


@pytest.mark.parametrize(
    ("first", "then", "moves"),
    [
        ("p@localhost", "p@127.0.0.1", True),
        ("p@api.example", "q@api.example", True),
        ("p@api.example", "p@other.example", False),
        ("local", "local-unified", False),
    ],
)
def test_what_has_no_answer_moves_with_its_host(tmp_path: Path, first: str, then: str, moves: bool) -> None:
    """There the same key and bytes are the same payment."""
    provider = forgetful(on_submit=lost, name=first)
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run()
    it.provider = Called(
        name=then, idempotency=Idempotency.HONOURED, tasks=dict(provider.tasks), lists_tasks=False
    )
    it.run()
    assert it.statuses() == [DONE, DONE if moves else UNKNOWN]
    assert set(it.provider.paid().values()) == {1}


def test_a_forgotten_task_of_a_row_that_left_is_not_asked_about_for_ever(tmp_path: Path) -> None:
    """It is said once; nobody waits for it."""
    provider = Called()
    it = Told(tmp_path, provider, list("abcd"), RUN)
    it.run(stop_now_at(5.0))
    for task_id in list(provider.tasks)[1:]:
        task = provider.tasks.pop(task_id)
        provider.tasks[f"x-{task_id}"] = task
    it.prompts = ["a"]
    it.run()
    assert sum("have left the manifest: 3" in text for text in it.said) == 1
    asked = len(provider.batches)
    it.run()
    assert len(provider.batches) == asked


@pytest.mark.parametrize(("host", "settles"), [("p@here.example", True), ("p@elsewhere.example", False)])
def test_what_is_at_another_host_has_its_turn_when_its_own_are_settled(
    tmp_path: Path, host: str, settles: bool
) -> None:
    """One command is not to pay for rows of two providers without being told so."""
    provider = forgetful(on_submit=lambda n: "lost", name=host)
    it = Told(tmp_path, provider, ["a"], RUN)
    it.run()
    here = forgetful(on_submit=lambda n: "lost" if n == 0 else None, name="q@here.example", account="two")
    it.provider, it.prompts = here, ["a", "b"]
    it.run()
    assert it.statuses() == [UNKNOWN, UNKNOWN]
    it.settings = RETRY_UNKNOWN
    it.run()
    assert it.statuses() == [DONE if settles else UNKNOWN, DONE]
    it.run()
    assert it.statuses() == [DONE, DONE]


def test_a_task_that_another_provider_runs_is_given_up_and_paid_for_here(tmp_path: Path) -> None:
    """By a person's word, who names where."""
    provider = Called(latency_s=1e9)
    it = Told(tmp_path, provider, ["a"], replace(RUN, stuck_after_s=60.0))
    it.run()
    assert it.statuses() == [RUNNING]
    other = Called(name="other", account="another")
    it.provider, it.settings = other, RETRY_RUNNING
    it.run()
    assert (it.statuses(), other.submits) == ([DONE], 1)


def test_what_is_held_after_a_key_was_changed_is_sent_again_by_a_persons_word(tmp_path: Path) -> None:
    """With the new key, and from then on it is that key's."""
    provider = forgetful(on_submit=lost)
    it = Told(tmp_path, provider, ["a", "b"], RUN)
    it.run()
    again = {0: "lost"}.get
    rotated = Called(account="two", tasks=dict(provider.tasks), on_submit=lambda n: again(n))
    it.provider = rotated
    it.run()
    assert (it.statuses(), rotated.submits) == ([DONE, UNKNOWN], 0)
    it.settings = replace(RETRY_UNKNOWN, takes_over=False)
    it.run()
    assert it.statuses() == [DONE, DONE]
    assert set(rotated.paid().values()) == {1}


def test_another_providers_tasks_are_left_alone(tmp_path: Path) -> None:
    """They cannot be read or repeated here, and keep their state for the provider that has them."""
    it = night(tmp_path, FakeProvider(on_submit=lambda n: "lost" if n == 2 else None), 3, resolve_tries=0)
    it.run(stop_now_at(5.0))
    before = it.statuses()
    other = Watched(offers={"name": "other", "account": "another"})
    Night(tmp_path, other, PROMPTS[:3]).run(within(NEVER_S))
    assert it.statuses() == before
    assert (other.submits, other.read_at, other.probed_at) == (0, {}, [])
