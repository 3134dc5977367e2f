"""Promises of `training.memory`: a training that does not fit is split, or refused beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Recorder, options_for

from finetune.backbones import engine, inference, load
from finetune.backbones.stages import Backbone
from finetune.records.decision import Plan
from finetune.records.errors import MemoryShortError
from finetune.training import loop as training
from finetune.training import memory, recipe, setup
from finetune.training.state import Loop, Split
from finetune.workflows.train import run_training

CPU = torch.device("cpu")


def plan_of(backbone: Backbone, side_px: int = 64) -> Plan:
    facts = recipe.Facts(images=24, similarity="different", stages=backbone.stages, side_px=side_px)
    return replace(recipe.resolve("deep", facts, {}), epochs=1)


def made(backbone: Backbone, side_px: int = 64) -> Loop:
    plan = plan_of(backbone, side_px)
    pixels = inference.noise(setup.canvas_px(side_px), plan.batch_size)
    split = Split(pixels, np.arange(plan.batch_size, dtype=np.int64) % 2)
    with engine.seeded(0, CPU):
        return setup.make_loop(plan, backbone, None, split, 2, CPU, seed=0)


def test_an_image_of_twice_the_side_takes_four_times_the_memory(tiny: Backbone) -> None:
    """What is kept for backward grows with the pixels; what belongs to the weights does not."""
    small, large = memory.needed(made(tiny, 64)), memory.needed(made(tiny, 128))

    assert large[0] == small[0]
    assert 3.5 < large[1] / small[1] < 4.5


def test_what_is_counted_is_what_autograd_keeps(tiny: Backbone) -> None:
    """No weight is counted as an activation, and each kept tensor once."""
    loop = made(tiny)
    weights = sum(p.numel() * 4 for p in tiny.net.parameters())
    image = memory.needed(loop)[1] / memory.BESIDE

    # at 64 px a stem of 32 x 32 x 16 and a few maps of each later stage
    assert 4 * 32 * 32 * 16 < image < 10 * weights


@pytest.mark.parametrize(("images", "parts"), [(100, 1), (8.5, 2), (4.5, 4), (1.1, 16)])
def test_batches_are_split_to_what_fits(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch, images: float, parts: int
) -> None:
    """A batch of 16 goes in as many parts as it takes to leave room for so many images."""
    loop = made(tiny)
    weights, image = memory.needed(loop)
    free = (weights + images * image) / memory.SHARE

    monkeypatch.setattr(memory, "available", lambda: int(free))

    assert loop.plan.batch_size == 16
    assert memory.parts(loop) == parts


def test_what_cannot_fit_is_refused_with_figures(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has what it takes and what there is, the hint what to do instead."""
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)

    with pytest.raises(MemoryShortError, match=r"not enough memory: deep .* 64 px") as caught:
        made(tiny)

    assert "--strategy linear-probe" in caught.value.hint


def test_where_the_system_does_not_tell_nothing_is_refused(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown limit is none."""
    monkeypatch.setattr(memory, "available", lambda: None)

    assert made(tiny).parts == 1


def test_a_split_batch_gives_the_same_update_and_is_told(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of an epoch in parts is that of an epoch in one, to rounding."""
    plan = plan_of(tiny)
    pixels = inference.noise(setup.canvas_px(64), 16)
    split = Split(pixels, np.arange(16, dtype=np.int64) % 2)
    losses, notes = [], []
    for parts in (1, 4):
        monkeypatch.setattr(memory, "parts", lambda _loop, parts=parts: parts)
        heard = Recorder()
        found = training.fit(
            replace(plan, strategy="deep"),
            *(tiny, None, split, None),
            classes=2,
            device=CPU,
            seed=0,
            listener=heard,
        )
        losses.append(found.history[0].train_loss)
        notes.append(any("memory is short" in text for text in heard.notes))

    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert notes == [False, True]


def test_counting_moves_no_generator_and_no_statistics() -> None:
    """The same seed gives the same training whether or not memory was asked for."""
    backbone, _ = load.build("test_resnet", "random")
    loop = made(backbone)
    before = {n: t.clone() for n, t in loop.backbone.state().items()}
    state = torch.get_rng_state()

    memory.needed(loop)

    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[n], t) for n, t in loop.backbone.state().items())


@pytest.mark.parametrize("limit", ["max", "900000"])
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """The least of what the machine and the control group have left; `max` is no limit."""
    (tmp_path / "info").write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    (tmp_path / "most").write_text(f"{limit}\n")
    (tmp_path / "now").write_text("500000\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "info")
    monkeypatch.setattr(memory, "GROUPS", ((str(tmp_path / "most"), str(tmp_path / "now")),))

    assert memory.available() == (4_096_000 if limit == "max" else 400_000)


def test_auto_returns_the_probe_where_memory_is_short(
    image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fails: the reason says how much memory tuning would take."""
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    root = image_folder({"a": 12, "b": 12})
    asked = options_for(
        root=str(root), out=str(tmp_path / "run"), backbone="test_vit", weights="random"
    )

    found = run_training(asked, Recorder())

    assert found.strategy in ("linear-probe", "stage-probe")
    said = [r.text for r in found.recommendation.reasons]
    assert any("not enough memory" in text for text in said) or found.estimate.accuracy == 1
