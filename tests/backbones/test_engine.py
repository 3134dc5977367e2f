"""Promises of `backbones.engine`: the runtime is chosen with a reason and changes no feature."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import openvino
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from finetune.backbones import engine, inference, load, precision, registry
from finetune.backbones.engine import CONVERT_FROM_IMAGES
from finetune.backbones.inference import Engine
from finetune.backbones.stages import Backbone
from finetune.records.backbone import BackboneFacts
from finetune.records.errors import DeviceError

CPU = torch.device("cpu")
SIDE = 224
gpu_here = torch.cuda.is_available() or torch.backends.mps.is_available()


@pytest.fixture(scope="module")
def pixels() -> npt.NDArray[np.uint8]:
    """Two photos, noise and a blank picture, uint8[4, 224, 224, 3]."""
    photos = [
        np.asarray(Image.fromarray(load_sample_image(name)).resize((SIDE, SIDE)))
        for name in ("china.jpg", "flower.jpg")
    ]
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return np.stack([*photos, noise, np.zeros_like(noise)])


@pytest.fixture(scope="module")
def plain(default_backbone: tuple[Backbone, BackboneFacts]) -> Engine:
    """The default backbone for so few images that converting would not pay."""
    return engine.make(default_backbone[0], CPU, SIDE, CONVERT_FROM_IMAGES - 1)


@pytest.fixture(scope="module")
def fast(default_backbone: tuple[Backbone, BackboneFacts]) -> Engine:
    """The default backbone for just enough images."""
    return engine.make(default_backbone[0], CPU, SIDE, CONVERT_FROM_IMAGES)


@pytest.fixture
def small() -> Backbone:
    """A network that converts in a moment."""
    return load.build("lenet5", "random")[0]


@pytest.fixture
def small_resnet() -> Backbone:
    """The smallest network of which stages can be frozen."""
    return load.build("test_resnet", "random")[0]


# --- the device -----------------------------------------------------------------------------------


@pytest.mark.skipif(gpu_here, reason="there is a GPU")
def test_auto_without_gpu_is_the_cpu_with_a_reason() -> None:
    """Where nobody has a GPU, auto takes the CPU and says that it found none."""
    device, reason = engine.choose_device("auto")

    assert device == CPU
    assert "no GPU found" in reason.text


def test_device_asked_for_is_taken() -> None:
    """--device cpu is the CPU, whatever else is there; the reason is the user."""
    device, reason = engine.choose_device("cpu")

    assert device == CPU
    assert (reason.rule, reason.text) == ("user", "--device cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("asked", ["cuda", "cuda:1"])
def test_device_that_is_not_here_is_a_fault(asked: str) -> None:
    """A GPU asked for by name is never silently replaced by the CPU."""
    with pytest.raises(DeviceError, match=f"'{asked}' is not available") as caught:
        engine.choose_device(asked)

    assert "cpu" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "cards", "why"),
    [
        ("cuda:7", 1, "there is cuda:0$"),
        ("cuda:2", 2, "there is cuda:0 to cuda:1$"),
        ("cuda:0", 0, "finds none|built without CUDA"),
        ("mps:1", 1, "there is mps:0$"),
        ("mps", 0, "finds none"),
        ("xpu", 1, "computes on cpu, cuda and mps"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_what_is(
    monkeypatch: pytest.MonkeyPatch, asked: str, cards: int, why: str
) -> None:
    """A number beyond the last card names those that are there."""
    pretend(monkeypatch, cards)

    with pytest.raises(DeviceError, match=f"'{asked}' is not available here: .*({why})"):
        engine.choose_device(asked)


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "cuda:1", "mps", "mps:0"])
def test_a_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """With two cards both can be asked for by number."""
    pretend(monkeypatch, 2)

    device, reason = engine.choose_device(asked)

    assert str(device) == asked
    assert reason.text == f"--device {asked}"


def pretend(monkeypatch: pytest.MonkeyPatch, cards: int, *, ampere: bool = True) -> None:
    """As if torch found so many GPUs, of CUDA and of Apple's; the last may be an older card."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: cards > 0)
    here = [0]

    @contextlib.contextmanager
    def chosen(device: torch.device) -> Iterator[None]:
        here.append(device.index or 0)
        yield
        here.pop()

    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or ampere or here[-1] < cards - 1

    monkeypatch.setattr(torch.cuda, "device", chosen)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)


