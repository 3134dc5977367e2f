"""The README beside an export: what it is, how good, and a program of ten lines that reads it."""

from __future__ import annotations

from pathlib import Path

from finetune.deploy import outputs
from finetune.pictures import bands
from finetune.records.answers import Int8
from finetune.records.choices import Format
from finetune.records.run import RunFacts
from finetune.records.target import TargetFacts

# Only what has transparency is laid on white: the detour through RGBA takes half of the reading.
_READ = """\
    image = ImageOps.exif_transpose(Image.open(path))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
"""
ONNX = (
    """\
import json, sys, numpy as np, onnxruntime
from PIL import Image, ImageOps
model = onnxruntime.InferenceSession("{main}")
classes = json.loads(model.get_modelmeta().custom_metadata_map["classes"])
for path in sys.argv[1:]:
"""
    + _READ
    + """\
    found = model.run(None, {{"image": np.asarray(image.convert("RGB"))[None]}})[0][0]
    print(path, classes[found.argmax()], f"{{found.max():.6f}}", sep="\\t")
"""
)
OPENVINO = (
    """\
import json, sys, numpy as np, openvino, PIL.Image as Image, PIL.ImageOps as ImageOps
graph = openvino.Core().read_model("{main}")
model = openvino.compile_model(graph, "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
classes = json.loads(graph.get_rt_info(["finetune", "classes"]).value)
for path in sys.argv[1:]:
"""
    + _READ
    + """\
    found = model(np.asarray(image.convert("RGB"))[None])[0][0]
    print(path, classes[found.argmax()], f"{{found.max():.6f}}", sep="\\t")
"""
)
PT2 = (
    """\
import json, sys, numpy as np, torch, PIL.Image as Image, PIL.ImageOps as ImageOps
more = {{"about.json": ""}}
model = torch.export.load("{main}", extra_files=more).module()
classes = json.loads(json.loads(more["about.json"])["classes"])
for path in sys.argv[1:]:
"""
    + _READ
    + """\
    found = model(torch.from_numpy(np.array(image.convert("RGB")))[None])[0]
    print(path, classes[found.argmax()], f"{{found.max():.6f}}", sep="\\t")
"""
)
HUB = (
    """\
import sys, timm, PIL.Image as Image, PIL.ImageOps as ImageOps
model = timm.create_model("local-dir:.", pretrained=True).eval()
ready = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
labels = model.pretrained_cfg["label_names"]
for path in sys.argv[1:]:
"""
    + _READ
    + """\
    found = model(ready(image.convert("RGB"))[None]).softmax(1)[0]
    print(path, labels[found.argmax()], f"{{found.max():.6f}}", sep="\\t")
"""
)
_SHOW = """    print(path, classes[found.argmax()], f"{{found.max():.6f}}", sep="\\t")
"""
_SHOWN = {
    "labels": """    print(path, *(f"{{n}} {{p:.6f}}" for n, p in zip(classes, found)), sep="\\t")
""",
    "number": """    print(path, *(f"{{n}} {{v:.6g}}" for n, v in zip(classes, found)), sep="\\t")
""",
}
_HUB_SHOW = """    found = model(ready(image.convert("RGB"))[None]).softmax(1)[0]
    print(path, labels[found.argmax()], f"{{found.max():.6f}}", sep="\\t")
"""
_HUB_SHOWN = {
    "labels": """    found = model(ready(image.convert("RGB"))[None]).sigmoid()[0]
    print(path, *(f"{{n}} {{p:.6f}}" for n, p in zip(labels, found)), sep="\\t")
""",
    "number": """    found = model(ready(image.convert("RGB"))[None])[0]
    print(path, *(f"{{n}} {{v:.6g}}" for n, v in zip(labels, found)), sep="\\t")
""",
}
_HEADS = {
    None: "its classifier with the temperature of its probabilities",
    "labels": "its head, with what makes a probability of each label",
    "number": "its head, in the unit of the numbers",
}
_NO_SOFTMAX = {
    "labels": " Its outputs are logits of labels: the sigmoid of each is its probability, on from "
    "`thresholds` in\n`config.json`. Programs that put a softmax over them show other figures.",
    "number": " Its outputs are the numbers themselves: programs that put a softmax over them show "
    "other figures.",
}
PROGRAMS: dict[Format, tuple[str, str]] = {
    "onnx": ("numpy, onnxruntime and pillow", ONNX),
    "openvino": ("numpy, openvino and pillow", OPENVINO),
    "pt2": ("numpy, torch and pillow: the format is torch's own", PT2),
    "hub": ("timm, torch and pillow: the layout is timm's", HUB),
    "triton": ("numpy, onnxruntime and pillow, without a server", ONNX),
}
# Otherwise OpenVINO computes in bfloat16 where the CPU has it: 0.002 off on fruit3_tiny
# (docs/log.md, 2026-11-26), on other data more.
_PRECISION = """
`INFERENCE_PRECISION_HINT` f32 is what was checked: without it OpenVINO may round to 16 bits.
ModelAPI reads the file, too: `Model.create_model("NAME.xml")`.
"""
FITS = {
    "half": "half squeezed and half cropped to a square",
    "squash": "squeezed to a square",
    "center": "cut to the middle square",
    "letterbox": "laid on a square of the mean color",
}


def accuracy(facts: RunFacts) -> str:
    """How good a run of classes is."""
    if facts.accuracy is None:
        return "accuracy: not tested"
    return f"accuracy: {facts.accuracy:.1%} ({facts.accuracy_source})"


