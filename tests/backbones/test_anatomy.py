"""Promises of `backbones.anatomy`: shapes, parameters, norms, receptive fields are the network's.

No weights are needed: all networks here are made with random ones.
"""

from __future__ import annotations

import json

import pytest
import torch

from finetune.backbones import anatomy, hub, load, registry
from finetune.records.choices import STRATEGIES
from finetune.workflows.anatomy import describe

WHOLE = None


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        # by hand: r grows by (kernel - 1) x the strides before it
        ("lenet5", [6, 16]),
        pytest.param("alexnet", [19, 67, 131, WHOLE], marks=pytest.mark.slow),
        ("convnext_atto", [4, 52, 152, WHOLE, WHOLE]),
        ("vit_tiny_patch16_224", [16, WHOLE, WHOLE, WHOLE, WHOLE]),
        ("test_efficientnet", [3, 7, 11, 19, WHOLE, WHOLE]),
    ],
)
def test_receptive_fields_are_those_of_the_layers(name: str, sides: list[int | None]) -> None:
    """Convolutions and pooling add up; attention and squeeze-and-excitation see everything."""
    found = [row.receptive_px for row in describe(name).stages]

    assert found == sides


def test_rows_add_up_to_the_network() -> None:
    """Every parameter is in one stage; shapes are those of one picture at the network's size."""
    found = describe("test_resnet")
    backbone, _ = load.build("test_resnet", registry.RANDOM)

    assert sum(row.parameters for row in found.stages) == found.parameters == backbone.count()
    assert [row.name for row in found.stages] == list(backbone.stages)
    with torch.inference_mode():
        x = torch.zeros(1, 3, found.side_px, found.side_px)
        for row in found.stages:
            assert row.output == tuple(backbone.output_of(row.name, x).shape[1:])
            assert row.module == backbone.boundaries[row.name]
        assert found.top == backbone(x).shape[1]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("test_resnet", {"BatchNorm"}),
        ("vit_tiny_patch16_224", {"LayerNorm"}),
        ("tiny_vit_5m_224", {"BatchNorm", "LayerNorm"}),
        ("lenet5", set()),
    ],
)
def test_normalization_layers_are_counted_by_kind(name: str, kinds: set[str]) -> None:
    """What timm calls BatchNormAct2d or LayerNorm2d counts under its usual name."""
    backbone, _ = anatomy.untrained(name)

    found = anatomy._norms(backbone)

    assert {kind for norms in found.values() for kind in norms} == kinds
    counted = sum(n for norms in found.values() for n in norms.values())
    names = ("BatchNorm", "LayerNorm")
    modules = [type(m).__name__ for m in backbone.net.modules()]
    assert counted == sum(any(n in m for n in names) for m in modules)


def test_each_strategy_says_what_it_tunes() -> None:
    """Probes tune nothing, partial the last stage, deep all but the stem, scratch everything."""
    found = describe("test_resnet")
    by_stage = {row.name: row.tuned_by for row in found.stages}

    assert by_stage["stem"] == ("scratch",)
    assert by_stage["1"] == ("deep", "scratch")
    assert by_stage["4"] == ("partial", "deep", "scratch")
    assert set(found.tuned) == set(STRATEGIES)
    assert found.tuned["linear-probe"] == found.tuned["stage-probe"] == 0
    assert found.tuned["partial"] == found.stages[-1].parameters
    assert found.tuned["deep"] == found.parameters - found.stages[0].parameters
    assert found.tuned["scratch"] == found.parameters


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("tf_efficientnet_lite0", "Apache-2.0"),
        ("convnextv2_nano", "cc-by-nc-4.0"),
        ("lenet5", "none published"),
        ("alexnet", "bsd-3-clause"),
    ],
)
def test_the_license_is_that_of_the_published_weights(name: str, licence: str) -> None:
    """It is told without fetching them, and so is that there are none."""
    assert anatomy.licence(name) == licence


def test_the_command_shows_the_stages_and_fetches_nothing(run_cli, monkeypatch) -> None:
    """`finetune backbones NAME` needs no weights; people and programs get the same rows."""

    def never(*_: object) -> None:
        raise AssertionError("asked for weights")

    monkeypatch.setattr(hub, "file", never)
    monkeypatch.setattr(load, "read_tensors", never)

    people = run_cli("backbones", "lenet5")
    machine = json.loads(run_cli("backbones", "lenet5", "--json").out)

    assert people.code == 0
    assert [s["receptive_px"] for s in machine["stages"]] == [6, 16]
    for stage in machine["stages"]:
        assert f"{stage['parameters']:,}" in people.out
        assert " × ".join(map(str, stage["output"])) in people.out
    assert "partial trains 60,700 parameters" in people.out


def test_an_unknown_network_is_told(run_cli) -> None:
    """A name that timm has not is a fault with names near it."""
    done = run_cli("backbones", "resnet81")

    assert done.code == 3
    assert "unknown backbone 'resnet81'" in done.err
    assert "resnet18" in done.err
