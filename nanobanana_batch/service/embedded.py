"""The service lives exactly as long as the command that needs it, however that command ends.

The child ends by itself when its stdin closes, which the kernel sees to even after a kill -9 of the parent.
This file must stay light (no Starlette, no Pillow): commands that do not serve import it too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from nanobanana_batch.service import data_folder
from nanobanana_batch.service.options import ERROR, ServiceError, ServiceOptions

_LOG_NAME = "service.log"
_MOST_LOG_BYTES = 1 << 20
_LOG_TAIL = 12
_STOP_S = 6.0


class EmbeddedService:
    """`with EmbeddedService(options) as service: service.base_url`."""

    def __init__(self, options: ServiceOptions, *, ready_timeout_s: float = 30.0) -> None:
        """Nothing is started yet; `ready_timeout_s` is how long the child may take until it serves."""
        self.options = dataclasses.replace(options, until_stdin_closes=True)
        self.base_url = ""
        self._ready_timeout_s = ready_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    @property
    def pid(self) -> int:
        """The child's. Raises ServiceError where none runs."""
        if self._child is None:
            raise ServiceError("the embedded service is not running")
        return self._child.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once the child serves, at `base_url`. Raises ServiceError, with the reason, if not."""
        self._log_from = _size_of(self.options.data_dir / _LOG_NAME)
        self._child = _spawn(self.options)
        try:
            self.base_url = self._wait_ready(self._child)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the child: asked, then told, then killed. Harmless when it is gone already."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        for force in (child.terminate, child.kill):
            try:
                child.wait(_STOP_S)
                break
            except subprocess.TimeoutExpired:
                force()
        child.wait()
        child.stdout.close()

    def kill(self) -> None:
        """kill -9, for tests of what survives it."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self.stop()

    def _wait_ready(self, child: subprocess.Popen[bytes]) -> str:
        assert child.stdout is not None
        deadline = time.monotonic() + self._ready_timeout_s
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise ServiceError(self._why(f"not ready after {self._ready_timeout_s:g} s"))
            piece = os.read(child.stdout.fileno(), 4096)
            if not piece:
                raise ServiceError(self._why(f"it ended with exit code {child.wait()}"))
            line += piece
        return str(json.loads(line)["base_url"])

    def _why(self, what: str) -> str:
        try:
            with (self.options.data_dir / _LOG_NAME).open("rb") as log:
                log.seek(self._log_from)
                lines = log.read(_MOST_LOG_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        if lines and lines[-1].startswith(ERROR):
            return f"the embedded service did not start: {lines[-1].removeprefix(ERROR)}"
        tail = "".join(f"\n  {line}" for line in lines[-_LOG_TAIL:])
        return f"the embedded service did not start: {what}{tail}"


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _spawn(options: ServiceOptions) -> subprocess.Popen[bytes]:
    try:
        data_folder.make(options.data_dir)
        log = data_folder.open_log(options.data_dir / _LOG_NAME)
    except OSError as exc:
        raise ServiceError(f"cannot use the data folder {options.data_dir}: {exc.strerror}") from exc
    with log:
        return subprocess.Popen(
            # -P: what stands in the working directory, beside somebody's manifest, is never imported.
            [sys.executable, "-P", "-m", "nanobanana_batch.service", options.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,  # Ctrl-C in the terminal is the parent's to handle
        )


_NEEDED = re.compile(
    r"PATH|HOME|TMPDIR|TZ|LANG|LANGUAGE|LC_\w+|LD_LIBRARY_PATH|SSL_CERT_(FILE|DIR)|(https?|all|no)_proxy"
    r"|PYTHON(HOME|UTF8|IOENCODING|DONTWRITEBYTECODE|PYCACHEPREFIX|HASHSEED|WARNINGS)",
    re.IGNORECASE,
)
"""Variables that a Python program with a network and a language needs: no key of anybody is among them."""


def _environment() -> dict[str, str]:
    """What the child needs, and able to import this package from a checkout.

    A relative entry of PYTHONPATH would mean the working directory.
    """
    kept = {name: value for name, value in os.environ.items() if _NEEDED.fullmatch(name)}
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(os.path.isabs, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}
