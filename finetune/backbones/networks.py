"""A network by its name without any weights, and the sizes of pictures that it can take."""

from __future__ import annotations

import difflib
import functools
import re
import sys
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from finetune.backbones.architectures import AlexNet, LeNet5
from finetune.backbones.registry import BACKBONES, LENETS
from finetune.records.choices import MOST_SIDE_PX
from finetune.records.errors import BackboneError, UsageError, first_line

# Parameters that belong to one size and can be resampled to another: the others of a network that
# is built for another size would be new, and random (a Mixer mixes by place, LeViT biases by it).
RESAMPLED = re.compile(r"pos_embed|rel_pos|relative_position_bias_table")
# What sizes are multiples of where the patch does not tell: five halvings, Swin's windows of 7.
STEPS_PX = (32, 224)


def create(name: str, side_px: int | None = None) -> nn.Module:
    """The network with random weights.

    Args:
        name: A timm model name, `alexnet` or `lenet5`.
        side_px: The size to build it for, where it takes one size only; None for its own.

    Raises:
        BackboneError: unknown name, or it cannot be built for another size.
    """
    if name in LENETS and side_px is None:
        return LeNet5(LENETS[name])
    if name == "alexnet" and side_px is None:
        return AlexNet()
    import timm  # noqa: PLC0415 - a second's import, only where a network is built

    require_known(name)
    if name in LENETS or name == "alexnet":
        raise BackboneError(
            f"{name} takes images of {_native(create(name))} px only",
            hint="Leave out --image-size.",
        )
    size: dict[str, Any] = {} if side_px is None else {"img_size": side_px}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old names are told to be old
            net: nn.Module = timm.create_model(name, pretrained=False, **size)
    except Exception as error:
        if side_px is None:
            raise  # a bug of ours, or of timm
        raise BackboneError(
            f"{name} cannot be built for images of {side_px} px: {first_line(error)}",
            hint="Leave out --image-size.",
        ) from error
    return net


def require_known(name: str) -> None:
    """Refuse names of no network; raises `BackboneError` with names near it."""
    if name in (*LENETS, "alexnet"):
        return
    import timm  # noqa: PLC0415 - see create

    if not timm.is_model(name):
        close = ", ".join(difflib.get_close_matches(name, timm.list_models(), 5))
        raise BackboneError(
            f"unknown backbone '{name}'",
            hint=f"Names near it: {close}." if close else "See timm's list of models.",
        )


def built_for(name: str, side_px: int | None) -> int | None:
    """The size that a network has to be built for so that it takes such pictures.

    None where it takes others than its own anyway, as convolutional networks do, or these are its
    own.
    """
    if side_px is None or name in BACKBONES:
        return None
    net = _shapes(name)
    return side_px if _fixed(net) and side_px != _native(net) else None


def require_size(name: str, side_px: int) -> None:
    """Refuse a size that a network cannot take; nothing is computed for it, on shapes alone.

    Raises:
        UsageError: names the nearest that works.
        BackboneError: unknown name.
    """
    if name in BACKBONES:  # convolutions down to a mean: any size that the option takes
        return
    fault = _fault(name, side_px)
    if not fault:
        return
    others = {_native(_shapes(name))}
    for step in (*filter(None, (_patch(_shapes(name)),)), *STEPS_PX):
        below = side_px // step * step
        others |= {below, below + step}
    near = sorted((s for s in others if 0 < s <= MOST_SIDE_PX), key=lambda s: (abs(s - side_px), s))
    works = next((s for s in near if s != side_px and not _fault(name, s)), None)
    raise UsageError(
        f"--image-size is {side_px}, and {name} {fault}",
        hint="Choose another --backbone."
        if works is None
        else f"Give --image-size {works}, the nearest that works, or another --backbone.",
    )


def resampled(net: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of another size's network for this one: position embeddings and biases.

    As timm does it for the network. Tensors of the same shapes come back as they are, and so do
    those that cannot be resampled: whoever loads them compares the shapes.
    """
    mine = net.state_dict()
    other = [n for n, t in tensors.items() if n in mine and t.shape != mine[n].shape]
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if not other or convert is None or not all(RESAMPLED.search(n) for n in other):
        return tensors
    try:
        found: dict[str, Tensor] = convert(dict(tensors), net)
    except Exception:  # timm's functions raise all sorts of things
        return tensors
    return {name: found[name] for name in tensors if name in found}


@functools.lru_cache(maxsize=4)
def _shapes(name: str, side_px: int | None = None) -> nn.Module:
    """The network without memory for its parameters."""
    with torch.device("meta"):
        return create(name, side_px).eval()


def _config(net: nn.Module) -> dict[str, Any]:
    return dict(getattr(net, "pretrained_cfg", {}))


def _fixed(net: nn.Module) -> bool:
    return bool(_config(net).get("fixed_input_size", False))


def _native(net: nn.Module) -> int:
    return int(_config(net)["input_size"][-1])


def _patch(net: nn.Module) -> int | None:
    """Side of the patches that a picture is cut in first; None where it is not known."""
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    side = patch[0] if isinstance(patch, tuple) and patch else patch
    return side if isinstance(side, int) and side > 1 else None


def _fault(name: str, side_px: int) -> str:
    """Why a network cannot take such pictures, after its name; empty where it can."""
    net = _shapes(name)
    native, patch = _native(net), _patch(net)
    if side_px == native:
        return ""
    if _fixed(net):
        if patch is not None and side_px % patch:
            return f"cuts images in patches of {patch} px: {side_px} is no multiple of that"
        try:
            other = _shapes(name, side_px)
        except BackboneError:
            return f"takes images of {native} px only"
        before, after = net.state_dict(), other.state_dict()
        changed = [n for n, t in after.items() if n not in before or t.shape != before[n].shape]
        if not all(RESAMPLED.search(n) for n in changed):
            return f"has parameters that fit images of {native} px only ({changed[0]})"
        net = other
    fault = _runs(net, side_px)
    # where not even its own size runs on shapes alone, that tells nothing
    return f"fails on it: {fault}" if fault and not _runs(_shapes(name), native) else ""


def _runs(net: Any, side_px: int) -> str:
    """What a pass on shapes alone fails with; empty where it does not."""
    try:
        with torch.inference_mode():
            x = torch.zeros(1, 3, side_px, side_px, device="meta")
            net.forward_head(net.forward_features(x), pre_logits=True)
    except Exception as error:  # networks raise all sorts of things
        return first_line(error)
    return ""
