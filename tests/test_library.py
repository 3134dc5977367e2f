"""Promises to programs that import finetune: what belongs to the process is left as it was."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # it sets a variable and a filter when a first optimizer is made
from helpers import Recorder, train

import finetune
from finetune.workflows import evaluate, predict

PACKAGE = Path(finetune.__file__).parent
MODULES = [
    ".".join(("finetune", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py")
]
# What others set while they are imported is theirs, so they come first.
IMPORTS = """
import ctypes, gc, importlib, os, random, signal, sys, warnings
import numpy, openvino, PIL.Image, rich.live, rich.progress, rich.prompt, rich.table, typer
import safetensors.torch, timm, torch, torch._dynamo, torchvision

def state():
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "signals": [signal.getsignal(n) for n in signal.valid_signals()],
        "collector": gc.get_threshold(),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "absent": {name for name, module in sys.modules.items() if module is None},
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(numpy.random.get_state()),
        "random": random.getstate(),
        "stack": (sys.getrecursionlimit(), sys.excepthook, sys.stdout, sys.stderr),
    }

def refuse(*_):
    raise AssertionError("a library of the system is called")

ctypes.CDLL = refuse
before = state()
for name in sys.argv[1:]:
    importlib.import_module(name)
    for key, value in state().items():
        assert value == before[key], (name, key)
"""


def test_importing_changes_nothing_of_the_process() -> None:
    """No file of any room sets threads, signals, seeds, variables, filters or the allocator."""
    command = [sys.executable, "-c", IMPORTS, "finetune", *MODULES]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr


def of_the_process() -> dict[str, object]:
    """What a library has no business with."""
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "collector": gc.get_threshold(),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "absent": {name for name, module in sys.modules.items() if module is None},
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),
        "random": random.getstate(),
        "folder": Path.cwd(),
        "precision": (torch.get_default_dtype(), torch.get_float32_matmul_precision()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


@pytest.mark.parametrize(
    ("strategy", "backbone", "weights"),
    [("scratch", "lenet5", None), ("deep", "test_resnet", "random"), ("linear-probe", None, None)],
)
def test_working_changes_nothing_of_the_process(
    image_folder: Callable[..., Path],
    tmp_path: Path,
    strategy: str,
    backbone: str | None,
    weights: str | None,
) -> None:
    """Training, predicting and evaluating leave generators, threads, signals, filters as found."""
    root, out = image_folder({"a": 12, "b": 12}), tmp_path / "run"
    chosen = {} if backbone is None else {"backbone": backbone}
    options = {"epochs": 1} if strategy != "linear-probe" else {}
    before = of_the_process()

    train(root, out, strategy=strategy, weights=weights, options=options, **chosen)
    list(predict.run_prediction([root], out, top=1, device="auto", listener=Recorder()))
    for name in ("inference.xml", "inference.bin"):  # the second time with torch
        (out / name).unlink()
    evaluate.run_evaluation(root, out, device="cpu", unseen=False, listener=Recorder())

    assert of_the_process() == before
