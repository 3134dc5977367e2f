"""The fastest exact forward pass for this machine: features of all stages at once."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune.backbones import inference
from finetune.backbones.inference import PARITY, Engine, Features, Forward, Layout
from finetune.backbones.stages import Backbone
from finetune.records.analysis import Reason
from finetune.records.backbone import NormLayer
from finetune.records.errors import DeviceError, first_line

# Preparing OpenVINO takes 1.3 s and saves 4.5 ms an image of 224 px, of smaller ones less in
# proportion (docs/log.md, 2026-11-25): so many images of this side are worth it.
CONVERT_FROM_IMAGES, CONVERT_SIDE_PX = 280, 224


def choose_device(asked: str = "auto") -> tuple[torch.device, Reason]:
    """CUDA, else MPS, else CPU; or what was asked for.

    Raises:
        DeviceError: the device asked for does not exist or is not here.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), Reason("device", torch.cuda.get_device_name())
        if torch.backends.mps.is_available():
            return torch.device("mps"), Reason("device", "Apple GPU found")
        why = "no GPU found" if inference.surely_cpu(asked) else "no GPU found that torch can use"
        return torch.device("cpu"), Reason("device", f"{why}; {os.cpu_count()} CPU cores")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise DeviceError(
            f"unknown device '{asked}'", hint="Use auto, cpu, cuda, cuda:0 or mps."
        ) from error
    fault = _fault(device)
    if fault:
        raise DeviceError(
            f"device '{asked}' is not available here: {fault}",
            hint="Leave out --device or use cpu.",
        )
    return device, Reason("user", f"--device {asked}")


def _fault(device: torch.device) -> str:
    """Why nothing can be computed there; empty where it can."""
    if device.type == "cpu":
        return ""
    if device.type not in ("cuda", "mps"):
        return "finetune computes on cpu, cuda and mps"
    if device.type == "mps":
        count = int(torch.backends.mps.is_available())
    else:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        without = device.type == "cuda" and torch.version.cuda is None and torch.version.hip is None
        return f"torch {torch.__version__} {'was built without CUDA' if without else 'finds none'}"
    last = f" to {device.type}:{count - 1}" if count > 1 else ""
    return f"there is {device.type}:0{last}" if (device.index or 0) >= count else ""


def half(device: torch.device) -> torch.dtype | None:
    """What mixed precision computes in: bfloat16 where the hardware has it, else float16.

    None where everything is float32: on a CPU and on MPS. Cards before Ampere have no bfloat16;
    they emulate it, many times slower than float16.
    """
    if device.type != "cuda":
        return None
    with torch.cuda.device(device):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def memory_format(device: torch.device) -> torch.memory_format:
    """How pictures lie in memory: channels last on a CPU, where that is faster.

    Not on CUDA: cuDNN then plans each layer anew for every size of batch, 8.5 s of CPU time before
    the first step of each, and the steps are no faster (docs/log.md, 2026-11-26, an H100). Not on
    MPS: there it has given wrong gradients (pytorch issues 107214, 175189, 189233).
    """
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own generators start from a seed, and go on afterwards as if nothing was drawn."""
    here = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    there = None
    if device.type == "cuda":
        there = functools.partial(
            torch.cuda.set_rng_state, torch.cuda.get_rng_state(device), device
        )
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        there = functools.partial(torch.mps.set_rng_state, torch.mps.get_rng_state())
        torch.mps.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(here)
        if there is not None:
            there()


def to_device(pixels: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Copy a batch over; through pinned memory, without waiting, where there is a GPU."""
    batch = torch.from_numpy(pixels)
    if device.type == "cuda":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)


