"""Keras as its own example does it: "Image classification via fine-tuning with EfficientNet".

    python keras_guide.py FOLDER

EfficientNetB0 at 224 px, batch 64, augmentation by rotation, shift, flip and contrast; 25 epochs
of a new head with Adam 0.01, then 4 of the last 20 layers with Adam 0.00001. Time only: keras has
no EfficientNet-Lite0 (B0 is its relative, somewhat slower for its squeeze-and-excitation), and B0's
weights are in no package, so the network is untrained and its accuracy says nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from common import Clock, answer, arguments
from keras import layers

HEAD_EPOCHS, TUNING_EPOCHS, BATCH, SIDE_PX, UNFROZEN = 25, 4, 64, 224, 20


class Timed(keras.callbacks.Callback):
    """Tells the clock of every epoch, and stops when it has enough."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """An epoch is over, its validation included."""
        del epoch, logs
        if not self.clock.lap():
            self.model.stop_training = True


def batches(folder: Path, *, augment: bool) -> Any:
    """A tf.data pipeline over one split."""
    found = keras.utils.image_dataset_from_directory(
        folder, label_mode="categorical", image_size=(SIDE_PX, SIDE_PX), batch_size=BATCH
    )
    if augment:
        change = keras.Sequential(
            [
                layers.RandomRotation(0.15),
                layers.RandomTranslation(0.1, 0.1),
                layers.RandomFlip(),
                layers.RandomContrast(0.1),
            ]
        )
        found = found.map(lambda x, y: (change(x, training=True), y))
    return found.prefetch(2)


def network(classes: int) -> keras.Model:
    """A frozen body with a new head."""
    inputs = layers.Input((SIDE_PX, SIDE_PX, 3))
    body = keras.applications.EfficientNetB0(include_top=False, input_tensor=inputs, weights=None)
    body.trainable = False
    x = layers.GlobalAveragePooling2D()(body.output)
    x = layers.Dropout(0.2)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))


def fit(model: keras.Model, parts: list[Any], rate: float, clock: Clock) -> None:
    """One phase of training."""
    model.compile(
        keras.optimizers.Adam(rate), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    clocked = [Timed(clock)]
    train, test = parts
    model.fit(train, epochs=clock.of, validation_data=test, callbacks=clocked, verbose=0)


def main() -> None:
    """Train and answer."""
    options = arguments(__doc__).parse_args()
    keras.utils.set_random_seed(0)
    parts = [
        batches(options.folder / "train", augment=True),
        batches(options.folder / "test", augment=False),
    ]
    model = network(sum(p.is_dir() for p in (options.folder / "train").iterdir()))
    head = Clock(HEAD_EPOCHS, options.minutes)
    fit(model, parts, 1e-2, head)
    for layer in model.layers[-UNFROZEN:]:
        if not isinstance(layer, layers.BatchNormalization):
            layer.trainable = True
    tuning = Clock(TUNING_EPOCHS, options.minutes)
    fit(model, parts, 1e-5, tuning)
    answer([head, tuning], None, None, side_px=SIDE_PX, batch=BATCH)


if __name__ == "__main__":
    main()
