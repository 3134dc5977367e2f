"""The rows of the option table for what leaves the house: exports."""

from __future__ import annotations

from finetune.records.option import Option

EXPORT = (
    Option(
        name="format",
        commands="export",
        choices=("onnx", "openvino", "pt2", "hub", "triton"),
        default="onnx",
        help="onnx, OpenVINO's, torch's (pt2), timm's hub layout, or a Triton folder.",
    ),
    Option(
        name="images",
        kind="folder",
        commands="export",
        metavar="DIR",
        unset="the run's own, where they still lie there",
        help="Pictures to check the export on.",
    ),
)
