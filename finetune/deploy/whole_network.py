"""A run as one torch module, from a picture of any size to probabilities, in plain operators."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from finetune.backbones import joined, load
from finetune.backbones.inference import ROOT, TOP
from finetune.backbones.stages import Backbone
from finetune.heads.ridge import Head
from finetune.records.backbone import Box
from finetune.records.choices import Interpolation, OtherTarget
from finetune.runs.run_folder import LoadedRun

# Half the width of each kernel of Pillow's, in old pixels, rounded up.
SUPPORT: dict[Interpolation, int] = {
    "nearest": 1,
    "box": 1,
    "bilinear": 1,
    "hamming": 1,
    "bicubic": 2,
    "lanczos": 3,
}
_BLOCK = 32  # new pixels that are made together


class WholeNetwork(nn.Module):
    """Pictures uint8[N,H,W,3], RGB as decoded and turned → probabilities float32[N,C].

    The square box, resizing as Pillow has it, normalising, network, head and temperature are
    inside. Pictures of one call have one size; those of the network's own side pass as they are.
    Labels have a probability each by itself (`target`); numbers are float32[N,C] in their own unit.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        head: Head,
        side_px: int,
        box: Box,
        target: OtherTarget | None = None,
    ) -> None:
        super().__init__()
        self.target = target
        self.parts = nn.ModuleList(parts)
        self.square = Square(side_px, box)
        # the temperature is part of the classifier, so that no division is left
        self.weight = nn.Parameter(torch.from_numpy(head.weight / head.temperature).float(), False)
        self.bias = nn.Parameter(torch.from_numpy(head.bias / head.temperature).float(), False)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities of pictures, or numbers."""
        logits = self.logits(self.square(image))
        if self.target == "labels":
            return torch.sigmoid(logits)
        return torch.softmax(logits, dim=1) if self.target is None else logits

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits float32[N,C], divided by the temperature, of float32[N,3,S,S] in 0 to 255."""
        features = torch.cat([part(pixels) for part in self.parts], dim=1)
        return nn.functional.linear(features, self.weight, self.bias)


