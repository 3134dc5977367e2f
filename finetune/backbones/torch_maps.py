"""What speaks for a class in one picture, by torch: for every network, with a gradient if need be.

Features that are a pooled map need none, as in `graph_maps`. Where a head of a network's own stands
between the pooling and the features, the evidence is gradient times activation there (HiResCAM,
Draelos & Carin 2020): with one linear layer behind the pooling that is the class activation map
again, and so is Grad-CAM (Selvaraju et al. 2017), whose gradient of a mean is the weight itself.
The denominators of norms behind the pooling count as constants (Ali et al. 2022), or else what a
LayerNorm gives would add up to nothing. A class token has no map: there the attention from layer to
layer is weighted by its gradient (Chefer et al. 2021).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finetune.backbones import engine, inference, joined, pooled
from finetune.backbones.inference import PARITY, ROOT, TOP, Pixels
from finetune.backbones.pooled import Evidence, Leaf, Pooling
from finetune.backbones.stages import GRID_CHANNELS, MAP_DIMENSIONS, Backbone, as_map
from finetune.records.explanation import Method
from finetune.storage.arrays import Array

_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of a run: which of its features are read, of pictures of which side."""

    backbone: Backbone
    taps: tuple[str, ...]
    side_px: int


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one feature layer gives to a score: in places, and wherever else."""

    places: Array
    constant: float = 0.0
    method: Method = "cam"


class TorchMaps:
    """Networks with their common head: the logits and the evidence for a class in each place."""

    def __init__(
        self, networks: Sequence[Network], weight: Array, bias: Array, device: torch.device
    ) -> None:
        """Put the networks where they compute.

        Args:
            networks: One, or the two of a blend.
            weight: The head's, float64[C,D].
            bias: float64[C].
            device: Where to compute.
        """
        self.networks, self.weight, self.bias, self.device = networks, weight, bias, device
        for network in networks:
            network.backbone.eval().requires_grad_(False).to(device)

    def __call__(self, image: Pixels, label: int | None = None) -> Evidence:
        """What speaks for a class in one picture uint8[S,S,3]; for the likeliest where None."""
        with engine.full_precision(self.device):
            passes = [_Pass(network, image, self.device) for network in self.networks]
            row = np.concatenate([found.features(tap) for found in passes for tap in found.taps])
            logits: Array = self.weight @ row + self.bias
            chosen = int(logits.argmax()) if label is None else label
            parts, start = [], 0
            for found in passes:
                for tap in found.taps:
                    stop = start + len(found.features(tap))
                    parts.append(found.evidence(tap, self.weight[chosen, start:stop]))
                    start = stop
        others: list[Method] = [part.method for part in parts if part.method != "cam"]
        return Evidence(
            logits=logits,
            label=chosen,
            bias=float(self.bias[chosen]) + sum(part.constant for part in parts),
            places=pooled.added(part.places for part in parts),
            method=others[0] if others else "cam",
        )


class _Pass:
    """One picture through one network."""

    def __init__(self, network: Network, image: Pixels, device: torch.device) -> None:
        self.body, self.taps = network.backbone, network.taps
        small = joined.shrunk(np.array(image)[None], network.side_px)  # of its own: torch may write
        with torch.no_grad():
            self.x = self.body.normalise(engine.to_device(small, device))
            self.rows = self.body.forward_stages(self.x)

    def features(self, tap: str) -> Array:
        """What the head reads there, float64[F]."""
        return _array(self.rows[tap][0])

    def evidence(self, tap: str, weight: Array) -> _Part:
        """What speaks for a score weight · features there."""
        if tap not in (TOP, ROOT):
            with torch.no_grad():
                output = self.body.output_of(tap, self.x)
            maps = self._map(output)
            leaves = [] if maps is None else _of_stage(maps)
            width = leaves[-1].columns.stop if leaves else 0
            if width == len(weight):
                return _Part(places=pooled.summed(leaves, weight))
            return self._at_stages(self._score(tap, weight))
        with torch.no_grad():
            last = self.body.net.forward_features(self.x)
        maps = self._map(last)
        how: Pooling = "mean" if tap == TOP else "root"
        if maps is not None and _same(self.features(tap), pooled.pooled(how, maps)):
            every = Leaf(columns=slice(None), how=how, maps=maps)
            return _Part(places=pooled.summed([every], weight))
        score = self._score(tap, weight)
        found = self._at_last(last, score)
        return found or self._by_attention(score) or self._at_stages(score)

    def _map(self, output: Any) -> pooled.Map | None:
        """A layer's output as float64[F,H,W]; None where it has no places."""
        if not isinstance(output, Tensor) or output.dim() < MAP_DIMENSIONS - 1:
            return None
        maps = as_map(output, self.body.prefix_tokens)
        return None if maps is None or maps.shape[2:].numel() == 1 else _array(maps[0])

    def _score(self, tap: str, weight: Array) -> Callable[[dict[str, Tensor]], Tensor]:
        """The score weight · features, of what `forward_stages` gives."""
        factor = torch.from_numpy(weight).to(self.x)

        def score(rows: dict[str, Tensor]) -> Tensor:
            if tap != ROOT:
                return (rows[tap][0] * factor).sum()
            top = rows[TOP][0]
            root = top.detach().clamp(min=0).sqrt()  # its denominator is a constant
            return (top * torch.where(root > _TINY, factor / root, 0.0)).sum()

        return score

    def _at_last(self, last: Any, score: Callable[[dict[str, Tensor]], Tensor]) -> _Part | None:
        """Before the head of the network's own; None where what it reads has no places."""
        if not isinstance(last, Tensor) or self._map(last) is None:
            return None
        with torch.enable_grad(), _norms_held(self.body.net) as freeze:

            def of(x: Tensor) -> Tensor:
                return score({TOP: self.body.net.forward_head(x, pre_logits=True)})

            leaf = last.detach().requires_grad_()
            total = of(leaf)
            (gradient,) = torch.autograd.grad(total, leaf)
            freeze()
            half = float(of(leaf.detach() / 2))
        given = gradient * leaf.detach()
        found = self._map(given)
        assert found is not None  # as the map was
        places = found.sum(0)
        if not np.abs(places).max() > _TINY:
            return None
        inside, whole = float(places.sum()), float(total.detach())
        constant = whole - float(given.sum())
        straight = abs(half - constant - float(given.sum()) / 2) <= PARITY * max(abs(whole), _TINY)
        part = _Part(places=places * places.size, constant=whole - inside)
        return part if straight else replace(part, constant=0.0, method="gradient")

    def _by_attention(self, score: Callable[[dict[str, Tensor]], Tensor]) -> _Part | None:
        """Gradient-weighted attention from layer to layer, seen from the class token.

        It says where, not how much: its mean is made what the feature gives to the score.
        """
        x = self.x.detach().clone().requires_grad_()
        with torch.enable_grad(), _attentions(self.body.net) as layers:
            total = score(self.body.forward_stages(x))
            if not layers or len({layer.shape[-2:] for layer in layers}) > 1:
                return None
            if layers[0].shape[-1] != layers[0].shape[-2]:
                return None
            gradients = torch.autograd.grad(total, layers, allow_unused=True)
        relevance = torch.eye(layers[0].shape[-1], device=x.device)
        for layer, gradient in zip(layers, gradients, strict=True):
            if gradient is not None:
                weighed = (layer * gradient).detach().clamp(min=0)
                relevance = relevance + weighed.flatten(0, -3).mean(0) @ relevance
        tokens = self._map(relevance[:1, :, None])
        if tokens is None or not tokens.mean() > _TINY:
            return None
        places = tokens[0] * abs(float(total.detach())) / tokens.mean()
        return _Part(places=places, method="attention")

    def _at_stages(self, score: Callable[[dict[str, Tensor]], Tensor]) -> _Part:
        """Gradient times activation after the last stage that has places and a gradient."""
        x = self.x.detach().clone().requires_grad_()
        with torch.enable_grad(), _outputs(self.body) as outputs:
            total = score(self.body.forward_stages(x))
            # a layer of positions alone does not depend on the picture
            given = [*(output for output in outputs.values() if output.requires_grad), x]
            gradients = torch.autograd.grad(total, given, allow_unused=True, materialize_grads=True)
        for output, gradient in reversed(list(zip(given, gradients, strict=True))):
            maps = self._map((output * gradient).detach())
            if maps is not None and np.abs(places := maps.sum(0)).max() > _TINY:
                return _Part(places=places * places.size, method="gradient")
        return _Part(places=np.zeros((1, 1)), method="gradient")  # nothing depends on the picture


