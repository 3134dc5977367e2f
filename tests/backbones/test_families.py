"""Promises of `backbones.families`: a network counts as what it is built of, not by its name."""

from __future__ import annotations

from typing import get_args

import pytest
import timm
import torch
from torch import nn

from finetune.backbones import load
from finetune.backbones.families import family_of
from finetune.records.choices import FAMILY_NAMES, Family

EXAMPLES: dict[str, Family] = {
    "resnet18": "batchnorm-convnet",
    "tf_efficientnet_lite0": "batchnorm-convnet",
    "vgg11_bn": "batchnorm-convnet",
    "convmixer_768_32": "batchnorm-convnet",
    "convnext_atto": "layernorm-convnet",
    "resnetv2_50x1_bit": "layernorm-convnet",
    "poolformer_s12": "layernorm-convnet",
    "vgg11": "plain-convnet",
    "nfnet_l0": "plain-convnet",
    "vit_small_patch14_dinov2": "vit",
    "deit_tiny_distilled_patch16_224": "vit",
    "swin_tiny_patch4_window7_224": "vit",
    "mixer_s32_224": "vit",
    "tiny_vit_5m_224": "hybrid",
    "maxvit_rmlp_pico_rw_256": "hybrid",
    "xcit_nano_12_p16_224": "hybrid",
    "levit_128s": "hybrid",
    "coatnet_nano_rw_224": "hybrid",
    "mobilevitv2_050": "hybrid",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_network_is_of_the_family_that_it_is_built_as(name: str) -> None:
    """TinyViT, MaxViT, XCiT, LeViT and CoAtNet have BatchNorm, and are hybrids all the same."""
    with torch.device("meta"):
        net = timm.create_model(name)

    assert family_of(net) == EXAMPLES[name]


@pytest.mark.parametrize("name", ["lenet5", "test_vit"])
def test_the_facts_of_a_backbone_have_its_family(name: str) -> None:
    """What is built says what it is; no family is without words."""
    _, facts = load.build(name, "random")

    assert facts.family == {"lenet5": "plain-convnet", "test_vit": "vit"}[name]
    assert set(FAMILY_NAMES) == set(get_args(Family))


def test_squeeze_and_excitation_is_no_attention() -> None:
    """Weighing channels by their means does not make a hybrid of a convolutional network."""
    with torch.device("meta"):
        net = timm.create_model("mobilenetv3_small_100")

    assert any("Squeeze" in type(m).__name__ for m in net.modules())
    assert family_of(net) == "batchnorm-convnet"


def test_a_stack_of_linear_layers_is_read_by_its_patches() -> None:
    """Without any convolution over neighbours nothing is a convolutional network."""
    assert family_of(nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8))) == "vit"
