"""MLflow: parameters, curves, files, and a model that answers, on its server or in a folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from finetune import __version__
from finetune.records.training import EpochRecord
from finetune.tracking.outcome import Outcome, Parameters, curves

MODEL = "model"
CODE = """from finetune.tracking.mlflow_model import model
from mlflow.models import set_model

set_model(model())
"""


class Mlflow:
    """One run of an experiment; nothing of MLflow's own state in this process is changed."""

    def __init__(self, uri: str, project: str, name: str, parameters: Parameters) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415 - optional, and seconds to import

        self._client = MlflowClient(uri)
        known = self._client.get_experiment_by_name(project)
        number = self._client.create_experiment(project) if known is None else known.experiment_id
        self._run = self._client.create_run(number, run_name=name).info.run_id
        self.place = f"run {self._run} of experiment {project} at {uri}"
        self._parameters(parameters)

    def epoch(self, curve: str, record: EpochRecord) -> None:
        """As `Tracker`."""
        for name, value in curves(record).items():
            self._client.log_metric(self._run, f"{curve}/{name}", value, step=record.epoch)

    def end(self, outcome: Outcome | None) -> None:
        """As `Tracker`."""
        if outcome is None:
            self._client.set_terminated(self._run, "FAILED")
            return
        self._parameters(outcome.parameters)
        for name, value in outcome.metrics.items():
            self._client.log_metric(self._run, name, value)
        for path in outcome.files:
            self._client.log_artifact(self._run, str(path))
        self._client.log_text(self._run, outcome.confusion, "confusion.csv")
        self._client.set_tag(self._run, "mlflow.note.content", outcome.summary)
        self._model(outcome.run)
        self._client.set_terminated(self._run)

    def _parameters(self, values: Parameters) -> None:
        for name, value in values.items():
            self._client.log_param(self._run, name, value)

    def _model(self, run: Path) -> None:
        """The run as a model of MLflow: `mlflow.pyfunc.load_model("runs:/ID/model")`."""
        import mlflow.pyfunc  # noqa: PLC0415 - as above

        with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
            code = Path(scratch) / "model.py"
            code.write_text(CODE, encoding="utf-8")
            place = Path(scratch) / MODEL
            mlflow.pyfunc.save_model(
                str(place),
                python_model=str(code),
                artifacts={"run": str(run.absolute())},
                pip_requirements=[f"finetune-images=={__version__}"],
            )
            self._client.log_artifacts(self._run, str(place), MODEL)


def start(project: str, name: str, parameters: Parameters) -> Mlflow:
    """A run on the server of `MLFLOW_TRACKING_URI`, or in `./mlruns`."""
    # it reports its use over the network otherwise
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        # a folder needs no database package, which mlflow-skinny does not bring
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        uri = Path("mlruns").absolute().as_uri()
    return Mlflow(uri, project, name, parameters)
