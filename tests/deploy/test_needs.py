"""Promises of a small installation: predict works with what `needs` lists (serve: test_serve)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import small_run
from served import LEAVES
from small import listed, only, refused

from finetune.deploy import needs


def python(work: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run where nothing can be imported but what the command needs."""
    return subprocess.run(
        [sys.executable, "-c", only(command) + work],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an inference file."""
    return small_run(tmp_path_factory.mktemp("runs") / "small")


def test_predict_needs_only_what_is_listed(run: Path) -> None:
    """Where nothing else is installed, neither torch nor scipy, it answers."""
    words = ["predict", str(LEAVES[0]), "--run", str(run), "--json"]

    done = python(f"from finetune.cli.process import run\nsys.exit(run({words!r}))", "predict")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in ("ash", "bäy & co")
    assert {"torch", "timm", "torchvision"} <= set(refused("predict"))


def test_the_list_has_the_command_s_own_extra() -> None:
    """Torch and what comes with it are left out; an extra is in where it was asked for."""
    plain, serving = needs.chosen(listed()), needs.chosen(listed(), "serve")

    assert not [line for line in serving if line.startswith(needs.TRAINING)]
    assert any(line.startswith("openvino") for line in plain)
    assert {line.partition(">")[0] for line in serving} - {
        line.partition(">")[0] for line in plain
    } == {
        "fastapi",
        "uvicorn",
        "python-multipart",
    }


def test_it_prints_requirements_and_refuses_other_words() -> None:
    """One a line on stdout; without a command, or with another, exit 2 and what to try."""
    done = [
        subprocess.run(
            [sys.executable, "-m", "finetune.deploy.needs", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        for words in (["serve"], [], ["train"])
    ]

    assert done[0].returncode in (0, 3), done[0].stderr  # 3: run from a checkout, not installed
    assert done[0].returncode == 3 or re.search(r"^numpy>=", done[0].stdout, re.MULTILINE)
    assert [d.returncode for d in done[1:]] == [2, 2]
    assert all("predict|serve" in d.stderr for d in done[1:])
