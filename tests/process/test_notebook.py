"""A notebook is a person's desk: the example runs, its run has a bar there, and the stop button collects."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nanobanana_batch as nb
from nanobanana_batch.service.ledger import read_ledger

ROOT = Path(__file__).parents[2]
NEEDED = ("nbclient", "ipykernel", "ipywidgets")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{len(MISSING)} of {len(NEEDED)} libraries are not there: {', '.join(MISSING)}"
)
TIMEOUT_S = 300

EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
try:
    NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
finally:
    nbformat.write(notebook, sys.argv[2])
"""

CELL = """
import nanobanana_batch as nb

def look(live):
    if live.completed:
        print("made", live.completed, flush=True)

rows = [
    {{"id": f"r{{n}}", "prompt": f"a cat {{n}}", "model": "gemini-3.1-flash-image-preview",
      "aspect_ratio": "1:1", "resolution": "0.5K"}}
    for n in range(200)
]
{call}
"""

INTERRUPT = """
import json, sys
from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(kernel_name="python3")
try:
    message = client.execute(sys.argv[1])
    told = ""
    while "made" not in told:
        found = client.get_iopub_msg(timeout=120)
        told += found["content"].get("text", "") + found["content"].get("evalue", "")
        assert found["msg_type"] != "error", told
    manager.interrupt_kernel()
    while (reply := client.get_shell_msg(timeout=120))["parent_header"].get("msg_id") != message:
        pass
    print(json.dumps({name: reply["content"].get(name) for name in ("status", "ename", "evalue")}))
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""


def python(script: str, *words: object, home: Path) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own, whose kernels end with it; nothing of the person's is read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        cwd=home,
        env={**kept, "HOME": str(home)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def outputs(path: Path) -> list[dict[str, Any]]:
    """All that the cells of a notebook have put out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", ())]


def test_the_example_notebook_runs(tmp_path: Path) -> None:
    """From its first cell to its last: images, tables, a bar of widgets; what was made is paid for once."""
    done = python(EXECUTE, ROOT / "docs" / "python.ipynb", tmp_path / "done.ipynb", home=tmp_path)
    found = outputs(tmp_path / "done.ipynb")
    assert done.returncode == 0, done.stderr
    kinds = [kind for output in found for kind in output.get("data", ())]
    assert kinds.count("application/vnd.jupyter.widget-view+json") == 2
    assert "image/png" in kinds
    assert "text/html" in kinds
    texts = "".join(line for output in found for line in output.get("text", ()))
    assert "8 rows, 8 to make, in outputs/notebook" in texts
    assert "8 made, 48.0 credits" in texts
    assert "".join(found[-1]["data"]["text/plain"]) == "False"
    assert read_ledger(tmp_path / "outputs" / "notebook" / ".service").summary.paid_tasks == 8


def test_the_example_notebook_is_kept_without_outputs() -> None:
    """What it shows is what it makes, and a change of it is one of its words."""
    cells = json.loads((ROOT / "docs" / "python.ipynb").read_text(encoding="utf-8"))["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("nb.run(rows, name='n', provider='local', progress=look, concurrency=4)", "Interrupted"),
        (
            "await nb.run_async(rows, name='n', provider='local', progress=look, concurrency=4)",
            "CancelledError",
        ),
    ],
    ids=["run", "run_async"],
)
def test_the_stop_button_collects_what_is_paid_for(tmp_path: Path, call: str, name: str) -> None:
    """Then the cell ends as one that was interrupted."""
    done = python(INTERRUPT, CELL.format(call=call), home=tmp_path)
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    assert (reply["status"], reply["ename"]) == ("error", name)
    counts = nb.open_run(tmp_path / "outputs" / "n").status().counts
    assert 0 < counts["completed"] < 200
    assert counts["completed"] + counts["pending"] == 200
    paid = read_ledger(tmp_path / "outputs" / "n" / ".service").summary.paid_tasks
    assert paid == counts["completed"]