def text(kind: Format, facts: RunFacts, main: Path, int8: Int8 | None = None, *, score: str) -> str:
    """The README of an export; `main` is its first file as seen from there, `score` a line."""
    about, where = facts.backbone, facts.preprocess
    needs, program = PROGRAMS[kind]
    what = "classes"
    if facts.target is not None:
        what = "labels" if facts.target.kind == "labels" else "numbers"
        program = program.replace(_SHOW, _SHOWN[facts.target.kind])
        program = program.replace(_HUB_SHOW, _HUB_SHOWN[facts.target.kind])
    if int8 is not None:
        score += f"; in 8 bits {loss(int8)}"
    inside = (
        f"A picture is {FITS[where.fit]} of {where.side_px} px and normalized; `config.json` says "
        "so in timm's words (`crop_mode`, `input_size`, `mean`, `std`)."
        if kind == "hub"
        else f"In it are: the picture {FITS[where.fit]} of {where.side_px} px, normalizing, the "
        f"network and {_HEADS[None if facts.target is None else facts.target.kind]}."
    )
    if kind == "hub" and facts.target is not None:
        inside += _NO_SOFTMAX[facts.target.kind]
    head = _card(facts) if kind == "hub" else ""
    return f"""{head}# {len(facts.classes)} {what} of images, {kind}
{_contract(kind, facts)}{inside}
{what.capitalize()}, in the order of the answer: {", ".join(facts.classes[:50])}{_more(facts)}

* {score}
* backbone: {about.name}, weights: {about.weights}, license of the weights: {about.licence}
* trained {facts.created[:10]} by finetune {facts.versions.get("finetune", "")}, {facts.strategy}; \
fingerprint of the images: {facts.data_fingerprint}

## Use it
Needs {needs}. From this folder, `python program.py photo.jpg`:
```python
{program.format(main=main.as_posix())}```
{_bands(facts)}Pictures of more than 8 bits a value are to be brought to 8 first{_scales(facts)}.
A JPEG that is reduced while it is decoded (Pillow's `draft`) gives answers that differ in the
third digit.
{_more_of(kind, main)}"""


def loss(int8: Int8) -> str:
    """What layers of 8 bits lose, in words."""
    low, high = (100 * end for end in int8.interval)
    ends = f"(95 % interval {low:+.1f} to {high:+.1f})"
    if int8.metric == "rmse":
        return f"RMSE rises by {100 * int8.loss:+.1f} % {ends} on {int8.source}"
    name = "accuracy" if int8.metric == "accuracy" else "mAP"
    return f"the loss of {name} is {100 * int8.loss:+.1f} points {ends} on {int8.source}"


def triton_config(name: str, classes: int, output: str = "probabilities") -> str:
    """Triton's `config.pbtxt`: one call has pictures of one size."""
    return f"""name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: 0
input [ {{ name: "image", data_type: TYPE_UINT8, dims: [ -1, -1, -1, 3 ] }} ]
output [
  {{
    name: "{output}", data_type: TYPE_FP32, dims: [ -1, {classes} ]
    label_filename: "labels.txt"
  }}
]
"""


def _contract(kind: Format, facts: RunFacts) -> str:
    if kind == "hub":
        return ""
    first = "1" if kind == "openvino" else "N"
    return (
        f"Input `image` uint8 [{first},H,W,3]: RGB of any size, as decoded, turned as EXIF says, "
        f"on white where it is transparent.\nOutput `{outputs.called(facts)}` float32 [{first},C]"
        f"{_meaning(facts.target)}.\n"
    )


def _meaning(target: TargetFacts | None) -> str:
    if target is None:
        return ""
    if target.kind == "labels":
        return ", of each label by itself; it is on from its threshold (`thresholds` in the file)"
    return ": numbers in their own unit"


def _more(facts: RunFacts) -> str:
    rest = len(facts.classes) - 50
    return f" and {rest} more" if rest > 0 else ""


def _scales(facts: RunFacts) -> str:
    scales = facts.preprocess.scales or ()
    known = [f"{s.kind}: {s.black:g} is black, {s.white:g} is white" for s in scales]
    return f" ({'; '.join(known)})" if known else ""


def _bands(facts: RunFacts) -> str:
    """What red, green and blue are, where they were bands of TIFFs."""
    taken = facts.preprocess.bands
    if taken is None:
        return ""
    return (
        f"In training {bands.told(taken)}, counted from 1.\nMake pictures so before you give them "
        "to it: the program above reads no bands.\n"
    )


def _card(facts: RunFacts) -> str:
    """What the hub reads of a README; nothing leaves a license open."""
    licence = facts.backbone.licence.lower()
    number = facts.target is not None and facts.target.kind == "number"
    task = "image-regression" if number else "image-classification"
    pipeline = "" if number else "pipeline_tag: image-classification\n"
    known = licence if licence.startswith(("apache", "mit", "bsd", "cc-")) else "other"
    return f"""---
library_name: timm
{pipeline}tags: [{task}, timm]
license: {known}
---
"""


def _more_of(kind: Format, main: Path) -> str:
    if kind == "openvino":
        return _PRECISION
    return _server(main) if kind == "triton" else ""


def _server(main: Path) -> str:
    return f"""
With a server: `tritonserver --model-repository=.`, then KServe's protocol,
`POST /v2/models/{main.parts[0]}/infer`, with `image` and `probabilities` as above.
"""
