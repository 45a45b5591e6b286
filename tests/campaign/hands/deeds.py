"""What a person does between two runs, or a machine to a person: functions of the world and of chance."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from tests.campaign.hands.world import OTHER_KEY, OUT, POINTER, STATE, Row, World, digest
from tests.campaign.strict.mutations import KEY
from tests.campaign.strict.pictures import picture

Deed = Callable[[World, random.Random], str]
"""Does it, and says it in a few words; nothing, where there was nothing to do."""
_DAY_S = 86400.0


# -- runs ------------------------------------------------------------------------------------------------


def run(world: World, chance: random.Random) -> str:
    """Nothing goes wrong."""
    return world.run().line()


def run_and_kill(world: World, chance: random.Random) -> str:
    """At any moment, by any signal."""
    name = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
    after_s = round(chance.uniform(0.05, 0.7), 2)
    step = world.run(signalled=(after_s, name))
    return f"run, {name.name} after {after_s} s → exit {step.exit_code}"


def run_in_trouble(world: World, chance: random.Random) -> str:
    """Replies that are lost or cut, limits, errors; perhaps killed as well."""
    name = chance.choice(list(_TROUBLES))
    world.set_faults(**_TROUBLES[name])
    signalled = (round(chance.uniform(0.2, 1.0), 2), signal.SIGKILL) if chance.random() < 0.4 else None
    step = world.run(signalled=signalled)
    world.set_faults()
    killed = f", SIGKILL after {signalled[0]} s" if signalled else ""
    return f"run with {name}{killed} → exit {step.exit_code}"


_TROUBLES: dict[str, dict[str, float]] = {
    "lost replies": {"lost_after": 0.6},
    "lost requests and replies": {"lost_after": 0.4, "lost_before": 0.4},
    "lost replies and a list without tasks": {"lost_after": 0.5, "list_lag_s": 1e9},
    "requests that never arrive": {"lost_before": 0.9},
    "500s": {"rate_5xx_before": 0.3, "rate_5xx_after": 0.3},
    "cut replies": {"half_reply": 0.6},
    "429s": {"rate_429": 0.6, "retry_after_s": 0.0},
    "tasks that fail": {"fail_task": 0.6},
    "tasks that are refused": {"refuse_task": 0.6},
    "requests that are rejected": {"reject": 0.5},
    "tasks that take long": {"stuck_task": 0.6},
    "reads that fail": {"rate_5xx_read": 0.8},
    "dead links": {"link_403": 1.0},
    "downloads that are cut": {"cut_download": 0.7},
}


def run_without_provider(world: World, chance: random.Random) -> str:
    """Connections are refused, for all of the run or its beginning."""
    length_s = round(chance.uniform(0.2, 1.5), 2)
    world.server.ask("outage", {"kind": "refuse", "length_s": length_s})
    return f"run, connections refused for {length_s} s → exit {world.run().exit_code}"


def run_under_another_name(world: World, chance: random.Random) -> str:
    """The same provider: another profile file, or another spelling of its host; mostly with lost requests."""
    before = world.profile, world.host
    if chance.random() < 0.6:
        world.profile = "q.yaml"
    else:
        world.host = "localhost"
    faults: dict[str, float] = chance.choice([{}, {"lost_before": 0.6}, {"lost_after": 0.6}])
    world.set_faults(**faults)
    kills = chance.random() < 0.5
    step = world.run(signalled=(round(chance.uniform(0.2, 0.8), 2), signal.SIGKILL) if kills else None)
    world.set_faults()
    said = f"run with {world.profile} at {world.host}, faults {faults}{', killed' if kills else ''}"
    if chance.random() < 0.6:
        world.profile, world.host = before
    return f"{said} → exit {step.exit_code}"


def rotate_key(world: World, chance: random.Random) -> str:
    """Another key of the same account."""
    world.key = OTHER_KEY if world.key == KEY else KEY
    return "the key is rotated"


# -- other commands --------------------------------------------------------------------------------------


def retry(world: World, chance: random.Random) -> str:
    """Any kind; of one row now and then."""
    only = chance.choice(["failed", "refused", "unknown", "expired", "running"])
    more = ["--row", chance.choice(world.rows).id] if world.rows and chance.random() < 0.3 else []
    return world.retry(only, *more).line()


def audit(world: World, chance: random.Random) -> str:
    """Only a look."""
    return world.do(["audit", OUT, *world.where(), "--no-progress"]).line()


def repair(world: World, chance: random.Random) -> str:
    """Fetches."""
    return world.do(["audit", OUT, "--repair", *world.where(), "--no-progress"]).line()


def look(world: World, chance: random.Random) -> str:
    """Status or results."""
    return world.do([chance.choice(["status", "results"]), OUT]).line()


# -- the manifest ----------------------------------------------------------------------------------------


def edit_manifest(world: World, chance: random.Random) -> str:
    """One change."""
    said = chance.choice(_EDITS)(world, chance)
    world.write_manifest()
    return said


def _remove(world: World, chance: random.Random) -> str:
    if len(world.rows) < 2:
        return ""
    row = world.rows.pop(chance.randrange(len(world.rows)))
    world.taken_out.append(row)
    return f"{row.id} leaves the manifest"


def _add(world: World, chance: random.Random) -> str:
    row = world.new_row()
    world.rows.insert(chance.randrange(len(world.rows) + 1), row)
    return f"{row.id} is added"


def _reorder(world: World, chance: random.Random) -> str:
    chance.shuffle(world.rows)
    return "rows change places"


def _rename(world: World, chance: random.Random) -> str:
    number = chance.randrange(len(world.rows))
    world.made_rows += 1
    old, world.rows[number] = (
        world.rows[number],
        Row(f"name-{world.made_rows}", world.rows[number].prompt),
    )
    return f"{old.id} is renamed {world.rows[number].id}"


def _swap_ids(world: World, chance: random.Random) -> str:
    if len(world.rows) < 2:
        return ""
    a, b = chance.sample(range(len(world.rows)), 2)
    one, other = world.rows[a], world.rows[b]
    world.rows[a], world.rows[b] = Row(other.id, one.prompt), Row(one.id, other.prompt)
    return f"{one.id} and {other.id} swap names"


def _change_prompt(world: World, chance: random.Random) -> str:
    number = chance.randrange(len(world.rows))
    old = world.rows[number]
    world.taken_out.append(old)
    world.rows[number] = Row(old.id, world.new_row().prompt)
    return f"{old.id} has another prompt"


def _double(world: World, chance: random.Random) -> str:
    row = chance.choice(world.rows)
    world.made_rows += 1
    twin = Row(f"twin-{world.made_rows}", row.prompt)
    world.rows.insert(chance.randrange(len(world.rows) + 1), twin)
    return f"{row.id} gets a twin, {twin.id}"


def _remove_twin(world: World, chance: random.Random) -> str:
    prompts = [row.prompt for row in world.rows]
    twins = [row for row in world.rows if prompts.count(row.prompt) > 1]
    if not twins:
        return _double(world, chance)
    row = chance.choice(twins)
    world.rows.remove(row)
    return f"a twin, {row.id}, leaves the manifest"


def _put_back(world: World, chance: random.Random) -> str:
    ids = {row.id for row in world.rows}
    back = [row for row in world.taken_out if row.id not in ids]
    if not back:
        return ""
    row = chance.choice(back)
    world.taken_out.remove(row)
    world.rows.insert(chance.randrange(len(world.rows) + 1), row)
    return f"{row.id} comes back"


_EDITS: tuple[Deed, ...] = (
    *(_remove, _remove, _add, _reorder, _rename, _swap_ids, _change_prompt),
    *(_double, _double, _remove_twin, _remove_twin, _put_back),
)


# -- images ----------------------------------------------------------------------------------------------


def touch_images(world: World, chance: random.Random) -> str:
    """Delete, change or replace one, or all."""
    if not world.images():
        return ""
    return chance.choice(_TOUCHES)(world, chance)


def _take(world: World, path: Path) -> None:
    """What was there is the person's doing from now on."""
    world.removed.add(digest(path))
    world.placed.pop(str(path.relative_to(world.out)), None)