def _of_stage(maps: pooled.Map) -> list[Leaf]:
    """The features of a stage, as `stages` pools them."""
    width, (height, length) = len(maps), maps.shape[1:]
    leaves = [
        Leaf(columns=slice(0, width), how="mean", maps=maps),
        Leaf(columns=slice(width, 2 * width), how="spread", maps=maps),
    ]
    if width <= GRID_CHANNELS and height > 1 and length > 1:
        leaves.append(Leaf(columns=slice(2 * width, 6 * width), how="grid", maps=maps))
    return leaves


@contextlib.contextmanager
def _norms_held(net: nn.Module) -> Iterator[Callable[[], None]]:
    """LayerNorms whose means move and whose denominators are constants.

    Yields:
        What makes the denominators of the first pass those of all that follow.
    """
    held: dict[nn.Module, Tensor] = {}
    frozen = False

    def hook(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0]
        channels_first = x.dim() == MAP_DIMENSIONS and x.shape[-1] != layer.normalized_shape[-1]
        x = x.movedim(1, -1) if channels_first else x
        axes = tuple(range(-len(layer.normalized_shape), 0))
        if not (frozen and layer in held):
            variance = x.detach().var(axes, unbiased=False, keepdim=True)
            held[layer] = (variance + layer.eps).sqrt()
        out = (x - x.mean(axes, keepdim=True)) / held[layer]
        if layer.weight is not None:
            out = out * layer.weight
        if layer.bias is not None:
            out = out + layer.bias
        return (out.movedim(-1, 1) if channels_first else out).view_as(output)

    def freeze() -> None:
        nonlocal frozen
        frozen = True

    handles = [
        module.register_forward_hook(hook)
        for module in net.modules()
        if isinstance(module, nn.LayerNorm)
    ]
    try:
        yield freeze
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _attentions(net: nn.Module) -> Iterator[list[Tensor]]:
    """The attention float32[N,heads,T,T] of each layer that a pass inside goes through."""
    found: list[Tensor] = []
    changed = [m for m in net.modules() if getattr(m, "fused_attn", False)]
    handles = [
        module.register_forward_hook(lambda _module, _inputs, out: found.append(out))
        for name, module in net.named_modules()
        if name.rpartition(".")[2] == "attn_drop"
    ]
    for module in changed:  # a fused one keeps no attention
        module.fused_attn = False  # type: ignore[assignment]
    try:
        yield found
    finally:
        for module in changed:
            module.fused_attn = True  # type: ignore[assignment]
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _outputs(body: Backbone) -> Iterator[dict[str, Tensor]]:
    """The outputs of the stages that a pass inside goes through, in their order."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            found[name] = output.clone()  # what follows may change it in place
            return found[name].clone()

        return hook

    handles = [
        body.net.get_submodule(path).register_forward_hook(keep(name))
        for name, path in body.boundaries.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _array(x: Tensor) -> Array:
    out: Array = x.detach().double().cpu().numpy()
    return out


def _same(one: Array, two: Array) -> bool:
    return one.shape == two.shape and inference.gap(one, two) <= PARITY
