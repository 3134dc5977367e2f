"""Networks that timm lacks: LeNet-5 and AlexNet."""

from __future__ import annotations

from torch import Tensor, nn

from finetune.records.choices import Norm


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling: the from-scratch baseline.

    With a `norm` each convolution is followed by that, learned scale and shift included.
    """

    pretrained_cfg = {  # noqa: RUF012 - timm's own name and form for these facts
        "input_size": (3, 32, 32),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "fixed_input_size": True,
    }

    def __init__(self, norm: Norm | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 6, 5), *_norm(norm, 6), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Sequential(nn.Conv2d(6, 16, 5), *_norm(norm, 16), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.pre_logits = nn.Sequential(
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()
        )
        self.feature_info = [
            {"module": "features.0", "num_chs": 6},
            {"module": "features.1", "num_chs": 16},
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """float32[N,3,32,32] → float32[N,16,5,5]."""
        out: Tensor = self.features(x)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """float32[N,16,5,5] → float32[N,84]."""
        assert pre_logits
        out: Tensor = self.pre_logits(x)
        return out


def _norm(norm: Norm | None, channels: int) -> list[nn.Module]:
    """One normalization of maps float32[N,C,H,W], by the names of Wu & He 2018, figure 2."""
    if norm is None:
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    # over one channel, half of them, or all of them of an image
    groups = {"instance": channels, "group": 2, "layer": 1}[norm]
    return [nn.GroupNorm(groups, channels)]


class AlexNet(nn.Module):
    """torchvision's AlexNet behind timm's interface; timm itself has none."""

    pretrained_cfg = {  # noqa: RUF012 - timm's own name and form for these facts
        "input_size": (3, 224, 224),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "license": "bsd-3-clause",
    }

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        from torchvision.models import alexnet  # noqa: PLC0415 - only where it is asked for

        net = alexnet(weights=weights)
        self.features, self.avgpool, self.classifier = net.features, net.avgpool, net.classifier
        self.feature_info = [
            {"module": "features.2", "num_chs": 64},
            {"module": "features.5", "num_chs": 192},
            {"module": "features.9", "num_chs": 256},
            {"module": "features.12", "num_chs": 256},
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """float32[N,3,H,W] → float32[N,256,H/32,W/32]."""
        out: Tensor = self.features(x)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps → float32[N,4096], the input of the last layer."""
        assert pre_logits
        out: Tensor = self.classifier[:-1](self.avgpool(x).flatten(1))
        return out

    def get_classifier(self) -> nn.Module:
        """The layer that ends in the 1000 classes of ImageNet."""
        last: nn.Module = self.classifier[-1]
        return last
