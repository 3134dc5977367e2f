"""Which family a network is of: what its rates and the word of other data sets depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune.records.choices import Family

if TYPE_CHECKING:
    from torch import nn

# What holds queries, in timm's names for its parts; squeeze-and-excitation has none.
QUERIES = frozenset({"qkv", "qkvs", "q", "to_qkv", "q_proj", "attn_drop"})


def family_of(net: nn.Module) -> Family:
    """The family, by what a network is built of and not by its name.

    Attention, or no convolution over neighbours at all: a `vit`; with BatchNorm or more than one
    such convolution beside it (the first may cut overlapping patches): a `hybrid`. Convolutions
    alone are told apart by their normalization; one that looks at an image by itself
    (LayerNorm, GroupNorm) is a `layernorm-convnet`, none a `plain-convnet`.
    """
    from torch import nn  # noqa: PLC0415 - takes seconds; the words for families need none

    modules = list(net.modules())
    batch = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in modules)
    own = any(isinstance(m, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm2d) for m in modules)
    convolutions = sum(
        isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1 and m.kernel_size != m.stride
        for m in modules
    )
    attention = any(name in QUERIES for m in modules for name, _ in m.named_children())
    if attention and (batch or convolutions > 1):
        return "hybrid"
    if attention or not convolutions:
        return "vit"
    if batch:
        return "batchnorm-convnet"
    return "layernorm-convnet" if own else "plain-convnet"
