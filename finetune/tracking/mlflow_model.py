"""A run as a model of MLflow's pyfunc flavor, which loads it with this package; torch-free."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any


def model() -> Any:
    """The model that `mlflow.pyfunc.load_model` gives, its run among the artifacts as `run`."""
    from mlflow.pyfunc import PythonModel  # noqa: PLC0415 - optional, and seconds to import

    import finetune  # noqa: PLC0415 - once MLflow is there

    class RunModel(PythonModel):  # type: ignore[misc]
        """Paths of images, or their files' bytes → label, probability and the likeliest classes."""

        def load_context(self, context: Any) -> None:
            """Open the run."""
            self.opened = finetune.load(context.artifacts["run"], device="cpu")

        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:  # noqa: ARG002
            """A dictionary for each image, with `error` for one that cannot be read."""
            top = int((params or {}).get("top", 3))
            pictures = [picture(value) for value in values(model_input)]
            return [_plain(answer) for answer in self.opened.predict(pictures, top=top)]

    return RunModel()


def values(given: Any) -> Iterable[Any]:
    """The images of a table's first column, of an array, of a list, or one alone."""
    if isinstance(given, str | bytes):
        return [given]
    if hasattr(given, "iloc"):
        table: Iterable[Any] = (given.iloc[:, 0] if given.ndim == 2 else given).tolist()
        return table
    return list(given)


def picture(value: Any) -> Any:
    """What the model takes: bytes as an open picture."""
    from PIL import Image  # noqa: PLC0415

    return Image.open(io.BytesIO(value)) if isinstance(value, bytes | bytearray) else value


def _plain(answer: Any) -> dict[str, Any]:
    from finetune.records.codec import to_builtins  # noqa: PLC0415

    found: dict[str, Any] = to_builtins(answer)
    return found
