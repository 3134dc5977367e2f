"""Promises of the package: a wheel is built, holds the whole program and no more, and runs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import finetune

PACKAGE = Path(finetune.__file__).parent
ROOT = PACKAGE.parent


def pip(*arguments: object) -> None:
    """Run pip without a network."""
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--no-deps", "--no-index"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree with the tools that the dev extra brings."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", ROOT, "--no-build-isolation", "--wheel-dir", folder)
    (built,) = folder.iterdir()
    return built


def test_the_wheel_holds_the_program_and_no_more(wheel: Path) -> None:
    """Every file of every room is in it; tests, benchmarks and documents are not."""
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}

    wanted = {*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html"), PACKAGE / "py.typed"}
    assert names == {path.relative_to(ROOT).as_posix() for path in wanted}


def test_the_distribution_has_its_own_name_and_the_command_stays(wheel: Path) -> None:
    """On PyPI `finetune` is another project: this is `finetune-images`, the command `finetune`."""
    with zipfile.ZipFile(wheel) as content:
        folder = f"finetune_images-{finetune.__version__}.dist-info"
        about = Parser().parsestr(content.read(f"{folder}/METADATA").decode())
        scripts = content.read(f"{folder}/entry_points.txt").decode()

    assert (about["Name"], about["Version"]) == ("finetune-images", finetune.__version__)
    assert "finetune = finetune.__main__:main" in scripts


def test_the_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """Installed elsewhere, the program says its version and answers from the decision table."""
    place = tmp_path / "site"
    pip("install", wheel, "--target", place)
    env = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    assert run("-m", "finetune", "--version").strip() == finetune.__version__
    asked = ("recommend", "--size", "small", "--similarity", "different")
    assert "stage-probe" in run("-m", "finetune", *asked)
    where = run("-c", "from finetune.workflows import train; print(train.__file__)")
    assert Path(where.strip()).is_relative_to(place)
