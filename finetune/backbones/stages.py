"""The network cut in stages, each with its parameters and its pooled features."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune.backbones.inference import ROOT, TOP
from finetune.backbones.tensors import RUN_FILE, _classifiers, check_match, without_classifier
from finetune.records.backbone import Preprocess

# A 2x2 grid of averages keeps a little of where things are. Head2Toe (Evci et al. 2022) pools to a
# target length and gives wide layers global averages only; its target of 512 is the bound here.
GRID_CHANNELS = 512
MAX_STAGES = 6
IMAGENET_CLASSES = 1000
MAP_DIMENSIONS = 4


class Backbone(nn.Module):
    """A network without its classifier, its parameters and outputs grouped into stages.

    A stage ends where timm's `feature_info` marks the last block of one output resolution. What
    comes before the first block is the `stem`; what comes after the last (a final convolution or
    norm) belongs to the last stage. `top` names the features the ImageNet classifier reads.
    """

    def __init__(self, net: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        # timm's networks share an interface that their common base class does not declare
        self.net: Any = net
        self.preprocess = preprocess
        self.boundaries = _boundaries(net)
        self.stages = tuple(self.boundaries)
        self._stage_of = _assign(net, self.boundaries)
        self.probed_top = TOP
        self._mean: Tensor
        self._std: Tensor
        for name, values in (("_mean", preprocess.mean), ("_std", preprocess.std)):
            constant = torch.tensor(values).view(1, 3, 1, 1)
            self.register_buffer(name, constant, persistent=False)
        with torch.inference_mode():
            noise = 255.0 * torch.rand(1, 3, preprocess.side_px, preprocess.side_px)
            if bool((self.eval().forward_stages(self.normalise(noise))[TOP] >= 0).all()):
                self.probed_top = ROOT

    def normalise(self, images: Tensor) -> Tensor:
        """uint8[N,H,W,3] or float[N,3,H,W] in 0..255 → the network's float32[N,3,H,W]."""
        if images.dtype == torch.uint8:
            images = images.permute(0, 3, 1, 2).float()
        out: Tensor = (images / 255.0 - self._mean) / self._std
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float32[N,3,H,W] → top features float32[N,F]."""
        features: Tensor = self.net.forward_head(self.net.forward_features(x), pre_logits=True)
        return features

    def logits(self, x: Tensor) -> Tensor:
        """Normalised float32[N,3,H,W] → the ImageNet classifier's float32[N,1000]."""
        out: Tensor = self.net.get_classifier()(self(x))
        return out

    def imagenet_head(self) -> nn.Linear | None:
        """The ImageNet classifier on top features; None where it is no linear layer to 1000."""
        head = self.net.get_classifier() if hasattr(self.net, "get_classifier") else None
        fits = isinstance(head, nn.Linear) and head.out_features == IMAGENET_CLASSES
        return head if fits else None

    @contextlib.contextmanager
    def norm_shifts(self) -> Iterator[dict[str, Tensor]]:
        """Watch how far the inputs of each BatchNorm layer lie from its stored means.

        Yields:
            What a forward pass inside fills: layer name → float32[N,C], each image's channel means
            less the stored ones, in stored standard deviations; in the order of the pass. Layers on
            rows are left out: an image's own cannot be told apart there. Empty without BatchNorm.
        """
        found: dict[str, Tensor] = {}

        def look(name: str) -> Any:
            def hook(layer: Any, inputs: tuple[Tensor, ...]) -> None:
                if inputs[0].dim() == MAP_DIMENSIONS:
                    # the epsilon is the layer's own: dead channels have a stored variance of zero
                    deviation = (layer.running_var + layer.eps).sqrt()
                    means = inputs[0].mean(dim=(2, 3))
                    found[name] = (means - layer.running_mean) / deviation

            return hook

        handles = [
            module.register_forward_pre_hook(look(name))
            for name, module in self.net.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            and module.running_var is not None
        ]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()

    @property
    def prefix_tokens(self) -> int:
        """Tokens before those of places, such as a class token."""
        return int(getattr(self.net, "num_prefix_tokens", 0))

    def stage_of(self, module: str) -> str:
        """The stage that a module belongs to, by its name in the network."""
        return self._stage_of.get(module, "")

    def forward_stages(self, x: Tensor) -> dict[str, Tensor]:
        """Normalised float32[N,3,H,W] → pooled features of every stage, then `top`, float32[N,F].

        Where the top features are rectified (`probed_top` says so) their root comes last.
        """
        maps: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, _input: object, output: Tensor) -> None:
                maps[name] = output

            return hook

        handles = [
            self.net.get_submodule(path).register_forward_hook(keep(name))
            for name, path in self.boundaries.items()
        ]
        try:
            top = self(x)
        finally:
            for handle in handles:
                handle.remove()
        pooled = {name: _pool(maps[name], self.prefix_tokens) for name in self.boundaries}
        rooted = {ROOT: top.clamp(min=0).sqrt()} if self.probed_top == ROOT else {}
        return {**pooled, TOP: top, **rooted}

    def output_of(self, stage: str, x: Tensor) -> Tensor:
        """Normalised float32[N,3,H,W] → what a stage hands on, as the network has it."""
        found: list[Tensor] = []
        watched = self.net.get_submodule(self.boundaries[stage])
        handle = watched.register_forward_hook(lambda _module, _input, out: found.append(out))
        try:
            self.net.forward_features(x)
        finally:
            handle.remove()
        return found[0]

    def after(self, stage: str) -> Callable[[Tensor], Tensor]:
        """What follows a stage: its output → top features float32[N,F], with the same parameters.

        All modules up to there are passed through. That is right where a network hands its input
        from one module to the next and does nothing else in between: `engine.front` tries it.
        """
        done = set(self.stages[: self.stages.index(stage) + 1])
        leaves = {name for name in _leaves(self.net) if self._stage_of.get(name) in done}
        net = _past(self.net, "", leaves)

        def rest(x: Tensor) -> Tensor:
            features: Tensor = net.forward_head(net.forward_features(x), pre_logits=True)
            return features

        return rest

    def stage_parameters(self, stage: str) -> list[nn.Parameter]:
        """The parameters of one stage, the classifier's not among them."""
        return [
            parameter
            for name, parameter in self.net.named_parameters()
            if self._stage_of.get(name.rpartition(".")[0]) == stage
        ]

    def count(self) -> int:
        """Number of parameters of all stages, the classifier's not among them."""
        return sum(p.numel() for stage in self.stages for p in self.stage_parameters(stage))

    def state(self) -> dict[str, Tensor]:
        """The tensors a run keeps: all but the ImageNet classifier."""
        return without_classifier(self.net, self.net.state_dict())

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """`state` on the CPU, as numpy has it."""
        return {name: t.detach().cpu().numpy() for name, t in self.state().items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave.

        Raises:
            BackboneError: names or shapes differ from this backbone's.
        """
        expected = self.state()
        check_match(expected, tensors, RUN_FILE)
        self.net.load_state_dict(tensors, strict=False)


def _boundaries(net: nn.Module) -> dict[str, str]:
    """Stage name → path of the module whose output ends it."""
    paths = [str(f["module"]) for f in net.feature_info]  # type: ignore[union-attr]
    if len(paths) > MAX_STAGES:  # a plain stack of equal blocks (ViT, Mixer): quarters of its depth
        paths = [paths[round(len(paths) * q / 4) - 1] for q in range(1, 5)]
    children = [name for name, _ in net.named_children()]
    before = [
        name
        for name in children[: children.index(paths[0].partition(".")[0])]
        if any(True for _ in net.get_submodule(name).parameters())
    ]
    if before and "." in paths[0]:
        paths.insert(0, before[-1])
    return {("stem" if i == 0 else str(i)): path for i, path in enumerate(paths)}


def _assign(net: nn.Module, boundaries: dict[str, str]) -> dict[str, str]:
    """Leaf module path → stage, by the order in which the network registers its modules."""
    names = [n for n, _ in net.named_modules()]
    ends = {}
    for stage, path in boundaries.items():
        inside = [i for i, n in enumerate(names) if n == path or n.startswith(f"{path}.")]
        ends[stage] = inside[-1]
    last = list(boundaries)[-1]
    drop = tuple(f"{name}." for name in _classifiers(net))
    owner = {}
    for i, name in enumerate(names):
        if f"{name}.".startswith(drop):
            continue
        owner[name] = next((s for s, end in ends.items() if i <= end), last)
    return owner


def _leaves(module: nn.Module, path: str = "") -> set[str]:
    """Names of the modules that hold no others; `path` is the module's own."""
    return {name for name, m in module.named_modules(prefix=path) if not [*m.children()]}


def _past(module: nn.Module, path: str, leaves: set[str]) -> Any:
    """A copy that shares everything but some leaves, and what holds only such: passed through."""
    rest = copy.copy(module)
    rest._modules = dict(module._modules)
    for name, child in module.named_children():
        inside = _leaves(child, f"{path}{name}")
        if inside <= leaves:
            rest._modules[name] = nn.Identity()
        elif inside & leaves:
            rest._modules[name] = _past(child, f"{path}{name}.", leaves)
    return rest


def as_map(x: Tensor, prefix_tokens: int) -> Tensor | None:
    """A layer's output as a map float32[N,F,H,W]; None of tokens that are no square."""
    if x.dim() == MAP_DIMENSIONS - 1:  # tokens [N,T,F]; the stem's have no class token yet
        tokens = x if math.isqrt(x.shape[1]) ** 2 == x.shape[1] else x[:, prefix_tokens:]
        side = math.isqrt(tokens.shape[1])
        if side * side != tokens.shape[1]:
            return None
        return tokens.transpose(1, 2).reshape(x.shape[0], x.shape[2], side, side)
    if x.shape[1] == x.shape[2] != x.shape[3]:  # [N,H,W,F]: Swin and kin; inputs are square
        return x.permute(0, 3, 1, 2)
    return x


def _pool(x: Tensor, prefix_tokens: int) -> Tensor:
    """One stage's output → float32[N, 2F] mean and spread, and a 2x2 grid of means if not wide."""
    maps = as_map(x, prefix_tokens)
    if maps is None:
        tokens = x[:, prefix_tokens:]
        return torch.cat([tokens.mean(1), tokens.std(1, unbiased=False)], dim=1)
    x = maps
    mean = x.mean((2, 3))
    spread = (x - mean[:, :, None, None]).square().mean((2, 3)).sqrt()
    parts = [mean, spread]
    height, width = int(x.shape[2]), int(x.shape[3])  # plain numbers, also where this is traced
    h, w = height // 2, width // 2
    if x.shape[1] <= GRID_CHANNELS and h and w:
        quarters = functional.avg_pool2d(x, (h, w), (height - h, width - w))
        parts.append(quarters.flatten(2).transpose(1, 2).flatten(1))
    return torch.cat(parts, dim=1)
