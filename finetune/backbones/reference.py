"""Known answers of the weights that packages carry: what loads them otherwise is found at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from finetune.records.errors import BackboneError

# Logits of the classes of `PLACES` for `picture` at the network's own size. Lite0's agree with an
# implementation in float64 that shares no code with ours (tests/reference_logits.json); those of
# lite1 and lite2 are our own of 2026-11-26, and tell of a change alone.
PLACES = (0, 200, 400, 600, 800)
LOGITS = {
    "tf_efficientnet_lite0": (0.0638, 0.6418, -0.3486, 2.3369, -1.0914),
    "tf_efficientnet_lite1": (0.6486, 0.0893, -0.4429, 0.4173, 1.4972),
    "tf_efficientnet_lite2": (0.7261, -1.0992, -0.5717, 0.9283, -1.0420),
}
ALLOWED = 0.01  # runtimes and processors differ by 1e-4; other weights or another input by tenths


def picture(side_px: int) -> npt.NDArray[np.uint8]:
    """A picture that depends on no decoder and no generator, uint8[1, side, side, 3]."""
    y, x, c = np.ogrid[:side_px, :side_px, :3]
    pixels: npt.NDArray[np.uint8] = ((x * x + 3 * x * y + 10 * (c + 1) * y) % 256).astype(np.uint8)
    return pixels[None]


def require(
    name: str, side_px: int, logits: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
) -> None:
    """Compare a loaded network with what is known of its weights, where something is.

    Args:
        name: Of the backbone.
        side_px: Its own input size.
        logits: Its answer, uint8[1,S,S,3] → float32[1,1000].

    Raises:
        BackboneError: it answers otherwise.
    """
    if name not in LOGITS:
        return
    found = logits(picture(side_px))[0, list(PLACES)]
    off = float(np.abs(found - np.array(LOGITS[name])).max())
    if not off <= ALLOWED:  # so that no number at all fails, too
        raise BackboneError(
            f"{name} answers a known picture otherwise than its weights do: off by {off:.2g}, "
            f"{ALLOWED:g} is allowed",
            hint="Reinstall its package of weights, and torch and timm in the versions listed.",
        )
