"""Promises of a small installation: predict and serve work with what `needs` lists, no torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from helpers import small_run
from served import LEAVES

from finetune.deploy import needs

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
# Refuses what belongs to no allowed distribution, then does what stands on the command line.
SCRIPT = """
import sys
refused = set({refused!r})
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{{name}} is not among the needs", name=name)
sys.meta_path.insert(0, Finder())
{work}
"""


def listed() -> list[str]:
    """The requirements of this project, as its distribution has them."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [
        *project["dependencies"],
        *(f'{line}; extra == "{extra}"' for extra, lines in extras.items() for line in lines),
    ]


def refused(command: str) -> list[str]:
    """Top modules of this machine that the command may not import."""
    lines = needs.chosen(listed(), needs.EXTRAS[command])
    waiting = [re.split(r"[\s\[<>=!~(;]", line, maxsplit=1)[0] for line in lines]
    allowed: set[str] = set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in allowed:
            continue
        allowed.add(name)
        try:
            more = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [re.split(r"[\s\[<>=!~(;]", r)[0] for r in more if "extra" not in r]
    modules = metadata.packages_distributions()
    return sorted(
        module
        for module, owners in modules.items()
        if not {o.lower().replace("_", "-") for o in owners}
        & {*allowed, needs.DISTRIBUTION, "finetune"}
    )


def python(work: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run where nothing can be imported but what the command needs."""
    script = SCRIPT.format(refused=refused(command), work=work)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
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


def test_serve_needs_only_what_is_listed(run: Path) -> None:
    """The application is made and answers a request with the packages of the extra `serve`."""
    work = f"""
import asyncio
from pathlib import Path
from finetune.deploy import http_app, predictor, serving
from finetune.records.events import Silent
from finetune.runs import run_folder
run = Path({str(run)!r})
facts = run_folder.load_facts(run)
model = predictor.of_run(run, facts, device="cpu", images=1, listener=Silent())
server = serving.Server(model, facts.classes, serving.Limits())
http_app.application(server)
import uvicorn
async def ask():
    async with server.running():
        return await server.predictions([("a.jpg", Path({str(LEAVES[0])!r}).read_bytes())])
print(asyncio.run(ask())[0]["label"])
"""
    done = python(work, "serve")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("ash", "bäy & co")


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
