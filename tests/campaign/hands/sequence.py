"""A random sequence of what people do, and what comes of it in the end."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.hands.advice import settle
from tests.campaign.hands.deeds import DEEDS, Deed
from tests.campaign.hands.judge import verdicts
from tests.campaign.hands.world import World
from tests.campaign.strict.client import Strict
from tests.campaign.strict.mutations import KEY

_KEYS = ("honoured", "honoured", "honoured", "unproven", "ignored")
_SHRINK_S = 150.0
SETTINGS = {"task_s": (0.05, 0.3), "read_gap_s": 0.05, "faults": {"retry_after_s": 0.0}}


@dataclass(frozen=True)
class Plan:
    """What is done; with the same seed the same, but for the moment at which a signal meets a process."""

    seed: int
    left_out: tuple[int, ...] = ()
    """Numbers of actions that are not done, to find out which it takes."""

    def deeds(self) -> list[tuple[int, Deed, random.Random]]:
        """Each with a chance of its own, so that the others stay the same without it."""
        chance = random.Random(f"deeds {self.seed}")
        chosen = chance.choices(list(DEEDS), list(DEEDS.values()), k=chance.randint(5, 14))
        numbered = enumerate(chosen)
        return [
            (number, deed, random.Random(f"{self.seed} {number}"))
            for number, deed in numbered
            if number not in self.left_out
        ]


@dataclass(frozen=True)
class Verdict:
    """How a sequence went."""

    plan: Plan
    done: tuple[str, ...]
    """The actions, in words."""
    faults: tuple[str, ...]
    paid: int
    commands: int
    seconds: float
    deeds: tuple[str, ...] = ()
    said: str = field(default="", repr=False)
    """All that the commands said."""

    @property
    def kinds(self) -> set[str]:
        """Of the faults."""
        return {kind_of(fault) for fault in self.faults}


def kind_of(fault: str) -> str:
    """What faults have in common: the words in front, without names and figures."""
    front = fault.split(":")[0]
    if front in ("traceback", "exit code", "never ends"):
        return re.sub(r"\d+", "N", fault)[:120]
    if front in ("useless advice", "dead end", "lost"):
        return re.sub(r"['\"][^'\"]*['\"]|\S*\d\S*", "…", fault)[:120]
    return front


def play(plan: Plan, server: Strict, folder: Path) -> Verdict:
    """From an empty folder to the judge."""
    began = time.monotonic()
    world = _begin(plan, server, folder)
    done: list[str] = [
        f"{len(world.rows)} rows, keys {world.keys}, state {world.state_dir or 'in the folder'}"
    ]
    deeds = plan.deeds()
    for number, deed, chance in deeds:
        if said := deed(world, chance):
            done.append(f"{number}. {said}")
        world.snapshot()
    _set_right(world)
    settled = settle(world)
    faults = [*world.faults, *verdicts(world, settled, server.report())]
    if settled.last.exit_code == 0:
        faults += _once_more(world)
    report = server.report()
    return Verdict(
        plan=plan,
        done=tuple(done),
        faults=tuple(dict.fromkeys(faults)),
        paid=report["charged"] - report["refunded"],
        commands=len(world.steps),
        seconds=time.monotonic() - began,
        deeds=tuple(deed.__name__ for _, deed, _ in deeds),
        said="\n".join(f"$ {step.line()}, {step.seconds:.1f} s\n{step.said}" for step in world.steps),
    )


def _begin(plan: Plan, server: Strict, folder: Path) -> World:
    from tests.campaign.hands.world import OTHER_KEY

    chance = random.Random(f"world {plan.seed}")
    keys = chance.choice(_KEYS)
    server.ask("calm")
    server.ask(
        "reset",
        {
            **SETTINGS,
            "seed": plan.seed,
            "more_keys": (OTHER_KEY,),
            "api_key": KEY,
            "keys": "ignored" if keys == "ignored" else "honoured",
        },
    )
    world = World(folder, server, plan.seed, keys, "states" if chance.random() < 0.25 else "")
    world.rows = [world.new_row() for _ in range(chance.randint(4, 8))]
    world.write_manifest()
    world.write_profiles()
    return world


def _set_right(world: World) -> None:
    """The clock, the provider, and what nobody may read."""
    world.ahead_s = 0.0
    world.profile, world.host = "p.yaml", "127.0.0.1"
    world.set_faults()
    world.server.ask("calm")
    for path in world.images():
        path.chmod(0o644)


def _once_more(world: World) -> list[str]:
    """A run right after one that ended with 0 asks nobody for anything."""
    before = world.server.report()["requests"]
    step = world.run()
    after = world.server.report()["requests"]
    sent = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    faults = [f"second run: sends {', '.join(sorted(sent))}: {sent}"] if sent else []
    if step.exit_code != 0:
        faults.append(f"second run: exit {step.exit_code}")
    return faults


def shrunk(verdict: Verdict, kind: str, server: Strict, room: Path) -> Verdict:
    """The same kind of fault with as few actions as can be, each left out in turn."""
    best, end = verdict, time.monotonic() + _SHRINK_S
    for number, _, _ in reversed(verdict.plan.deeds()):
        if time.monotonic() > end:
            break
        plan = Plan(verdict.plan.seed, (*best.plan.left_out, number))
        folder = room / f"without-{number}"
        folder.mkdir()
        tried = play(plan, server, folder)
        if kind in tried.kinds:
            best = tried
    return best
