"""What a newcomer does first, carried out by real shells and a real make, as it is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nanobanana_batch.commands import PROGRAM
from nanobanana_batch.jobs.starter import make_starter

SHELLS = ("bash", "zsh", "fish")
BESIDE = Path(sys.executable).parent
"""Where the program's script is."""


def carried_out(line: str, folder: Path, shell: str = "sh") -> subprocess.CompletedProcess[str]:
    """What a person types, with the program on the PATH."""
    path = f"{BESIDE}{os.pathsep}{os.environ['PATH']}"
    words = [shutil.which(shell) or shell, "-c", line]
    surroundings = {**os.environ, "PATH": path, "HOME": str(folder)}
    return subprocess.run(
        words, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=120, check=False
    )


def images(folder: Path) -> list[str]:
    """Those that were made."""
    return sorted(path.name for path in folder.glob("images/*"))


def test_what_init_says_next_can_be_typed(tmp_path: Path) -> None:
    """As it stands there, in a folder with a blank and a quote; then make finds that nothing is left."""
    begun = carried_out(f'{PROGRAM} init "my cat\'s"', tmp_path)
    assert (begun.returncode, begun.stderr) == (0, "")
    lines = [line.strip() for line in begun.stdout.splitlines() if line.startswith("  ")]
    assert len(lines) == 3
    done = carried_out(" && ".join(lines), tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "my cat's" / "outputs" / "manifest-local"
    assert images(out) == [
        "lighthouse-film-photograph.png",
        "lighthouse-ink-drawing.png",
        "teahouse-film-photograph.png",
        "teahouse-ink-drawing.png",
    ]
    again = carried_out("make run && make plan && make status && make retry", tmp_path / "my cat's")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("nothing was sent") == 2


@pytest.mark.parametrize("name", ["v1.2  my cats.yaml", "it's & $(touch gone).yaml", "-n.yaml", "a#b.yaml"])
def test_a_manifest_of_make_may_be_called_anything(tmp_path: Path, name: str) -> None:
    """It is one word for the shell, and gives its name to the output folder."""
    make_starter(tmp_path)
    (tmp_path / "manifest.yaml").rename(tmp_path / name)
    words = ["make", "plan", f"MANIFEST={name.replace('$', '$$')}", "FLAGS=--rows 0"]
    path = f"{BESIDE}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        words, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"4 rows -> outputs/{name.removesuffix('.yaml')}-local\n" in done.stdout
    assert not (tmp_path / "gone").exists()


def test_real_images_go_to_another_folder_than_placeholders(tmp_path: Path) -> None:
    """They are never mixed, so that the first real run is not refused."""
    make_starter(tmp_path)
    assert "-> outputs/manifest\n" in carried_out("make plan PROVIDER=evolink", tmp_path).stdout
    assert "-> outputs/manifest-local\n" in carried_out("make plan", tmp_path).stdout


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    """Neither a file nor what a link leads to; what is missing is written."""
    (tmp_path / "Makefile").symlink_to("elsewhere")
    done = carried_out(f"{PROGRAM} init", tmp_path)
    assert done.returncode == 0
    assert "Makefile was there and stays as it is" in done.stdout
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "manifest.yaml").write_text("mine")
    carried_out(f"{PROGRAM} init .", tmp_path)
    assert (tmp_path / "manifest.yaml").read_text() == "mine"
    assert carried_out(f"{PROGRAM} init manifest.yaml", tmp_path).returncode == 2


# --- completion -------------------------------------------------------------------------------------

_TYPED = {
    "bash": 'eval "$(nanobanana-batch completion bash)"; COMP_WORDS=({words}); COMP_CWORD={at};'
    " _nanobanana_batch_completion nanobanana-batch; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    "zsh": 'autoload -U compinit && compinit -u; eval "$(nanobanana-batch completion zsh)";'
    " compadd() {{ }}; _describe() {{ print -l -- ${{(P)3}} }}; words=({words}); CURRENT=$(({at} + 1));"
    " _nanobanana_batch_completion",
    "fish": "nanobanana-batch completion fish | source; complete -C '{words}'",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_and_options(shell: str, tmp_path: Path) -> None:
    """By the script that `completion` prints, and without reading a project's file."""
    missing = [name for name in SHELLS if shutil.which(name) is None]
    if shell in missing:
        pytest.skip(f"{shell} is not on this machine; {len(missing)} of {len(SHELLS)} shells are not tried")
    (tmp_path / "nanobanana.toml").write_text("[nonsense")
    command = carried_out(_TYPED[shell].format(words="nanobanana-batch ret", at=1), tmp_path, shell)
    assert "retry" in command.stdout, command.stderr
    option = carried_out(_TYPED[shell].format(words="nanobanana-batch run --max-c", at=2), tmp_path, shell)
    assert "--max-credits" in option.stdout, option.stderr
    value = carried_out(
        _TYPED[shell].format(words="nanobanana-batch run --provider lo", at=3), tmp_path, shell
    )
    assert "local-unified" in value.stdout, value.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_what_a_shell_asks_is_answered(shell: str, tmp_path: Path) -> None:
    """As each of their scripts asks it, be the shell here or not."""
    script = carried_out(f"{PROGRAM} completion {shell}", tmp_path).stdout
    assert f"_NANOBANANA_BATCH_COMPLETE={shell}_complete" in script
    at = "ret" if shell == "fish" else "1"
    asked = (
        f'COMP_WORDS="{PROGRAM} ret" COMP_CWORD={at} _NANOBANANA_BATCH_COMPLETE={shell}_complete {PROGRAM}'
    )
    answer = carried_out(asked, tmp_path)
    assert "retry" in answer.stdout
    assert answer.stderr == ""