def make(
    backbone: Backbone,
    device: torch.device,
    side_px: int,
    images: int | None,
    example: npt.NDArray[np.uint8] | None = None,
) -> Engine:
    """Choose and prepare the runtime.

    Args:
        backbone: The network.
        device: Where to compute.
        side_px: Side of the input.
        images: About how many there are to come; None where the conversion is kept for other days.
        example: Pictures uint8[B,S,S,3] on which the runtimes must agree; noise without them.

    Raises:
        DeviceError: a GPU gives other features than the CPU.
    """
    layout = _layout(backbone, side_px)
    if device.type != "cpu":
        pixels = inference.noise(side_px) if example is None else example
        return _on_gpu(backbone, device, layout, pixels)
    plain = _in_torch(backbone, device, _stages)
    if images is not None and images * (side_px / CONVERT_SIDE_PX) ** 2 < CONVERT_FROM_IMAGES:
        reason = f"{images} images of {side_px} px: converting would take longer than it saves"
        return _torch_on_cpu(plain, layout, reason)
    pixels = inference.noise(side_px) if example is None else example
    try:
        graph = convert(backbone, side_px)
        fast = inference.compiled(graph)
        gap = inference.gap(plain(pixels), fast(pixels))
    except Exception as error:
        reason = f"OpenVINO could not take this network: {first_line(error)}"
        return _torch_on_cpu(plain, layout, reason)
    if not gap <= PARITY:  # so that no number at all fails, too
        reason = f"OpenVINO's features differ by {gap:.1e} of their size, more than {PARITY:.0e}"
        return _torch_on_cpu(plain, layout, reason)
    reason = f"fastest on a CPU; features agree with torch's within {gap:.0e} of their size"
    return Engine(fast, layout, "openvino", Reason("engine", reason), graph)


def _on_gpu(
    backbone: Backbone, device: torch.device, layout: Layout, pixels: npt.NDArray[np.uint8]
) -> Engine:
    """The GPU, in full precision, held to the same limit against the CPU as OpenVINO is.

    In bfloat16 the default backbone's top features are off by 7 % of their size (docs/log.md,
    2026-11-25), and a run answers on other machines, too.
    """
    expected = _in_torch(copy.deepcopy(backbone), torch.device("cpu"), _stages)(pixels)
    forward = _in_torch(backbone, device, _stages)
    gap = inference.gap(expected, forward(pixels))
    if not gap <= PARITY:  # so that no number at all fails, too
        raise DeviceError(
            f"features computed on {device} differ from the CPU's by {gap:.1e} of their size, more "
            f"than {PARITY:.0e}",
            hint="Use --device cpu, or another version of torch or of the GPU's driver.",
        )
    reason = f"a GPU is there; features agree with the CPU's within {gap:.0e} of their size"
    return Engine(forward, layout, f"torch on {device.type}", Reason("engine", reason))


def _torch_on_cpu(forward: Forward, layout: Layout, reason: str) -> Engine:
    return Engine(forward, layout, "torch", Reason("engine", reason))


def drift_forward(backbone: Backbone, device: torch.device, made: Engine) -> Forward:
    """Pixels uint8[B,S,S,3] → `Backbone.norm_shifts` side by side, float32[B,F].

    Args:
        backbone: A network with `norm_layers`.
        device: Where to compute.
        made: Its engine, whose graph has them as its second output.
    """
    if made.graph is not None:
        return inference.compiled(made.graph, 1)
    return _in_torch(backbone, device, _norm_shifts)


@functools.lru_cache(maxsize=1)
def front(
    backbone: Backbone, stage: str, side_px: int
) -> tuple[Callable[[Tensor], Tensor] | None, Reason]:
    """All stages up to one, for a training on the CPU that leaves them frozen.

    With the default backbone they take a third of torch's time, and a step three quarters
    (docs/log.md, 2026-11-25).

    Args:
        backbone: The network, on the CPU; a second call for the same one gives the same.
        stage: The last frozen stage.
        side_px: Side of the input.

    Returns:
        Normalised float32[B,3,S,S] → the stage's output, for `Backbone.after`, or None where
        torch has to run them; and why.
    """

    class Front(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, x: Tensor) -> Tensor:
            return backbone.output_of(stage, x)

    x = backbone.normalise(torch.from_numpy(inference.noise(side_px)))
    try:
        graph = _converted(Front(), x, [1, *x.shape[1:]])
        forward = inference.compiled(graph)

        def run(images: Tensor) -> Tensor:
            out = torch.from_numpy(forward(images.contiguous().numpy()))
            return out.contiguous(memory_format=torch.channels_last) if out.dim() == 4 else out

        with torch.inference_mode():
            gap = inference.gap(backbone(x).numpy(), backbone.after(stage)(run(x)).numpy())
    except Exception as error:
        return None, Reason("engine", f"OpenVINO could not take them: {first_line(error)}")
    if not gap <= PARITY:  # so that no number at all fails, too
        return None, Reason("engine", "the network cannot be cut there")
    return run, Reason("engine", f"features agree with torch's within {gap:.0e} of their size")


