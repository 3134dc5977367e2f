"""The stages of a network as a student wants to see them: shapes, parameters, receptive fields."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor, nn

from finetune.backbones import load
from finetune.backbones.registry import BACKBONES, RANDOM
from finetune.backbones.stages import Backbone
from finetune.records.anatomy import StageRow
from finetune.records.backbone import BackboneFacts

NOT_PUBLISHED = "none published"
OWN = {"alexnet": "bsd-3-clause", "lenet5": NOT_PUBLISHED}  # what timm lacks

# Pictures of random pixels whose gradients are added up: max pooling and ReLU let one picture reach
# a part of the receptive field only.
PICTURES = 4
NEARLY_ZERO = 1e-3


def untrained(name: str) -> tuple[Backbone, BackboneFacts]:
    """A network with random weights, for which nothing is fetched.

    Parameters that start at or near zero (the last norm of a residual branch, layer scales) hide
    what they multiply from gradients: they are drawn, too.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        backbone, facts = load.build(name, RANDOM)
        for parameter in backbone.net.parameters():
            if bool(parameter.abs().max() < NEARLY_ZERO):
                parameter.uniform_(0.5, 1.5)
    return backbone, facts


def licence(name: str) -> str:
    """Of the pretrained weights of a network; `none published` where there are none."""
    if name in BACKBONES:
        return BACKBONES[name].licence
    if name in OWN:
        return OWN[name]
    config = load.published(name)
    there = config.get("hf_hub_id") or config.get("url")
    return str(config.get("license") or "unknown") if there else NOT_PUBLISHED


def rows(backbone: Backbone) -> tuple[StageRow, ...]:
    """One row for each stage, from the stem on; the weights play no part in it.

    Args:
        backbone: In eval mode, with any weights whose outputs are numbers.
    """
    kinds = _norms(backbone)
    outputs = _outputs(backbone)
    return tuple(
        StageRow(
            name=stage,
            module=backbone.boundaries[stage],
            output=tuple(outputs[stage][0].shape[1:]),
            parameters=sum(p.numel() for p in backbone.stage_parameters(stage)),
            norms=kinds[stage],
            receptive_px=_receptive(backbone, *outputs[stage]),
        )
        for stage in backbone.stages
    )


def top(backbone: Backbone) -> int:
    """The number of top features, which the head of a tuned model reads."""
    side = backbone.preprocess.side_px
    with torch.inference_mode():
        return int(backbone(torch.zeros(1, 3, side, side)).shape[1])


def _outputs(backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
    """What each stage hands on, with the pictures it came from, which collect gradients."""
    side = backbone.preprocess.side_px
    generator = torch.Generator().manual_seed(0)
    pixels = 255.0 * torch.rand(PICTURES, 3, side, side, generator=generator)
    x = backbone.normalise(pixels).requires_grad_()
    found: dict[str, Tensor] = {}
    handles = [
        backbone.net.get_submodule(path).register_forward_hook(
            lambda _module, _input, out, stage=stage: found.setdefault(stage, out)
        )
        for stage, path in backbone.boundaries.items()
    ]
    try:
        backbone.net.forward_features(x)
    finally:
        for handle in handles:
            handle.remove()
    return {stage: (out, x) for stage, out in found.items()}


def _receptive(backbone: Backbone, output: Tensor, pixels: Tensor) -> int | None:
    """Side in pixels of what the central output depends on; None where that is the whole picture.

    Found by what the gradient reaches, so that a layer which mixes all places (attention,
    squeeze-and-excitation, a norm over places) counts as what it is.
    """
    center = _center(backbone, output)
    weights = torch.rand(center.shape, generator=torch.Generator().manual_seed(1)) + 0.5
    (gradient,) = torch.autograd.grad((center * weights).sum(), pixels, retain_graph=True)
    reached = gradient.abs().amax(dim=(0, 1)) > 0
    sides = []
    for axis in (0, 1):
        touched = torch.nonzero(reached.any(dim=1 - axis)).flatten()
        if not len(touched):
            return None
        first, last = int(touched[0]), int(touched[-1])
        if first == 0 or last == reached.shape[axis] - 1:
            return None
        sides.append(last - first + 1)
    return max(sides)


def _center(backbone: Backbone, output: Tensor) -> Tensor:
    """The central place of a stage's output: of a map, of a sequence of tokens."""
    if output.dim() == 3:
        prefix = int(getattr(backbone.net, "num_prefix_tokens", 0))  # the stem's has none yet
        tokens = (
            output if math.isqrt(output.shape[1]) ** 2 == output.shape[1] else output[:, prefix:]
        )
        side = math.isqrt(tokens.shape[1])
        return tokens[:, (side // 2) * side + side // 2]
    if output.shape[1] == output.shape[2] != output.shape[3]:  # channels last: Swin and kin
        return output[:, output.shape[1] // 2, output.shape[2] // 2]
    return output[:, :, output.shape[2] // 2, output.shape[3] // 2]


def _norms(backbone: Backbone) -> dict[str, dict[str, int]]:
    """How many normalization layers of each kind a stage has."""
    kinds: dict[str, Counter[str]] = {stage: Counter() for stage in backbone.stages}
    for name, module in backbone.net.named_modules():
        stage = backbone.stage_of(name)
        if stage and _is_norm(module):
            kinds[stage][_kind(module)] += 1
    return {stage: dict(count) for stage, count in kinds.items()}


def _is_norm(module: nn.Module) -> bool:
    known = (
        nn.modules.batchnorm._BatchNorm,
        nn.modules.instancenorm._InstanceNorm,
        nn.GroupNorm,
        nn.LayerNorm,
        nn.LocalResponseNorm,
    )
    return isinstance(module, known) or "RmsNorm" in type(module).__name__


def _kind(module: nn.Module) -> str:
    """Its usual name: BatchNorm2d and timm's BatchNormAct2d are BatchNorm."""
    names = {
        nn.modules.batchnorm._BatchNorm: "BatchNorm",
        nn.modules.instancenorm._InstanceNorm: "InstanceNorm",
        nn.GroupNorm: "GroupNorm",
        nn.LayerNorm: "LayerNorm",
    }
    return next((n for kind, n in names.items() if isinstance(module, kind)), type(module).__name__)
