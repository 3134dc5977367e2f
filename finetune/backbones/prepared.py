"""A backbone ready to run: kept from an earlier day without torch, or loaded and converted."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from finetune.backbones import inference, registry
from finetune.backbones.inference import Engine, Pixels
from finetune.pictures import decoding
from finetune.records.analysis import Reason
from finetune.records.backbone import PLAIN, BackboneFacts, Origin, PreparedFacts, Variant
from finetune.records.codec import from_json, to_json
from finetune.records.dataset import Scale
from finetune.records.errors import ImageError, first_line
from finetune.records.events import Listener
from finetune.records.options import BackboneOptions
from finetune.storage import atomic_files, cache_place, model_cache

if TYPE_CHECKING:
    import torch

    from finetune.backbones.stages import Backbone

FACTS, DIGESTS = "prepared.json", "digests.json"
TOPOLOGY, CONSTANTS, NETWORK, OTHERS = FILES = (
    "stages.xml",
    "stages.bin",
    "network.safetensors",
    "others.safetensors",
)
# What the program believes of tuning, and of similarity, was measured with ImageNet's own weights.
TUNED_BODY = (
    "similarity to ImageNet and what tuning is expected to gain speak of ImageNet's own weights"
)
# Images of noise whose BatchNorm inputs give the scale of the drift.
NOISE_IMAGES = 16
EXAMPLES = 4  # of the user's own images, on which the runtimes must agree
# Raised with any change that gives an image other features: how stages are cut and pooled, how a
# network is converted and run. Kept features and networks of other versions are not used.
FEATURES_VERSION = 1
PACKAGES = ("openvino", "timm", "torch")


@dataclass(frozen=True)
class Prepared:
    """A backbone as it is used: what is known of it, its engine, and itself when it is asked for.

    `classifier` is the ImageNet head, weight float32[1000,F] and bias float32[1000], None without
    one; `noise` the BatchNorm shifts of pictures of noise, float32[M,W], None without BatchNorm.
    """

    facts: PreparedFacts
    device: str
    engine: Engine
    shifts: Engine | None
    classifier: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None
    noise: npt.NDArray[np.float32] | None
    load: Callable[[], Backbone]
    read: Callable[[], Mapping[str, npt.NDArray[Any]]]

    @cached_property
    def network(self) -> Backbone:
        """The torch module: seconds to load where it came from the cache."""
        return self.load()

    def graph(self) -> Any:
        """The converted network; converted only now where torch is the engine."""
        if self.engine.graph is not None:
            return self.engine.graph
        from finetune.backbones.engine import convert  # noqa: PLC0415 - see `_kept`

        return convert(self.network, self.facts.backbone.preprocess.side_px)

    @cached_property
    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """All its tensors but the ImageNet classifier's, by timm's names."""
        return self.read()


@dataclass(frozen=True)
class _Wanted:
    """Which backbone with which weights, as for `load.build`."""

    name: str
    source: str | None
    origin: Origin | None
    variant: Variant = PLAIN

    @property
    def title(self) -> str:
        """The name, with what its input is to be where that is another."""
        variants = [self.variant] if self.origin is None else [self.origin.variant, self.variant]
        return " ".join([self.name, *(str(v) for v in variants if v != PLAIN)])

    def build(self) -> tuple[Backbone, BackboneFacts]:
        from finetune.backbones import load  # noqa: PLC0415 - torch takes seconds to import

        return load.build(self.name, self.source, self.origin, self.variant)


def prepare(
    asked: BackboneOptions,
    *,
    seed: int,
    paths: Sequence[Path],
    listener: Listener,
    scales: Sequence[Scale] | None = None,
    origin: Origin | None = None,
    variant: Variant = PLAIN,
) -> Prepared:
    """Get a backbone ready.

    Args:
        asked: Its name and weights, as for `load.build`, and the device: `auto`, `cpu`, `cuda`,
            `mps`.
        seed: Of random weights, where these are asked for.
        paths: Images; on the first of them a converted network must agree with torch's.
        listener: Hears of the device and the runtime.
        scales: How these images are decoded.
        origin: The run to start from, where the weights are one's.
        variant: What its input is to be, as for `load.build`.

    Raises:
        BackboneError: from `load.build`.
        DeviceError: from `engine.choose_device`.
    """
    name, source, device = asked.name, asked.weights, asked.device
    if origin is not None:
        listener.note(f"{name} from {origin.weights}; {TUNED_BODY}")
    if variant.side_px is not None and name not in registry.BACKBONES:
        from finetune.backbones import networks  # noqa: PLC0415 - see `_kept`

        # a network of any size is the same at each
        variant = replace(variant, side_px=networks.built_for(name, variant.side_px))
    elif name in registry.BACKBONES:
        variant = replace(variant, side_px=None)
    wanted = _Wanted(name, source, origin, variant)
    identity = registry.identity(name, source, origin)
    key = None if identity is None else _key(wanted.title, identity)
    if key is not None and inference.surely_cpu(device):
        found = _kept(key, wanted, _on_cpu(device), listener)
        if found is not None:
            return found
    example = partial(_example, paths, scales)
    return _made(
        wanted,
        key,
        device=device,
        seed=seed,
        images=len(paths),
        example=example,
        listener=listener,
    )


def require_device(asked: str) -> None:
    """Refuse a device that is not here before any image is read.

    Raises:
        DeviceError: from `engine.choose_device`.
    """
    if asked not in ("auto", "cpu"):
        from finetune.backbones.engine import choose_device  # noqa: PLC0415 - see `_kept`

        choose_device(asked)


def require_precision(asked: str | None, device: str) -> None:
    """Refuse a precision that the device lacks before any image is read.

    Raises:
        DeviceError: from `precision.require`.
    """
    if asked == "bf16":
        from finetune.backbones import precision  # noqa: PLC0415 - see `_kept`

        precision.require(asked, device)


def _on_cpu(asked: str) -> str:
    """Why the CPU, where that goes without asking torch."""
    if asked == "auto":
        return f"no GPU found; {os.cpu_count()} CPU cores"
    return f"--device {asked}"


def _kept(key: str, wanted: _Wanted, why: str, listener: Listener) -> Prepared | None:
    """What an earlier run has left, if it is whole; `why` the CPU computes."""
    folder = model_cache.model_folder(key)
    if folder is None:
        return None
    from safetensors.numpy import load  # noqa: PLC0415 - a seventh of a second to import

    try:
        digests = from_json((folder / DIGESTS).read_bytes(), dict[str, str])
        about, xml, constants, others = (
            _verified(folder / file, digests) for file in (FACTS, TOPOLOGY, CONSTANTS, OTHERS)
        )
        facts = from_json(about, PreparedFacts)
        if facts.backbone.family is None:
            return None  # kept by a version that did not ask for it
        graph = inference.openvino().Core().read_model(model=xml, weights=constants)
        extra = load(others)
        reason = Reason("engine", f"{facts.reason}; kept from an earlier run")
        engine = Engine(
            inference.compiled(graph), facts.layout, "openvino", reason, graph, f"{key} openvino"
        )
        shifts = None
        if facts.layers:
            shifts = _shifts_engine(facts, partial(_late, graph), engine.key)
    except Exception as error:  # OpenVINO raises all sorts of things
        _drop(key, folder, error, listener)
        return None
    listener.detail(f"cpu ({why}), openvino ({reason.text})")

    def network() -> Backbone:
        return wanted.build()[0]

    def tensors() -> Mapping[str, npt.NDArray[Any]]:
        # read, and so checked, only where a run is written
        try:
            return load(_verified(folder / NETWORK, digests))
        except Exception as error:
            _drop(key, folder, error, listener)
            return network().arrays()

    return Prepared(
        facts=facts,
        device="cpu",
        engine=engine,
        shifts=shifts,
        classifier=(extra["weight"], extra["bias"]) if facts.knows else None,
        noise=extra.get("noise"),
        load=network,
        read=tensors,
    )


def _late(graph: Any, pixels: Pixels) -> inference.Features:
    """The shifts of some pictures, compiled only now: most runs find them in the cache."""
    return inference.compiled(graph, 1)(pixels)


def _made(
    wanted: _Wanted,
    key: str | None,
    *,
    device: str,
    seed: int,
    images: int,
    example: Callable[[int], Pixels | None],
    listener: Listener,
) -> Prepared:
    """Load the backbone, choose its runtime, and keep what was converted."""
    import torch  # noqa: PLC0415 - see `_kept`

    from finetune.backbones.engine import choose_device, drift_forward, make, seeded  # noqa: PLC0415

    chosen, why = choose_device(device)
    with seeded(seed, torch.device("cpu")):  # random weights, where they are asked for
        backbone, about = wanted.build()
    side = about.preprocess.side_px
    random = about.weights == registry.RANDOM
    if key is None and not random:  # a hub's weights are known only now
        key = _key(wanted.title, about.digest)
        found = _kept(key, wanted, why.text, listener) if chosen.type == "cpu" else None
        if found is not None:
            return replace(found, load=lambda: backbone)
    made = make(backbone, chosen, side, images if random else None, example(side))
    listener.detail(f"{chosen} ({why.text}), {made.runtime} ({made.reason.text})")
    run_key = "" if key is None else f"{key} {made.runtime}"
    made = replace(made, key=run_key)
    facts = _facts(backbone, about, made)
    shifts = None
    if facts.layers:
        shifts = _shifts_engine(facts, drift_forward(backbone, chosen, made), run_key)
    result = Prepared(
        facts=facts,
        device=str(chosen),
        engine=made,
        shifts=shifts,
        classifier=_classifier(backbone) if facts.knows else None,
        noise=None if shifts is None else shifts.forward(inference.noise(side, NOISE_IMAGES)),
        load=lambda: backbone,
        read=backbone.arrays,
    )
    if key is not None and made.graph is not None:
        model_cache.keep_model(key, partial(_write, result), listener.note)
    return result


def _facts(backbone: Backbone, about: BackboneFacts, made: Engine) -> PreparedFacts:
    from finetune.backbones import load  # noqa: PLC0415 - see `_kept`
    from finetune.backbones.engine import norm_layers  # noqa: PLC0415 - see `_kept`

    config = dict(getattr(backbone.net, "pretrained_cfg", {}))
    trained = load.pretrained_on_imagenet(backbone, about)
    return PreparedFacts(
        backbone=about,
        layout=made.layout,
        probed_top=backbone.probed_top,
        one_size=bool(config.get("fixed_input_size", False)),
        knows=load.imagenet_names() if trained else (),
        layers=norm_layers(backbone),
        reason=made.reason.text,
    )


def _shifts_engine(facts: PreparedFacts, forward: inference.Forward, key: str) -> Engine:
    """The engine of the BatchNorm shifts: its one "stage" is all layers side by side."""
    layout = {"shifts": (0, facts.layers[-1].stop)}
    run_key = f"{key} shifts" if key else ""
    return Engine(forward, layout, "", Reason("engine", ""), key=run_key)


def _classifier(
    backbone: Backbone,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None:
    head = backbone.imagenet_head()
    if head is None:
        return None

    def copied(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
        out: npt.NDArray[np.float32] = tensor.detach().cpu().numpy().copy()
        return out

    return copied(head.weight), copied(head.bias)


def _write(made: Prepared, folder: Path) -> None:
    """Fill the folder that `_kept` reads."""
    from safetensors.numpy import save  # noqa: PLC0415 - see `_kept`

    for name, content in zip(
        (TOPOLOGY, CONSTANTS), inference.serialised(made.engine.graph), strict=True
    ):
        (folder / name).write_bytes(content)
    others = {} if made.noise is None else {"noise": made.noise}
    if made.classifier is not None:
        others |= dict(zip(("weight", "bias"), made.classifier, strict=True))
    tensors = {name: np.array(t, order="C") for name, t in made.tensors.items()}
    (folder / NETWORK).write_bytes(save(tensors))
    (folder / OTHERS).write_bytes(save(others))
    (folder / FACTS).write_text(to_json(made.facts), encoding="utf-8")
    digests = {name: atomic_files.digest((folder / name).read_bytes()) for name in (*FILES, FACTS)}
    (folder / DIGESTS).write_text(to_json(digests), encoding="utf-8")


def _verified(file: Path, digests: Mapping[str, str]) -> bytes:
    content = file.read_bytes()
    if atomic_files.digest(content) != digests.get(file.name):
        raise ValueError(f"{file.name} has another digest")
    return content


def _drop(key: str, folder: Path, error: Exception, listener: Listener) -> None:
    listener.note(
        f"the converted network in {folder} is damaged ({first_line(error)}): it is made again"
    )
    model_cache.drop_model(key)


def _key(name: str, identity: str) -> str:
    """All that features depend on beside the image and the runtime."""
    versions = [_version(package) for package in PACKAGES]
    return cache_place.key(
        *(name, identity, *versions),
        versions=(decoding.PIXELS_VERSION, FEATURES_VERSION),
    )


def _version(package: str) -> str:
    """Of a package; on a machine with a GPU OpenVINO need not be there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _example(paths: Sequence[Path], scales: Sequence[Scale] | None, side_px: int) -> Pixels | None:
    """The first pictures that can be read."""
    found = []
    for path in paths[: 4 * EXAMPLES]:
        try:
            found.append(decoding.decode(path, side_px, scales))
        except ImageError:
            continue
        if len(found) == EXAMPLES:
            break
    return np.stack(found) if found else None