@pytest.mark.skipif(gpu_here, reason="there is a GPU")
def test_cards_that_only_emulate_bfloat16_use_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a newer and an older card each is asked itself: bfloat16 on one, float16 on the other."""
    pretend(monkeypatch, 2, ampere=False)

    found = [engine.half(torch.device(f"cuda:{i}")) for i in (0, 1)]

    assert found == [torch.bfloat16, torch.float16]
    for i, kind in enumerate(found):
        context = precision.autocast(torch.device(f"cuda:{i}"), "auto")
        assert isinstance(context, torch.autocast)
        assert (context.device, context.fast_dtype) == ("cuda", kind)
    assert engine.half(CPU) is None
    assert engine.half(torch.device("mps")) is None


def test_only_a_cpu_has_channels_last() -> None:
    """On CUDA cuDNN would plan every size of batch for seconds; on MPS gradients were wrong."""
    formats = [engine.memory_format(torch.device(kind)) for kind in ("cpu", "cuda", "mps")]

    assert formats == [torch.channels_last, torch.contiguous_format, torch.contiguous_format]


def test_what_memory_lies_like_reaches_the_network(
    small: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where channels last is not right, neither weights nor pictures of a forward pass have it."""
    monkeypatch.setattr(engine, "memory_format", lambda _: torch.contiguous_format)
    small.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = []

    def rows(backbone: Backbone, x: torch.Tensor) -> torch.Tensor:
        seen.extend([x, *(p for p in backbone.parameters() if p.dim() == 4)])
        return backbone(x)

    engine._in_torch(small, CPU, rows)(inference.noise(32))

    assert len(seen) > 1
    assert all(tensor.is_contiguous() for tensor in seen)


def computing_like(
    monkeypatch: pytest.MonkeyPatch, context: Callable[[], contextlib.AbstractContextManager[Any]]
) -> None:
    """As if there were a GPU: this CPU, but in a context of its own."""
    real = engine._in_torch

    def in_torch(backbone: Backbone, device: torch.device, rows_of: Any) -> inference.Forward:
        forward = real(backbone, CPU, rows_of)
        if device.type == "cpu":
            return forward

        def other(pixels: npt.NDArray[np.uint8]) -> inference.Features:
            with context():
                return forward(pixels)

        return other

    monkeypatch.setattr(engine, "_in_torch", in_torch)


