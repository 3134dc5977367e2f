"""Fixtures of tests of exports: torch's exporter takes seconds, so it works once."""

from __future__ import annotations

import pytest
from exports import TwoStages, make_run
from helpers import SAMPLE, Recorder

from finetune.workflows.export import run_export


@pytest.fixture(scope="session")
def two_stages(tmp_path_factory: pytest.TempPathFactory) -> TwoStages:
    """A run whose head reads two stages, as ONNX, checked on the sample data."""
    place = tmp_path_factory.mktemp("two")
    run = make_run(place / "two")
    out = place / "out" / "model.onnx"
    return TwoStages(run, run_export(run, "onnx", out, images=SAMPLE, listener=Recorder()), out)
