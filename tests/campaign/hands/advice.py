"""A person who does what the program says: the commands in its texts, word for word."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.campaign.hands.world import OUT, Step, World

_ROUNDS = 6
_QUOTED = re.compile(r"`([^`]+)`")
_FLAG = re.compile(r"--(?:as-copy|rebuild)\b")
_COMMANDS = ("run", "retry", "audit", "status", "results")
_SETTLES = ("run", "retry", "audit")
_WITH_FOLDER = ("retry", "audit", "status", "results")
_PLACEHOLDERS = {"FOLDER", "DIR", OUT}
_RUN_AGAIN = re.compile(r"\brun (?:it |the same command )?again\b", re.IGNORECASE)


@dataclass(frozen=True)
class Advice:
    """For one thing, in the order in which to try it."""

    about: str
    commands: tuple[str, ...]


@dataclass
class Settled:
    """How a folder stands when nothing more is advised."""

    last: Step
    findings: list[dict[str, Any]] = field(default_factory=list)
    useless: list[str] = field(default_factory=list)
    """Advice that was followed and printed again for the same thing."""
    rounds: int = 0


def settle(world: World) -> Settled:
    """Run, and follow what the run and the audit say, until both have nothing more to say."""
    tried: Counter[tuple[str, str]] = Counter()
    useless: list[str] = []
    for number in range(1, _ROUNDS + 1):
        ended = world.run()
        if "leave out --state-dir" in ended.said:  # a state that was made anew stands in the folder
            world.state_dir = ""
            ended = world.run()
        said = [ended]
        if ended.is_refusal:
            findings: list[dict[str, Any]] = []
            advices = list(_of_text(world, ended))
        else:
            looked = world.do(["audit", OUT, "--json", *world.where(), "--no-progress"])
            said.append(looked)
            findings = _findings(looked)
            advices = [*_of_findings(world, findings), *_of_text(world, ended)]
            if not findings and looked.is_refusal:
                advices += _of_text(world, looked)
        todo: dict[str, None] = {}
        for advice in advices:
            if any(command in todo for command in advice.commands):
                continue  # two rows may bear one id: one of them has left
            left = [command for command in advice.commands if not tried[advice.about, command]]
            if not left:
                useless.append(f"{advice.about}: {' / '.join(advice.commands)}")
            for command in left[:1]:
                todo[command] = None
                tried[advice.about, command] += 1
        if useless or not todo:
            return Settled(ended, findings, useless, number)
        for command in todo:
            _follow(world, command)
    return Settled(world.run(), findings, useless, _ROUNDS)


def _follow(world: World, command: str, depth: int = 0) -> None:
    """A refusal that names another command is followed as well."""
    words = shlex.split(command)
    step = world.do(words)
    if step.is_refusal and depth < 2:
        for advice in _of_text(world, step):
            for other in advice.commands[:1]:
                if other != command:
                    _follow(world, other, depth + 1)


def _findings(looked: Step) -> list[dict[str, Any]]:
    try:
        found = json.loads(looked.said[looked.said.index("{") : looked.said.rindex("}") + 1])
    except ValueError:
        return []
    return list(found.get("findings", []))


def _of_findings(world: World, findings: list[dict[str, Any]]) -> Iterator[Advice]:
    for finding in findings:
        if commands := tuple(_commands(world, finding["advice"])):
            yield Advice(f"{finding['kind']} {finding['what']}", commands)


def _of_text(world: World, step: Step) -> Iterator[Advice]:
    """What a command printed, sentence by sentence: figures aside, the same words are about the same."""
    text = " ".join(step.said.split())
    for sentence in re.split(r"(?<=[.;]) (?=[A-Z`])", text):
        commands = tuple(_commands(world, sentence))
        if not commands and (flag := _FLAG.search(sentence)):
            commands = (shlex.join([*step.words, flag[0]]),)
        if commands:
            yield Advice(re.sub(r"\d+", "N", sentence)[-120:], commands)
    if step.exit_code == 3 and _RUN_AGAIN.search(text):
        yield Advice(f"stopped {step.words[0]}", (shlex.join(world.run_words()),) * 2)


def _commands(world: World, text: str) -> Iterator[str]:
    """Whole command lines."""
    if _RUN_AGAIN.search(text) and text.startswith("run again"):
        yield shlex.join(world.run_words())
    for quoted in _QUOTED.findall(text):
        try:
            words = shlex.split(quoted)
        except ValueError:
            continue
        if words and words[0] == "nanobanana-batch":
            words = words[1:]
        if words and words[0] in _SETTLES:
            yield shlex.join(_completed(world, words))


def _completed(world: World, words: list[str]) -> list[str]:
    """With what the person has to say each time: the folder, the provider."""
    name, *rest = words
    rest = [word for word in rest if word not in ("…", "...")]
    if name == "run":
        known = world.run_words()
        return [*known, *(word for word in rest if word.startswith("--") and word not in known)]
    if not rest or rest[0].startswith("-"):
        rest = [OUT, *rest]
    if rest[0] in _PLACEHOLDERS:
        rest[0] = OUT
    if "--provider" not in rest:
        rest += world.where()
    return [name, *rest, "--no-progress"]
