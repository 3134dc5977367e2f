"""Promises for any backbone, untrained: settings, stages, frozen bits, blend and export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SAMPLE, Recorder, train

from finetune.backbones import inference, load
from finetune.backbones.stages import Backbone
from finetune.records.choices import Family, Strategy
from finetune.records.decision import Plan
from finetune.runs import run_folder
from finetune.training import loop, recipe, setup
from finetune.training.state import Split
from finetune.workflows.export import run_export

# Small members: name → family, and the side of the pictures that they are tuned on.
MEMBERS: dict[str, tuple[Family, int]] = {
    "test_resnet": ("batchnorm-convnet", 64),
    "test_convnext": ("layernorm-convnet", 64),
    "test_vit": ("vit", 160),
    "mobilevit_xxs": ("hybrid", 64),
}


def tuned(name: str, strategy: Strategy) -> tuple[Backbone, loop.Tuned, Plan]:
    """A network before and after two epochs on eight pictures of noise."""
    torch.manual_seed(0)
    backbone, about = load.build(name, "random")
    family, side = MEMBERS[name]
    facts = recipe.Facts(
        images=8, similarity="different", stages=about.stages, side_px=side, family=family
    )
    plan = replace(recipe.resolve(strategy, facts, {"batch_size": 4}), epochs=2)
    pixels = inference.noise(setup.canvas_px(side), 8)
    found = loop.fit(
        plan,
        backbone,
        None,
        Split(pixels, np.arange(8, dtype=np.int64) % 2),
        None,
        classes=2,
        device=torch.device("cpu"),
        seed=0,
        listener=Recorder(),
    )
    return backbone, found, plan


@pytest.mark.parametrize(
    ("name", "strategy"),
    [*((name, "deep") for name in MEMBERS), ("test_vit", "partial"), ("test_convnext", "partial")],
)
def test_what_a_plan_freezes_keeps_its_bits(name: str, strategy: Strategy) -> None:
    """Tuned stages change, others and all BatchNorm statistics do not, by the family's settings."""
    before, found, plan = tuned(name, strategy)
    family, _ = MEMBERS[name]

    old, new = before.state(), found.backbone.state()
    moved = {n for n in old if not torch.equal(old[n], new[n])}
    parameters = {n for n, _ in before.net.named_parameters()}
    assert {before.stage_of(n.rpartition(".")[0]) for n in moved} == set(plan.tuned_stages)
    assert plan.tuned_stages == (before.stages[1:] if strategy == "deep" else before.stages[-1:])
    assert moved <= parameters
    factor, source = recipe.FAMILY_FACTORS[family]
    assert plan.lr == pytest.approx(recipe.RATES["adamw"][1] * factor * (4 / 16) ** 0.5)
    assert factor == 1.0 or source in plan.why["lr"]


def test_batchnorm_of_a_resnet_and_of_a_hybrid_is_there_and_frozen() -> None:
    """The promise above is not empty: both have statistics, and the backbone is in eval mode."""
    for name in ("test_resnet", "mobilevit_xxs"):
        before, found, _ = tuned(name, "deep")
        statistics = [n for n in before.state() if n.endswith("running_var")]
        old, new = before.state(), found.backbone.state()

        assert statistics
        assert all(torch.equal(old[n], new[n]) for n in statistics)
        assert not any(m.training for m in found.backbone.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit", "mobilevit_xxs", "test_convnext"])
def test_a_blend_of_any_kind_is_made_and_exported(name: str, tmp_path: Path) -> None:
    """Both parts are in the run, its facts know the kind, and what is exported answers the same.

    The export is compared with `predict` on pictures before it is put in place.
    """
    out = tmp_path / "run"

    result = train(SAMPLE, out, strategy="blend", **small(name))
    found = run_export(out, "onnx", tmp_path / "m.onnx", images=SAMPLE, listener=Recorder())

    facts = run_folder.load_facts(out)
    assert result.strategy == "blend"
    assert len(facts.parts) == 2
    assert facts.parts[0].strategy in ("partial", "deep")
    assert facts.backbone.family == MEMBERS[name][0]
    assert facts.backbone.weights == "random"
    assert (facts.backbone.preprocess.side_px == 96) is (name == "test_vit")
    assert found.labels_equal
    assert Path(found.path).exists()


def small(name: str) -> dict[str, object]:
    """Options for a short training; a ViT is built for 96 px, others are tuned at it."""
    return {
        "backbone": name,
        "weights": "random",
        "max_per_class": 8,
        "options": {"epochs": 1, "side_px": 96},
    }
