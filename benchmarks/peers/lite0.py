"""The backbone of all contenders, by timm's own functions, with the real ImageNet weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn

NAME = "tf_efficientnet_lite0"
SIDE_PX = 224
# Of these weights; ImageNet's usual ones would be wrong.
MEAN = STD = (0.5, 0.5, 0.5)


def source(weights: Path) -> dict[str, Any]:
    """Arguments of `timm.create_model` that take pretrained tensors from a file."""
    return {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}


def network(weights: Path, classes: int) -> nn.Module:
    """The pretrained network with a new classifier."""
    net: nn.Module = timm.create_model(NAME, num_classes=classes, **source(weights))
    check(net, weights)
    return net


def check(net: nn.Module, weights: Path) -> None:
    """Random weights must never pass for pretrained ones: compare every tensor of the body.

    Raises:
        SystemExit: one of them differs.
    """
    own = net.state_dict()
    for name, tensor in load_file(weights).items():
        if not name.startswith("classifier.") and not torch.equal(own[name], tensor):
            raise SystemExit(f"{name} does not hold the pretrained weights")