def test_a_gpu_is_held_to_the_cpus_features(
    default_backbone: tuple[Backbone, BackboneFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same limit as OpenVINO's: full precision passes and is told, bfloat16 does not."""
    backbone, _ = default_backbone
    computing_like(monkeypatch, contextlib.nullcontext)

    made = engine.make(backbone, torch.device("cuda"), SIDE, 1000)

    assert made.runtime == "torch on cuda"
    assert "agree with the CPU's within" in made.reason.text
    computing_like(monkeypatch, lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    with pytest.raises(DeviceError, match="features computed on cuda:0 differ from the CPU's by"):
        engine.make(backbone, torch.device("cuda:0"), SIDE, 1000)


@pytest.mark.parametrize("asked", ["gpu", "", "0", "cuda:-1", "meta"])
def test_nonsense_device_is_a_fault(asked: str) -> None:
    """A name that is no device, or none to compute on, is repeated."""
    with pytest.raises(DeviceError, match=f"'{asked}'"):
        engine.choose_device(asked)


def test_precision_is_full_on_a_cpu() -> None:
    """Mixed precision is for GPUs: on a CPU the context does nothing."""
    with precision.autocast(CPU, "auto") as context:
        product = torch.ones(2, 2) @ torch.ones(2, 2)

    assert context is None
    assert isinstance(precision.autocast(CPU, "auto"), contextlib.nullcontext)
    assert product.dtype == torch.float32


# --- the runtime ----------------------------------------------------------------------------------


def test_few_images_are_not_worth_a_conversion(plain: Engine) -> None:
    """Just below the threshold torch runs as it is, and the reason says why."""
    assert plain.runtime == "torch"
    assert f"{CONVERT_FROM_IMAGES - 1} images" in plain.reason.text


@pytest.mark.parametrize(("side", "images"), [(112, 4), (448, 0.25)])
def test_what_is_worth_a_conversion_is_counted_in_pixels(
    small_resnet: Backbone, side: int, images: float
) -> None:
    """Of pictures with a quarter of the pixels it takes four times as many, and the reverse."""
    enough = int(images * CONVERT_FROM_IMAGES)

    fewer, as_many = (engine.make(small_resnet, CPU, side, n).runtime for n in (enough - 1, enough))

    assert (fewer, as_many) == ("torch", "openvino")


def test_many_images_are_converted_with_parity_checked(fast: Engine) -> None:
    """From the threshold on OpenVINO runs, and the reason gives the measured agreement."""
    assert fast.runtime == "openvino"
    assert "agree with torch's within" in fast.reason.text


def test_both_runtimes_give_the_same_features(
    plain: Engine, fast: Engine, pixels: npt.NDArray[np.uint8]
) -> None:
    """On every stage the two agree within a thousandth of the stage's largest feature."""
    one, two = plain.forward(pixels), fast.forward(pixels)

    assert one.dtype == two.dtype == np.float32
    assert one.shape == two.shape
    for start, stop in plain.layout.values():
        a, b = one[:, start:stop], two[:, start:stop]
        assert np.abs(a - b).max() < 1e-3 * np.abs(a).max()


@pytest.mark.parametrize("runtime", ["plain", "fast"])
def test_layout_covers_all_columns_once(
    runtime: str,
    request: pytest.FixtureRequest,
    default_backbone: tuple[Backbone, BackboneFacts],
    pixels: npt.NDArray[np.uint8],
) -> None:
    """The stages, the top and its root stand side by side without gap or overlap."""
    made: Engine = request.getfixturevalue(runtime)

    width = made.forward(pixels[:1]).shape[1]

    spans = list(made.layout.values())
    assert list(made.layout) == [*default_backbone[0].stages, "top", "root of top"]
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert all(start < stop for start, stop in spans)
    assert spans[-1][1] == width


@pytest.mark.parametrize("runtime", ["plain", "fast"])
def test_layout_says_where_each_stage_is(
    runtime: str,
    request: pytest.FixtureRequest,
    default_backbone: tuple[Backbone, BackboneFacts],
    pixels: npt.NDArray[np.uint8],
) -> None:
    """The columns named after a stage hold that stage's features."""
    made: Engine = request.getfixturevalue(runtime)
    backbone, _ = default_backbone
    with torch.inference_mode():
        expected = backbone.forward_stages(backbone.normalise(torch.from_numpy(pixels[:1].copy())))

    rows = made.forward(pixels[:1])

    for name, (start, stop) in made.layout.items():
        stage = expected[name].numpy()
        assert np.abs(rows[:, start:stop] - stage).max() < 1e-3 * np.abs(stage).max()


def test_neighbours_do_not_change_features(fast: Engine, pixels: npt.NDArray[np.uint8]) -> None:
    """An image has the same features to the bit, alone or in a batch, first or last."""
    together = fast.forward(pixels)
    backwards = fast.forward(pixels[::-1])
    alone = np.concatenate([fast.forward(image[None]) for image in pixels])

    assert (alone == together).all()
    assert (backwards[::-1] == together).all()


def test_neighbours_hardly_change_features_in_torch(
    plain: Engine, pixels: npt.NDArray[np.uint8]
) -> None:
    """In torch the batch size may change the order of additions, no more."""
    together = plain.forward(pixels)
    alone = np.concatenate([plain.forward(image[None]) for image in pixels])

    assert np.abs(alone - together).max() < 1e-4 * np.abs(together).max()


def test_failed_conversion_falls_back_with_a_reason(
    small: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that OpenVINO cannot take runs in torch, and the reason repeats its words."""

    def refuse(*args: object, **options: object) -> NoReturn:
        raise RuntimeError("no rule for aten::odd\nand a long trace")

    monkeypatch.setattr(openvino, "convert_model", refuse)

    made = engine.make(small, CPU, 32, None)

    assert made.runtime == "torch"
    assert made.reason.text.endswith("no rule for aten::odd")
    assert made.forward(np.zeros((2, 32, 32, 3), np.uint8)).shape[0] == 2


def test_failure_without_a_word_falls_back(
    small: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception without a text is as good a reason; its kind is told."""

    def refuse(*args: object, **options: object) -> NoReturn:
        raise NotImplementedError

    monkeypatch.setattr(openvino, "convert_model", refuse)

    made = engine.make(small, CPU, 32, None)

    assert made.runtime == "torch"
    assert "NotImplementedError" in made.reason.text


def test_features_that_are_no_numbers_fall_back(
    small: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion that yields NaN is not used."""

    def broken(graph: object) -> inference.Forward:
        width = sum(b - a for a, b in engine._layout(small, 32).values())
        return lambda pixels: np.full((len(pixels), width), np.nan, np.float32)

    monkeypatch.setattr(inference, "compiled", broken)

    made = engine.make(small, CPU, 32, None)

    assert made.runtime == "torch"
    assert "differ by nan" in made.reason.text


def test_conversion_sends_nothing_and_leaves_no_files(tmp_path: Path) -> None:
    """OpenVINO's converter never gets at its telemetry, nor leaves an identity in the home."""
    script = (
        "import sys, torch; from finetune.backbones import engine, load; "
        "network = load.build('lenet5', 'random')[0]; "
        "print(engine.make(network, torch.device('cpu'), 32, None).runtime); "
        "print([m for m in sys.modules if m.startswith('openvino_telemetry')])"
    )
    env = {**os.environ, "HOME": str(tmp_path), "CI": ""}

    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == ["openvino", "[]"]
    assert list(tmp_path.rglob("*")) == []


def test_differing_features_fall_back_with_a_reason(
    small: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion whose features differ by more than allowed is not used, and that is said."""
    convert = openvino.convert_model

    def convert_wrongly(module: torch.nn.Module, **options: object) -> object:
        weight = small.net.features[0][0].weight
        with torch.inference_mode():
            weight.mul_(1.01)
            model = convert(module, **options)
            weight.div_(1.01)
        return model

    monkeypatch.setattr(openvino, "convert_model", convert_wrongly)

    made = engine.make(small, CPU, 32, None)

    assert made.runtime == "torch"
    assert "differ by" in made.reason.text


@pytest.mark.gpu
def test_gpu_gives_the_cpus_features(plain: Engine, pixels: npt.NDArray[np.uint8]) -> None:
    """On a GPU each stage's features are those of the CPU within the limit for all runtimes."""
    backbone, _ = load.build(registry.DEFAULT)
    device, _ = engine.choose_device("auto")

    made = engine.make(backbone, device, SIDE, 1000)
    rows = made.forward(pixels)

    assert made.runtime == f"torch on {device.type}"
    assert rows.dtype == np.float32
    expected = plain.forward(pixels)
    for start, stop in made.layout.values():
        assert inference.gap(expected[:, start:stop], rows[:, start:stop]) < inference.PARITY


@pytest.mark.gpu
def test_a_network_on_a_gpu_is_converted_for_a_cpu(
    plain: Engine, pixels: npt.NDArray[np.uint8]
) -> None:
    """OpenVINO's model of a network that lies on a GPU has the CPU's features."""
    backbone, _ = load.build(registry.DEFAULT)
    device, _ = engine.choose_device("auto")
    backbone.to(device)

    rows = inference.compiled(engine.convert(backbone, SIDE))(pixels)

    assert inference.gap(plain.forward(pixels), rows) < inference.PARITY
    assert next(backbone.parameters()).device.type == device.type


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_is_the_cards_own() -> None:
    """Bfloat16 from Ampere on, float16 before, whatever may be emulated; a product has it."""
    device = torch.device("cuda")
    ampere = torch.cuda.get_device_properties(device).major >= 8

    with precision.autocast(device, "auto"):
        product = torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)

    assert product.dtype == engine.half(device)
    assert torch.version.hip or engine.half(device) == (torch.float16, torch.bfloat16)[ampere]


# --- the frozen part of a training ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_what_follows_a_stage_is_the_rest_of_the_network(name: str) -> None:
    """A stage's output handed to the rest gives the whole network's features, bit by bit."""
    backbone = load.build(name, "random")[0]
    x = torch.rand(2, 3, 64, 64)

    with torch.inference_mode():
        whole = backbone(x)
        for stage in backbone.stages[:-1]:
            rest = backbone.after(stage)(backbone.output_of(stage, x))
            assert torch.equal(rest, whole), stage


def test_what_follows_a_stage_shares_its_parameters(small_resnet: Backbone) -> None:
    """A step on the rest is a step on the network; the stages before it are not even called."""
    x = torch.rand(1, 3, 64, 64)
    stage, last = small_resnet.stages[-2:]
    rest = small_resnet.after(stage)
    handed_on = small_resnet.output_of(stage, x)
    with torch.no_grad():
        for parameter in small_resnet.stage_parameters(last):
            parameter.mul_(1.5)

    changed = rest(handed_on)

    assert torch.equal(changed, small_resnet(x))
    with torch.no_grad():
        for parameter in small_resnet.stage_parameters(stage):
            parameter.zero_()
    assert torch.equal(rest(handed_on), changed)


def test_frozen_stages_run_in_the_fast_engine(small_resnet: Backbone) -> None:
    """Its output is the stage's own, of any number of images, with a reason that says so."""
    stage = small_resnet.stages[-2]

    run, reason = engine.front(small_resnet, stage, 64)

    assert run is not None
    assert "agree with torch's" in reason.text
    x = torch.rand(5, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(run(x), small_resnet.output_of(stage, x), rtol=1e-4, atol=1e-5)
    assert engine.front(small_resnet, stage, 64)[0] is run


def test_a_network_that_cannot_be_cut_is_left_to_torch() -> None:
    """Position embeddings stand between a transformer's stages: that is told, and nothing runs."""
    backbone = load.build("test_vit", "random")[0]

    run, reason = engine.front(backbone, backbone.stages[-2], backbone.preprocess.side_px)

    assert run is None
    assert "could not take them" in reason.text


def test_a_cut_that_changes_features_is_not_taken(
    small_resnet: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rest of the network makes something else of it, torch runs everything."""
    after = small_resnet.after
    monkeypatch.setattr(small_resnet, "after", lambda stage: lambda x: after(stage)(x) + 1)

    run, reason = engine.front(small_resnet, small_resnet.stages[-2], 64)

    assert run is None
    assert "cannot be cut" in reason.text