def _place(world: World, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    world.placed[str(path.relative_to(world.out))] = digest(path)


def _delete_one(world: World, chance: random.Random) -> str:
    path = chance.choice(world.images())
    _take(world, path)
    path.unlink()
    return f"{path.name} is deleted"


def _delete_all(world: World, chance: random.Random) -> str:
    for path in world.images():
        _take(world, path)
        path.unlink()
    return "all images are deleted"


def _delete_folder(world: World, chance: random.Random) -> str:
    for path in world.images():
        _take(world, path)
    shutil.rmtree(world.out / "images")
    return "images/ is deleted"


def _append(world: World, chance: random.Random) -> str:
    path = chance.choice(world.images())
    data = path.read_bytes()
    _take(world, path)
    _place(world, path, data + b"a note of the person's")
    return f"{path.name} has more bytes behind its end"


def _replace(world: World, chance: random.Random) -> str:
    path = chance.choice(world.images())
    _take(world, path)
    _place(world, path, picture("png", "1:1", "0.5K", f"by hand {chance.random()}"))
    return f"{path.name} is another picture now"


def _mix_up(world: World, chance: random.Random) -> str:
    paths = world.images()
    if len(paths) < 2:
        return ""
    one, other = chance.sample(paths, 2)
    data = other.read_bytes()
    _take(world, one)
    _place(world, one, data)
    return f"{other.name} is copied over {one.name}"


def _directory(world: World, chance: random.Random) -> str:
    path = chance.choice(world.images())
    _take(world, path)
    path.unlink()
    path.mkdir()
    return f"{path.name} is a directory now"


def _unreadable(world: World, chance: random.Random) -> str:
    path = chance.choice(world.images())
    path.chmod(0)
    return f"{path.name} cannot be read"


_TOUCHES: tuple[Deed, ...] = (
    *(_delete_one, _delete_one, _delete_all, _delete_folder, _append, _replace, _mix_up),
    *(_directory, _unreadable),
)


# -- the folder ------------------------------------------------------------------------------------------


def lose_state(world: World, chance: random.Random) -> str:
    """All of it, its log alone, or its pointer."""
    kinds = ["all", "log", *(["pointer", "pointer"] if world.state_dir else [])]
    kind = chance.choice(kinds)
    if kind == "pointer":
        (world.out / POINTER).unlink(missing_ok=True)
        return f"{POINTER} is deleted"
    names = {"all": (STATE, f"{STATE}-wal", f"{STATE}-shm"), "log": (f"{STATE}-wal", f"{STATE}-shm")}[kind]
    place = world.states
    found = [name for name in names if (place / name).exists()]
    for name in found:
        (place / name).unlink()
    return f"{', '.join(found)} deleted" if found else ""


def roll_back(world: World, chance: random.Random) -> str:
    """An older copy of the state comes back."""
    if not world.snapshots or not world.states.is_dir():
        return ""
    number, place = chance.randrange(len(world.snapshots)), world.states
    for path in place.glob(f"{STATE}*"):
        path.unlink()
    for path in world.snapshots[number].iterdir():
        shutil.copy2(path, place / path.name)
    return f"the state is that of {len(world.snapshots) - number} actions ago"


def lose_papers(world: World, chance: random.Random) -> str:
    """The log, or the results."""
    name = chance.choice(["run.log", "results.csv"])
    (world.out / name).unlink(missing_ok=True)
    return f"{name} is deleted"


def copy_folder(world: World, chance: random.Random) -> str:
    """And go on there, perhaps at another machine, then in the first; told of that, a person may say so."""
    is_new = not world.server.report()["charged"]
    if is_new or not (world.states / STATE).is_file():  # nothing that a copy could know itself by
        return ""
    name = f"copy{len(world.copies) + 1}"
    shutil.copytree(world.out, world.folder / name)
    world.copies.append(name)
    if chance.random() < 0.5:
        world.machines[name] = f"machine-of-{name}"
    step = world.run(name)
    said = (
        f"copied to {name} and run there, {world.machines.get(name, 'same machine')} → exit {step.exit_code}"
    )
    if step.is_refusal and "--as-copy" in step.said and chance.random() < 0.5:
        said += f", --as-copy → exit {world.run(name, '--as-copy').exit_code}"
    return said


# -- the provider and the clock --------------------------------------------------------------------------


def restart_provider(world: World, chance: random.Random) -> str:
    """With all its memory, or without keys, or without tasks as well."""
    lost = chance.choice([None, "keys", "keys", "tasks"])
    world.server.ask("restart", {"length_s": 0.05, **({"lost": lost} if lost else {})})
    return f"the provider is restarted, {f'its {lost} forgotten' if lost else 'nothing lost'}"


def move_clock(world: World, chance: random.Random) -> str:
    """By minutes or days, ahead or back; or it is set right."""
    world.ahead_s = chance.choice([0.0, 300.0, 3 * _DAY_S, -3 * _DAY_S, 30 * _DAY_S, -_DAY_S, _DAY_S])
    return f"the clock is {world.ahead_s / 3600:g} h ahead"


DEEDS: dict[Deed, int] = {
    run: 10,
    run_and_kill: 18,
    run_in_trouble: 18,
    run_without_provider: 2,
    run_under_another_name: 7,
    rotate_key: 2,
    retry: 7,
    audit: 2,
    repair: 4,
    look: 3,
    edit_manifest: 18,
    touch_images: 9,
    lose_state: 4,
    roll_back: 4,
    lose_papers: 3,
    copy_folder: 2,
    restart_provider: 5,
    move_clock: 5,
}
"""And how often."""
