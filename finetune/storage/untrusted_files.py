"""What an untrusted file may ask of this machine: checked before it is read.

A run folder or checkpoint from the net must not run code, reach outside its place, or take more
memory and time than its own size explains. What is checked here raises `ValueError`, or `OSError`
where the file cannot be read, with words that do not name it: the caller knows what it is to the
user. Why these limits: docs/decisions/0012-untrusted-files.md.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
import re
import stat
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

MOST_TENSOR_BYTES = 8_000_000_000
# Names, kinds and shapes of some thirty thousand tensors; the largest networks have four thousand.
MOST_HEADER_BYTES = 4_000_000
# --- pickles: all that torch's state dicts are made of --------------------------------------------
ZIP_START = b"PK\x03\x04"
OLD_PICKLES = 5  # before torch 1.6: magic number, version, system, the tensors, names of storages
_SCALARS = frozenset(
    {
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
    }
)
_OPCODES = _SCALARS.union(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    }
)
_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v2)?|parameter)|"
    r"torch (Size|device|u?int\d+|b?float\d+|bool)|torch (\w+Storage)|"
    r"torch\.storage (Untyped|Typed)Storage|torch\.nn\.parameter Parameter"
)
# --- networks: what timm's convert to -------------------------------------------------------------
XML_START = b'<?xml version="1.0"?>'
MOST_TOPOLOGY_BYTES = 16_000_000  # the largest seen has 0.8 MB
MOST_LAYERS = 20_000
MOST_VALUES = 2**30  # of all layers' outputs together; ResNet-50 at 1024 px computes 0.8e9
MOST_PRODUCTS = 4e12  # multiplications an image; eva_giant at 560 px has 1.9e12
_CHILDREN = {
    "net": {"layers", "edges", "rt_info"},
    "layers": {"layer"},
    "layer": {"data", "input", "output"},
    "input": {"port"},
    "output": {"port"},
    "port": {"dim"},
    "edges": {"edge"},
    "rt_info": {"info"},
}
# Layers whose every input may be computed. Those of the others but the first have to be constants:
# otherwise the shapes of some would depend on values, which are then computed while reading.
_FREE = frozenset(
    {
        *("Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum", "Power", "Concat"),
        *("SquaredDifference", "MatMul", "ScaledDotProductAttention"),
    }
)
_BOUND = frozenset(
    {
        *("Parameter", "Const", "Result", "Convert"),
        *("ReLU", "PReLU", "Elu", "Selu", "Clamp", "Swish", "HSwish", "HSigmoid", "Sigmoid"),
        *("Tanh", "Gelu", "Mish", "SoftPlus", "Erf", "Exp", "Log", "Sqrt", "Abs", "Negative"),
        *("Sin", "Cos", "Floor", "BitwiseNot", "CumSum", "SoftMax", "LogSoftmax"),
        *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"),
        *("Convolution", "GroupConvolution", "AvgPool", "MaxPool", "AdaptiveAvgPool"),
        *("MVN", "GroupNormalization", "NormalizeL2", "LRN", "BatchNormInference"),
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "StridedSlice", "Split"),
        *("VariadicSplit", "Gather", "Pad", "Roll", "Tile", "Broadcast", "Interpolate"),
        *("DepthToSpace", "SpaceToDepth"),
    }
)
_KINDS = frozenset({"f32", "f16", "i64", "i32", "u8", "boolean"})
_NUMBERS = re.compile(r"(\d{1,9}(, ?\d{1,9}){0,7})?")
_WINDOWS = ("kernel", "strides", "dilations", "pads_begin", "pads_end")
_SMALL = re.compile(r"(\d{1,4}(, ?\d{1,4}){0,3})?")


def read(file: Path, most: int, home: Path) -> bytes:
    """The bytes of an ordinary file; raises as `check_file` does."""
    check_file(file, most, home)
    return file.read_bytes()


def check_file(file: Path, most: int, home: Path | None = None) -> None:
    """Refuse what is no ordinary file, has more than `most` bytes, or is a link out of `home`."""
    real = os.path.realpath(file, strict=True)
    if home is not None and not Path(real).is_relative_to(os.path.realpath(home)):
        raise ValueError(f"it is a link to {real}, outside of {home}")
    found = Path(real).stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no ordinary file")
    if found.st_size > most:
        raise ValueError(f"it has {found.st_size:,} bytes, more than the {most:,} it may have")


def check_name(path: str) -> None:
    """Refuse a relative path that leads out of its folder."""
    parts = Path(path)
    if parts.is_absolute() or parts.drive or ".." in parts.parts or "\0" in path:
        raise ValueError(f"it names {path!r}, which is outside of the data's folder")


def check_tensors(file: Path, home: Path | None = None) -> None:
    """Refuse a safetensors file that is too large, or whose header is.

    That tensors and bytes agree is checked by the library, which allocates only then.
    """
    check_file(file, MOST_TENSOR_BYTES, home)
    with file.open("rb") as content:
        header = int.from_bytes(content.read(8), "little")
    if header > MOST_HEADER_BYTES:
        raise ValueError(f"its header has {header:,} bytes, more than {MOST_HEADER_BYTES:,}")


def check_checkpoint(file: Path) -> None:
    """Refuse a file of `torch.save` that is more than tensors by their names.

    `torch.load(weights_only=True)` runs no code of a file's own; but it unpacks compressed parts,
    makes arrays of any length it is told, and can be kept busy for ever by tuples of tuples.
    """
    check_file(file, MOST_TENSOR_BYTES)
    with file.open("rb") as content:
        if content.read(len(ZIP_START)) == ZIP_START:
            with zipfile.ZipFile(content) as archive:
                _check_archive(archive, file.stat().st_size)
            return
        content.seek(0)
        head = io.BytesIO(content.read(MOST_HEADER_BYTES))
    try:
        with tarfile.open(file, "r:"):
            raise ValueError("it is a tar file, as only the first versions of torch wrote")
    except tarfile.TarError:
        pass
    for _ in range(OLD_PICKLES):
        _check_pickle(head)


def check_topology(xml: bytes, constants: int) -> None:
    """Refuse a network that OpenVINO should not even read.

    Args:
        xml: What OpenVINO calls the topology.
        constants: Number of bytes of its constants.
    """
    if len(xml) > MOST_TOPOLOGY_BYTES:
        raise ValueError(f"it has more than {MOST_TOPOLOGY_BYTES:,} bytes")
    # so that OpenVINO's parser sees what Python's does: one encoding, nothing but elements
    if not xml.startswith(XML_START) or b"<!" in xml or b"\0" in xml:
        raise ValueError("it is no XML as OpenVINO writes it")
    try:
        net = ElementTree.fromstring(xml.decode("utf-8"))
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no XML as OpenVINO writes it: {error}") from error
    unknown = {child.tag for e in net.iter() for child in e if child.tag not in _inside(e)}
    if net.tag != "net" or unknown:
        raise ValueError(f"it has elements called {sorted({net.tag, *unknown})[:3]}")
    layers = {layer.get("id", ""): layer for layer in net.iterfind("layers/layer")}
    if len(layers) != sum(1 for _ in net.iter("layer")) or len(layers) > MOST_LAYERS:
        raise ValueError("its layers have no numbers of their own, or are too many")
    for layer in layers.values():
        _check_layer(layer, constants)
    total = sum(int(data.get("size", 0)) for data in net.iter("data"))
    if total > 2 * constants + 1_000_000:
        raise ValueError("its constants overlap")
    _check_edges(net, layers)


def check_work(network: Any) -> None:
    """Refuse an OpenVINO model, read but not compiled, that computes too much for an image."""
    values, products = 0, 0.0
    for node in network.get_ordered_ops():
        if any(port.get_partial_shape().is_dynamic for port in node.outputs()):
            raise ValueError("the size of what it computes is not fixed")
        values += _values(node)
        products += _products(node)
        if values > MOST_VALUES or products > MOST_PRODUCTS:
            raise ValueError("it computes more for an image than any known network")


def _check_archive(archive: zipfile.ZipFile, size: int) -> None:
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its parts unpack to more bytes than it has")
    pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
    for entry in pickles:
        if entry.file_size > MOST_HEADER_BYTES:
            raise ValueError(f"{entry.filename} in it has {entry.file_size:,} bytes")
        _check_pickle(io.BytesIO(archive.read(entry)))
    if not pickles:
        raise ValueError("it holds no state dict")


def _check_pickle(content: IO[bytes]) -> None:
    """Refuse what no state dict has; `content` then stands behind the pickle."""
    # To look up a tuple in a dictionary takes as long as it has leaves, and tuples that hold others
    # twice have 2, 4, 8 … of them: so only tuples of plain values may be used more than once.
    nested: set[Any] = set()  # places of the other tuples in the pickle's memory
    last, before, scalars, plain = "", "", 0, True
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name not in _OPCODES:
            raise ValueError(f"it holds more than tensors by name ({name})")
        if name == "GLOBAL" and not _GLOBALS.fullmatch(str(argument)):
            raise ValueError(f"it refers to {str(argument).replace(' ', '.')}")
        if name.endswith("PUT"):
            (nested.discard if plain or not last.startswith("TUPLE") else nested.add)(argument)
            continue
        if name.endswith("GET") and argument in nested:
            raise ValueError("it uses a tuple of tuples twice")
        if name.startswith("TUPLE"):
            plain = before == "MARK" if name == "TUPLE" else scalars >= int(name[-1])
        scalars = scalars + 1 if name in _SCALARS else 0
        before = before if name in _SCALARS else name
        last = name


def _inside(element: ElementTree.Element) -> set[str]:
    return _CHILDREN.get(element.tag, set())


def _check_layer(layer: ElementTree.Element, constants: int) -> None:
    kind, data = layer.get("type", ""), layer.find("data")
    if kind not in _FREE | _BOUND or not layer.get("version", "").startswith("opset"):
        raise ValueError(f"it has a layer of the kind {kind[:50]!r}")
    told = {} if data is None else data.attrib
    if any(not _SMALL.fullmatch(told.get(name, "")) for name in _WINDOWS):
        raise ValueError(f"it has a {kind} of an odd size")
    if kind != "Const":
        return
    numbers = [told.get(name, "") for name in ("offset", "size")]
    if told.get("element_type") not in _KINDS or not _NUMBERS.fullmatch(told.get("shape", "")):
        raise ValueError("it has a constant of an odd form")
    if not all(re.fullmatch(r"\d{1,12}", n) for n in numbers) or sum(map(int, numbers)) > constants:
        raise ValueError("it has a constant that is not in its other file")


def _check_edges(net: ElementTree.Element, layers: dict[str, ElementTree.Element]) -> None:
    """Refuse a layer whose second input is computed where that decides on its shape."""
    sources: dict[str, dict[str, str]] = defaultdict(dict)
    for edge in net.iterfind("edges/edge"):
        start, end = edge.get("from-layer", ""), edge.get("to-layer", "")
        if start not in layers or end not in layers:
            raise ValueError("it has an edge from or to nowhere")
        sources[end][edge.get("to-port", "")] = layers[start].get("type", "")
    for name, layer in layers.items():
        if layer.get("type") in _FREE:
            continue
        ports = [port.get("id", "") for port in layer.iterfind("input/port")]
        if len(set(ports)) != len(ports) or set(sources[name]) != set(ports):
            raise ValueError("it has an input from nowhere")
        if any(sources[name][port] != "Const" for port in ports[1:]):
            raise ValueError(f"it has a {layer.get('type')} whose shape is computed")


def _products(node: Any) -> float:
    """About how many multiplications a layer takes; 0 where that goes without saying."""
    kind = node.get_type_name()
    if kind not in ("Convolution", "GroupConvolution", "MatMul", "ScaledDotProductAttention"):
        return float(math.prod(node.get_attributes().get("kernel", ())) * _values(node))
    first, second = (list(node.input_value(i).get_shape()) for i in (0, 1))
    if kind == "MatMul":
        each = first[-2 if node.get_attributes()["transpose_a"] else -1]
    elif kind == "ScaledDotProductAttention":
        each = 2 * second[-2]
    else:
        each = math.prod(second[1 if kind == "Convolution" else 2 :])
    return float(each * _values(node))


def _values(node: Any) -> int:
    return sum(math.prod(port.get_shape()) for port in node.outputs())
