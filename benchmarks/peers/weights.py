"""Write the embedded ImageNet weights of the default backbone as the contenders read them.

    python weights.py FILE.safetensors

Runs in the environment of `finetune`; the names are timm's own.
"""

from __future__ import annotations

import sys

from safetensors.torch import save_file

from finetune.backbones import load, registry

if __name__ == "__main__":
    backbone, facts = load.build(registry.DEFAULT)
    save_file(backbone.net.state_dict(), sys.argv[1], {"source": facts.weights})
