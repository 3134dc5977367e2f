"""Promises of `training.prefetch`: batches gathered ahead are the batches that are asked for."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import rank_steps
import torch

from finetune.storage.arrays import Some
from finetune.training import prefetch

PICTURES = np.arange(12 * 4 * 4 * 3, dtype=np.uint8).reshape(12, 4, 4, 3)
BATCHES = [np.array([3, 1]), np.array([2, 2, 11]), np.array([0])]
CPU = torch.device("cpu")


class Watched(np.ndarray):  # type: ignore[type-arg]
    """Pictures that remember which thread has gathered what."""

    by: list[str]

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, np.ndarray):
            self.by.append(threading.current_thread().name)
        return np.asarray(self)[index]


def mapped(path: Path, pictures: np.ndarray) -> np.memmap:
    made = np.memmap(path, np.uint8, "w+", shape=pictures.shape)
    made[:] = pictures
    return made


@pytest.mark.parametrize("some", [False, True])
def test_batches_are_those_that_were_asked_for(tmp_path: Path, some: bool) -> None:
    """In their order by the other thread, out of turn at once, and the same once more."""
    pictures = mapped(tmp_path / "p", PICTURES)
    numbers = np.arange(12)[::-1].copy()
    given, expected = (Some(pictures, numbers), PICTURES[::-1]) if some else (pictures, PICTURES)

    with prefetch.ahead(given, BATCHES, CPU) as found:
        assert isinstance(found, prefetch.Ahead)
        assert len(found) == 12
        assert (found[BATCHES[0]] == expected[BATCHES[0]]).all()
        assert (found[np.array([7])] == expected[[7]]).all()
        assert (found[2:4] == expected[2:4]).all()
        assert (found[BATCHES[1]] == expected[BATCHES[1]]).all()
        assert (found[BATCHES[2]] == expected[BATCHES[2]]).all()
        assert (found[BATCHES[2]] == expected[BATCHES[2]]).all()


def test_only_what_a_gpu_or_a_file_waits_for_is_gathered_ahead() -> None:
    """In memory, on a CPU, the pictures are used as they are."""
    with prefetch.ahead(PICTURES, BATCHES, CPU) as found:
        assert found is PICTURES


def test_the_next_batch_is_gathered_while_one_is_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread of its own, pinned for a GPU."""
    watched, pinned = PICTURES.view(Watched), list[int]()
    watched.by = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: pinned.append(len(t)) or t)

    with prefetch.ahead(watched, BATCHES, torch.device("cuda")) as found:
        batches = [found[rows] for rows in BATCHES]

    assert pinned == [2, 3, 1]
    assert all((b == PICTURES[rows]).all() for b, rows in zip(batches, BATCHES, strict=True))
    assert threading.current_thread().name not in watched.by


def test_a_training_from_a_file_takes_the_same_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are those of a training from memory, bit by bit."""
    expected, split = rank_steps.weights(rank_steps.tuned()), rank_steps.state.Split
    files = iter(range(9))
    monkeypatch.setattr(
        rank_steps.state,
        "Split",
        lambda pixels, labels: split(mapped(tmp_path / str(next(files)), pixels), labels),
    )

    found = rank_steps.weights(rank_steps.tuned())

    assert next(files) > 0
    assert all((found[name] == value).all() for name, value in expected.items())
