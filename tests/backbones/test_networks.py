"""Promises of `backbones.networks`: the sizes that a network takes are known beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Recorder, options_for
from safetensors.torch import save_file

from finetune.backbones import load, networks
from finetune.records.backbone import Variant
from finetune.records.errors import UsageError
from finetune.workflows import begin

DINO = "vit_small_patch14_dinov2"  # its own size is 518 px
SMALL = "test_vit"  # 160 px, patches of 16


@pytest.mark.parametrize(
    ("name", "side_px"),
    [
        *((DINO, 224), (SMALL, 96), ("swin_tiny_patch4_window7_224", 192)),
        *(("maxvit_rmlp_pico_rw_256", 192), ("coatnet_nano_rw_224", 192)),
        *(("xcit_nano_12_p16_224", 192), ("tiny_vit_5m_224", 200), ("resnet18", 33)),
    ],
)
def test_sizes_that_work_are_taken(name: str, side_px: int) -> None:
    """ViTs and hybrids at multiples of what they cut in, convolutional networks at any size."""
    networks.require_size(name, side_px)


@pytest.mark.parametrize(
    ("name", "side_px", "nearest", "why"),
    [
        (DINO, 225, 224, "patches of 14 px"),
        (SMALL, 100, 96, "patches of 16 px"),
        ("xcit_nano_12_p16_224", 200, 192, "16 px"),
        ("maxvit_rmlp_pico_rw_256", 200, 192, "divisible by window"),
        ("levit_128s", 192, 224, "attention_biases"),
        ("mixer_s32_224", 192, 224, "mlp_tokens"),
        ("lenet5", 64, 32, "takes images of 32 px only"),
        ("vgg11", 16, 32, "fails on it"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest_that_works(
    name: str, side_px: int, nearest: int, why: str
) -> None:
    """The fault says why, the hint which size to give, and that one is taken."""
    with pytest.raises(UsageError, match=why) as caught:
        networks.require_size(name, side_px)

    assert f"--image-size {nearest}," in str(caught.value.hint)
    networks.require_size(name, nearest)


def test_a_wrong_size_is_refused_before_any_image_is_read(tmp_path: Path) -> None:
    """The folder need not even be there."""
    asked = options_for(
        root=str(tmp_path / "none"), backbone=DINO, weights="random", options={"side_px": 225}
    )

    with pytest.raises(UsageError, match="--image-size is 225"):
        begin.check_options(asked)


@pytest.mark.parametrize(("name", "side_px"), [(SMALL, 96), ("test_resnet", 96)])
def test_a_network_of_one_size_is_built_for_another(name: str, side_px: int) -> None:
    """Its facts say so; a convolutional network, which takes any, keeps its own for the probes."""
    backbone, facts = load.build(name, "random", variant=Variant(side_px=side_px))

    side = side_px if name == SMALL else 160
    assert facts.preprocess.side_px == backbone.preprocess.side_px == side
    with torch.inference_mode():
        rows = backbone(backbone.normalise(torch.zeros(2, side, side, 3, dtype=torch.uint8)))
    assert rows.isfinite().all()


def test_weights_of_another_size_are_resampled(tmp_path: Path) -> None:
    """The position embedding is brought to the new grid, all else is taken as it stands."""
    backbone, _ = load.build(SMALL, "random")
    save_file(backbone.state(), file := tmp_path / "w.safetensors")

    small, facts = load.build(SMALL, str(file), variant=Variant(side_px=96))

    before, after = backbone.state(), small.state()
    assert facts.preprocess.side_px == 96
    assert {n for n in before if before[n].shape != after[n].shape} == {"pos_embed"}
    assert all(torch.equal(before[n], after[n]) for n in before if n != "pos_embed")
    assert float((after["pos_embed"].mean() - before["pos_embed"].mean()).abs()) < 1e-3


def test_a_run_of_another_size_is_rebuilt_at_it() -> None:
    """What its facts say of size and normalization is how it answers."""
    variant = Variant(side_px=96, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    backbone, facts = load.build(SMALL, "random", variant=variant)
    pixels = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8)

    again = load.rebuild(facts, backbone.state())

    assert again.preprocess == facts.preprocess
    with torch.inference_mode():
        one, two = (b(b.normalise(pixels)) for b in (backbone, again))
    np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_facts_of_a_size_that_no_network_has_are_a_fault() -> None:
    """A run that says 97 px of a network in patches of 16 is damaged, and that is told."""
    backbone, facts = load.build(SMALL, "random")
    odd = replace(facts, preprocess=replace(facts.preprocess, side_px=96))

    with pytest.raises(load.BackboneError, match="does not fit the backbone"):
        load.rebuild(odd, backbone.state())


def test_probes_see_the_size_that_was_named(image_folder) -> None:
    """A ViT at another size goes through probes at that size: features are of 96 px."""
    from finetune.analysis import analyze  # noqa: PLC0415
    from finetune.analysis.clock import Clock  # noqa: PLC0415

    heard = Recorder()
    asked = options_for(
        root=str(image_folder()), backbone=SMALL, weights="random", options={"side_px": 96}
    )

    found = analyze.analyze(asked, heard, Clock(heard))

    assert found.facts.preprocess.side_px == 96
    assert found.body.facts.one_size
