"""Promises of `backbones.ranks`: several processes train one model, as one process does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rank_steps
import torch
from safetensors.numpy import load_file

from finetune.backbones import ranks
from finetune.runs import run_folder

TESTS = Path(__file__).parents[1]


def torchrun(*arguments: str, count: int = 2) -> subprocess.CompletedProcess[str]:
    """Run so many processes, as a person does; each with one thread.

    Standalone: else all that torchrun starts on a machine meets at one port.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    known = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [*command, "--nproc-per-node", str(count), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=known,
    )


@pytest.mark.slow  # four processes on two cores that tests keep busy: 300 s were not enough
def test_torchrun_trains_one_model(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    """Two ranks take the steps of one process, and `train` makes of them one run and one answer.

    Same weights within 1e-4 after the same steps, same losses on the way. One JSON object on
    stdout, one run that says how many made it. In one go, as processes take seconds to start.
    """
    root, out = image_folder({"a": 12, "b": 12}), tmp_path / "run"
    network = ("--backbone", "test_resnet", "--weights", "random", "--strategy", "deep")
    asked = ("--epochs", "1", "--image-size", "64", "--device", "cpu", "--json")
    steps = (str(TESTS / "rank_steps.py"), str(tmp_path / "two.safetensors"))

    done = torchrun(*steps, "train", str(root), "--out", str(out), *network, *asked)

    assert done.returncode == 0, done.stderr
    torch.set_num_threads(1)
    one, two = rank_steps.weights(rank_steps.tuned()), load_file(tmp_path / "two.safetensors")

    assert one.keys() == two.keys()
    for name, value in one.items():
        assert np.abs(value - two[name]).max() < 1e-4, name
    answer = json.loads(done.stdout)
    assert answer["run"] == str(out)
    assert run_folder.load_facts(out).world_size == 2
    assert sum(answer["counts"].values()) == 24
    assert run_folder.load_result(out).test is not None
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("run")] == ["run"]


@pytest.mark.slow
def test_two_agents_as_of_two_machines_train_one_model(
    image_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """`--nnodes 2`: each agent starts one rank, and only the first one's answers and writes."""
    root, out = image_folder({"a": 12, "b": 12}), tmp_path / "run"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        meeting = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, "--rdzv-id", "one"]
    asked = ["-m", "finetune", "train", str(root), "--out", str(out), "--strategy", "deep"]
    asked += ["--backbone", "test_resnet", "--weights", "random", "--device", "cpu", "--json"]
    asked += ["--epochs", "1", "--image-size", "64"]
    known = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    agents = [
        subprocess.Popen(
            [*command, "--node-rank", str(rank), "--nproc-per-node", "1", *asked],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=known,
        )
        for rank in range(2)
    ]

    said = [agent.communicate(timeout=300) for agent in agents]

    assert [a.returncode for a in agents] == [0, 0], said
    answers = [out for out, _ in said if out]
    assert len(answers) == 1
    assert json.loads(answers[0])["run"] == str(out)
    assert run_folder.load_facts(out).world_size == 2


def test_a_single_process_exchanges_nothing() -> None:
    """Outside of torchrun everything is this process's own."""
    rows = np.arange(6.0).reshape(3, 2)

    ranks.exchange(rows)

    assert (ranks.size(), ranks.rank(), ranks.asked()) == (1, 0, 1)
    assert ranks.share(5) == slice(0, 5)
    assert ranks.agreed("x") == "x"
    assert ranks.gathered(3) == [3]
    assert ranks.joint(rows) is rows


@pytest.mark.parametrize(("count", "size"), [(7, 2), (2, 3), (0, 2), (100, 7)])
def test_shares_are_even_and_whole(monkeypatch: pytest.MonkeyPatch, count: int, size: int) -> None:
    """Every row is one rank's, and no rank has more than one row above another's."""
    monkeypatch.setattr(ranks, "_world", ranks._World(size, 0))

    parts = [range(count)[ranks.share(count, of)] for of in range(size)]

    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
