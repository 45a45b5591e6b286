"""Real processes against a real service: start, kill, resume, and ask the service's ledger what was paid."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nanobanana_batch.results import read_results
from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.ledger import read_ledger
from nanobanana_batch.service.options import ServiceOptions
from tests.warm import start_copy

MODEL = "gemini-3.1-flash-image-preview"
KEY = "canary-key-3f9ac1d27be84455"
QUICK_PROFILE = "extends: evolink\nname: quick\npoll_interval_s: 0.1\nidempotency: unproven\n"
"""The provider as it is, but asked more often, so that a test does not wait for 3 s between two reads; and
whether it remembers keys is for it to show."""


@dataclass(frozen=True)
class Bench:
    """A service and a folder to run in."""

    folder: Path
    service: EmbeddedService
    data: Path
    manifest: Path
    out_name: str = "out"

    @property
    def out(self) -> Path:
        """The output folder of the runs."""
        return self.folder / self.out_name

    @property
    def where(self) -> tuple[str, ...]:
        """The provider, as each command that sends something has to be told."""
        return "--provider", str(self.folder / "quick.yaml"), "--base-url", self.service.base_url

    def another(self, manifest: Path) -> Bench:
        """The same service, another manifest and output folder."""
        return replace(self, manifest=manifest.absolute(), out_name=f"out-{manifest.stem}")

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Start a run as a process of its own."""
        return start_cli(
            "run",
            str(self.manifest),
            "--out",
            str(self.out),
            *self.where,
            *flags,
            cwd=self.folder,
        )

    def finish(self, *flags: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        process = self.start(*flags)
        out, err = process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def tasks_paid(self) -> set[str]:
        """The ids of all tasks that were charged for."""
        return {task.id for task in read_ledger(self.data).tasks}

    def bodies_paid(self) -> Counter[str]:
        """How often each request body was paid for, by the service's own ledger."""
        return Counter(hashlib.sha256(task.body).hexdigest() for task in read_ledger(self.data).tasks)


@contextmanager
def bench(folder: Path, manifest: Path, *, says: str = "unproven", **options: Any) -> Iterator[Bench]:
    """A service with its own data, and room for an output folder.

    `says`: what the profile says of idempotency keys; `idempotency` among the options is what is true.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "quick.yaml").write_text(QUICK_PROFILE.replace("unproven", says))
    data = folder / "service"
    with EmbeddedService(ServiceOptions(data_dir=data, **options)) as service:
        yield Bench(folder, service, data, manifest.absolute())


def small_manifest(folder: Path, rows: int, name: str = "small") -> Path:
    """A table of rows with small pictures; prompts differ between names."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    lines = [f"row-{n},picture {n} of {name},{MODEL},1:1,0.5K" for n in range(rows)]
    path.write_text("\n".join(["id,prompt,model,aspect_ratio,resolution", *lines]) + "\n")
    return path


def start_cli(
    *words: str, cwd: Path, key: str | None = KEY, stdin: int | None = None
) -> subprocess.Popen[str]:
    """The command line as a process of its own, in its own process group."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    if key is not None:
        environment["EVOLINK_API_KEY"] = key
    return start_copy(words, cwd, environment, stdin)


def cli(
    *words: str, cwd: Path, key: str | None = KEY, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    process = start_cli(*words, cwd=cwd, key=key)
    out, err = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wrong_hashes(out: Path) -> list[str]:
    """Images whose bytes are not those that results.csv says."""
    frame = read_results(out)
    done = frame[frame["status"] == "completed"]
    return [
        image
        for image, sha256 in zip(done["image"], done["sha256"], strict=True)
        if hashlib.sha256((out / image).read_bytes()).hexdigest() != sha256
    ]