def norm_layers(backbone: Backbone) -> tuple[NormLayer, ...]:
    """The stages of what `shifts` gives, and the columns."""
    device = next(backbone.parameters()).device
    with torch.inference_mode(), backbone.norm_shifts() as found:
        backbone(_blank(backbone, backbone.preprocess.side_px, device))
    layers, start = [], 0
    for name, values in found.items():
        stop = start + values.shape[1]
        layers.append(NormLayer(backbone.stage_of(name), start, stop))
        start = stop
    return tuple(layers)


def convert(backbone: Backbone, side_px: int) -> Any:
    """OpenVINO's model of uint8[1,S,S,3] → features of all stages float32[1,F], and `shifts`.

    A network on a GPU is copied to the CPU for it.
    """
    if next(backbone.parameters()).device.type != "cpu":
        backbone = copy.deepcopy(backbone).to("cpu", memory_format=torch.channels_last)  # type: ignore[call-overload]

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            with backbone.norm_shifts() as found:
                row = _stages(backbone, backbone.normalise(images))
            return (row, torch.cat(list(found.values()), dim=1)) if found else (row,)

    example = torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8)
    graph = _converted(Whole(), example, [1, side_px, side_px, 3])
    # Read back as it will be on another day: compiled from there, the last bits are others.
    xml, constants = inference.serialised(graph)
    return inference.openvino().Core().read_model(model=xml, weights=constants)


def _converted(module: nn.Module, example: Tensor, shape: list[int]) -> Any:
    """OpenVINO's model of a module, for inputs of one shape."""
    package = inference.openvino()
    from openvino.frontend.pytorch import ts_decoder  # noqa: PLC0415 - as above

    # torch would trace it once more to compare: a second; the callers compare what comes of it.
    unchecked = {"check_trace": False}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns of shape checks inside timm
        traced = ts_decoder.TorchScriptPythonDecoder(
            module.eval(), example_input=example, trace_kwargs=unchecked
        )
        graph = package.convert_model(traced)
    graph.reshape(shape)
    _fold(graph)
    return graph


def _fold(graph: Any) -> None:
    """Compute now what the fixed input size has made constant: half of what there is to compile."""
    from openvino import opset13, passes  # noqa: PLC0415 - `convert` has imported it

    for node in graph.get_ordered_ops():
        # the pass leaves what was to stay dynamic
        marks = node.get_rt_info()
        for mark in [m for m in marks if m.startswith("DisableConstantFolding")]:
            del marks[mark]
        if node.get_type_name() == "ShapeOf":
            kind = node.get_element_type().to_dtype()
            shape = opset13.constant(np.array(node.input_value(0).get_shape(), kind))
            node.output(0).replace(shape.output(0))
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(graph)


def _stages(backbone: Backbone, x: Tensor) -> Tensor:
    """One row of features per image, the stages side by side."""
    return torch.cat(list(backbone.forward_stages(x).values()), dim=1)


def _norm_shifts(backbone: Backbone, x: Tensor) -> Tensor:
    with backbone.norm_shifts() as found:
        backbone(x)
    return torch.cat(list(found.values()), dim=1)


def _blank(backbone: Backbone, side_px: int, device: torch.device) -> Tensor:
    blank = torch.zeros(1, side_px, side_px, 3, dtype=torch.uint8, device=device)
    return backbone.normalise(blank)


def _layout(backbone: Backbone, side_px: int) -> Layout:
    device = next(backbone.parameters()).device
    with torch.inference_mode():
        found = backbone.forward_stages(_blank(backbone, side_px, device))
    layout, start = {}, 0
    for name, features in found.items():
        layout[name] = (start, start + features.shape[1])
        start += features.shape[1]
    return layout


def _in_torch(
    backbone: Backbone, device: torch.device, rows_of: Callable[[Backbone, Tensor], Tensor]
) -> Forward:
    order = memory_format(device)
    backbone.eval().to(device, memory_format=order)  # type: ignore[call-overload]

    def forward(pixels: npt.NDArray[np.uint8]) -> Features:
        with torch.inference_mode(), full_precision(device):
            x = backbone.normalise(to_device(pixels, device))
            rows = rows_of(backbone, x.contiguous(memory_format=order))
        out: Features = rows.float().cpu().numpy()
        return out

    return forward


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Float32 as it is on a CPU: by default cuDNN rounds to ten bits (TF32) on newer cards."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    flags: contextlib.AbstractContextManager[Any] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=False, allow_tf32=False
    )
    return flags
