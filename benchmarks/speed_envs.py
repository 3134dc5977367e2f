"""An environment for each contender that `finetune` does not bring along.

They are no dependencies: `python benchmarks/speed.py --setup FOLDER` makes them in a folder of its
own. Torch is taken in the version that `finetune` itself runs on, so that all run the same.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

SAME = ("torch", "torchvision", "timm", "safetensors")
# name: (packages, what to import as proof)
ENVIRONMENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "fastai": ((*SAME, "fastai"), "fastai.vision.all"),
    "ultralytics": ((*SAME, "ultralytics"), "ultralytics"),
    "keras": (("tensorflow-cpu", "pillow"), "keras"),
    # no older one, which pip would try one after the other
    "autogluon": ((*SAME, "autogluon.multimodal>=1.6.3"), "autogluon.multimodal"),
}


def python(folder: Path, name: str) -> Path:
    """The interpreter of an environment."""
    return folder / name / "bin" / "python"


def fault(folder: Path | None, name: str) -> str:
    """Why a contender cannot be run; empty where it can."""
    if folder is None or not (folder / name).exists():
        return "not set up (--setup, --envs)"
    reason = _reason_file(folder, name)
    return f"does not install: {reason.read_text().strip()}" if reason.exists() else ""


def make(folder: Path, names: list[str]) -> None:
    """Make the environments that are not there; what fails is kept with its reason."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (folder / name).exists() and not fault(folder, name):
            print(f"{name}: there", file=sys.stderr)
            continue
        print(f"{name}: installing", file=sys.stderr, flush=True)
        file = _reason_file(folder, name)
        file.write_text("the installation was interrupted\n")  # until it is through
        reason = _install(folder, name)
        if reason:
            file.write_text(reason + "\n")
        else:
            file.unlink()
        print(f"{name}: {reason or 'ready'}", file=sys.stderr, flush=True)


def _install(folder: Path, name: str) -> str:
    """Make one environment; returns why it cannot be, or nothing."""
    packages, proof = ENVIRONMENTS[name]
    wanted = [f"{p}=={version(p)}" if p in SAME else p for p in packages]
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(folder / name)],
        [str(python(folder, name)), "-m", "pip", "install", *wanted],
        [str(python(folder, name)), "-c", f"import {proof}"],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            return _why(done.stdout + done.stderr)
    return ""


def _why(said: str) -> str:
    """The lines of pip or Python that say what is wrong, as one, without addresses."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [x for x in lines if " depends on " in x or " requested " in x or "No matching" in x]
    reason = "; ".join(telling[-4:] or lines[-1:] or ["no reason given"])
    return re.sub(r"\S+://\S+", "…", reason)[:300]


def _reason_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.failed.txt"