class Part(nn.Module):
    """One network of a run, or of the two of a blend: pictures → the features that are read."""

    def __init__(self, backbone: Backbone, taps: Sequence[str], from_px: int, side_px: int) -> None:
        super().__init__()
        self.backbone, self.taps = backbone, tuple(taps)
        self.smaller: Tensor | None
        weights = torch.from_numpy(joined.filter_weights(from_px, side_px).copy())
        self.register_buffer("smaller", weights if side_px < from_px else None, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """What the head reads, float32[N,D], of pictures float32[N,3,S,S] in 0 to 255."""
        if self.smaller is not None:  # as `joined.shrunk`
            across = _rounded(torch.matmul(pixels, self.smaller.t()))
            pixels = _rounded(torch.matmul(self.smaller, across))
        x = self.backbone.normalise(pixels)
        if self.taps == (TOP,):
            return self.backbone(x)  # type: ignore[no-any-return]
        if self.taps == (ROOT,):
            top: Tensor = self.backbone(x)
            return top.clamp(min=0).sqrt()
        found = self.backbone.forward_stages(x)
        return torch.cat([found[tap] for tap in self.taps], dim=1)


class Square(nn.Module):
    """Pictures uint8[N,H,W,3] → float32[N,3,S,S] in 0 to 255, whole numbers.

    Each side is a product with weights, rows first, rounded after each: what Pillow computes
    (libImaging/Resample.c), and the same in every runtime. The antialiased Resize of ONNX is not:
    it leaves out what lies outside the box, and is off by up to 42 of 255. A block of pixels is
    made of the few that lie near it: weights for all of a side were a seventh of a picture's time.
    """

    def __init__(self, side_px: int, box: Box) -> None:
        super().__init__()
        self.side_px, self.box = side_px, box
        self.fill: Tensor
        fill = torch.tensor(box.fill, dtype=torch.float32).view(1, 3, 1, 1)
        self.register_buffer("fill", fill, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The square.

        The layouts between are those that runtimes move fast: what is swapped is bytes, or runs of
        a block's pixels, and colors lie beside rows in one product.
        """
        height, width = image.shape[1], image.shape[2]
        tall = torch.scalar_tensor(height, dtype=torch.float32)
        wide = torch.scalar_tensor(width, dtype=torch.float32)
        x_at, x_inside = self._axis(wide, tall)
        y_at, y_inside = self._axis(tall, wide)
        most = 2 * (height + width) if self.box.fit == "letterbox" else None
        kind = self.box.interpolation
        x = image.permute(0, 2, 3, 1).flatten(2).float()  # [N,W,3H]
        weights, near = _blocks(x, *x_at, most or width, kind)
        x = _rounded(torch.matmul(near.transpose(2, 3), weights.transpose(1, 2)))  # [N,S/B,3H,B]
        x = torch.unflatten(x, 2, (3, height)).permute(0, 2, 3, 1, 4).flatten(3)  # [N,3,H,S]
        weights, near = _blocks(x.flatten(0, 1), *y_at, most or height, kind)
        x = torch.unflatten(_rounded(torch.matmul(weights, near)).flatten(1, 2), 0, (-1, 3))
        if self.box.fit != "letterbox":
            return x
        inside = (y_inside[:, None] & x_inside[None, :])[None, None]
        return torch.where(inside, x, self.fill)

    def _axis(self, length: Tensor, other: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Centres of the S pixels on one side of the picture, the step, and which lie inside."""
        number = torch.arange(self.side_px, dtype=torch.float32)
        if self.box.fit == "half":
            kept = torch.minimum(length, torch.sqrt(length * other))
            step, start = kept / self.side_px, (length - kept) / 2
            return (start + (number + 0.5) * step, step), number >= 0
        if self.box.fit == "squash":
            resized = torch.full_like(length, self.side_px)
            offset = torch.zeros_like(length)
        elif self.box.fit == "center":
            # not the ratio times the side: 0.7 * 10 is less than 7
            resized = torch.floor(self.side_px * length / torch.minimum(length, other))
            offset = torch.round((resized - self.side_px) / 2)
        else:
            long = torch.maximum(length, other)
            resized = torch.round(self.side_px * length / long).clamp(min=1.0)
            offset = -torch.floor((self.side_px - resized) / 2)
        step = length / resized
        number = number + offset
        inside = (number >= 0) & (number < resized)
        return ((number + 0.5) * step, step), inside


def _blocks(
    x: Tensor, at: Tensor, step: Tensor, most: int, kind: Interpolation
) -> tuple[Tensor, Tensor]:
    """What resizes values float32[N,L,M] along their second dimension, B pixels at a time.

    Args:
        x: The values.
        at: Centers of the new pixels, float32[S], in old ones.
        step: From one to the next; a kernel is as wide where the picture is made smaller.
        most: At least the step times S.
        kind: The kernel.

    Returns:
        The weights of each block, float32[S/B,B,K], and the values near it, float32[N,S/B,K,M].
    """
    side, length = len(at), x.shape[1]
    block = max(b for b in range(1, min(side, _BLOCK) + 1) if side % b == 0)
    support = SUPPORT[kind]
    window = (block * most + side - 1) // side + 2 * support * ((most + side - 1) // side) + 3
    at = at.view(-1, block)
    reach = torch.clamp(step, min=1.0)
    numbers = torch.floor(at[:, :1] - support * reach) + torch.arange(window, dtype=torch.float32)
    inside = (numbers >= 0) & (numbers < length)
    place = numbers.clamp(min=0).to(torch.int64).clamp(max=length - 1).flatten()
    if kind == "nearest":
        weights = (numbers[:, None, :] == torch.floor(at)[:, :, None]).float()
    else:
        weights = _kernel(((numbers + 0.5)[:, None, :] - at[:, :, None]) / reach, kind)
    weights = weights * inside[:, None, :].float()
    total = weights.sum(2, keepdim=True)
    weights = weights / torch.where(total == 0, torch.ones_like(total), total)  # beside a letterbox
    near = x.index_select(1, place).unflatten(1, (side // block, window))  # type: ignore[no-untyped-call]
    return weights, near


def _kernel(x: Tensor, kind: Interpolation) -> Tensor:
    """The filters of Pillow (libImaging/Resample.c); the bicubic is Keys' with a = -0.5."""
    none, far = torch.zeros_like(x), x.abs()
    if kind == "box":
        return ((x > -0.5) & (x <= 0.5)).float()
    if kind == "bilinear":
        return (1 - far).clamp(min=0.0)
    if kind == "hamming":
        return torch.where(far < 1, torch.sinc(x) * (0.54 + 0.46 * torch.cos(math.pi * x)), none)
    if kind == "lanczos":
        return torch.where(far < 3, torch.sinc(x) * torch.sinc(x / 3), none)
    near = (1.5 * far - 2.5) * far * far + 1
    tail = ((-0.5 * far + 2.5) * far - 4) * far + 2
    return torch.where(far < 1, near, torch.where(far < 2, tail, none))


def _rounded(x: Tensor) -> Tensor:
    """To whole numbers from 0 to 255, halves up, as 8 bits hold them."""
    return torch.floor(x + 0.5).clamp(0.0, 255.0)


def of_run(run: LoadedRun) -> WholeNetwork:
    """The whole network of a run.

    Raises:
        BackboneError: the tensors are not the backbone's.
    """
    facts = run.facts
    head = Head(run.weight.astype(np.float64), run.bias.astype(np.float64), facts.head.temperature)
    side = facts.preprocess.side_px
    wanted = [(part.taps, part.side_px) for part in facts.parts] or [(facts.head.taps, side)]
    parts = []
    for network, (taps, side_px) in zip(run.networks, wanted, strict=True):
        tensors = {name: torch.from_numpy(t) for name, t in network.items()}
        parts.append(Part(load.rebuild(facts.backbone, tensors), taps, side, side_px))
    target = None if facts.target is None else facts.target.kind
    return WholeNetwork(parts, head, side, facts.preprocess.box, target).eval()


def program(network: WholeNetwork) -> torch.export.ExportedProgram:
    """The network as `torch.export` has it: any number of pictures of any one size.

    Raises:
        Exception: torch cannot express it; it raises all sorts of things.
    """
    some, fixed = torch.export.Dim.DYNAMIC, torch.export.Dim.STATIC
    example = torch.zeros(2, 301, 203, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what torch itself does in an old way
        return torch.export.export(
            network, (example,), dynamic_shapes=({0: some, 1: some, 2: some, 3: fixed},)
        )
