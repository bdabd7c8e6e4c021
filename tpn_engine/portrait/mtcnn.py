"""The three networks of MTCNN, as facenet-pytorch trained them."""

from __future__ import annotations

from torch import Tensor, nn


class ProposalNet(nn.Module):
    """P-Net: a picture of any size -> face probability and box offsets on a grid of stride 2.

    RGB in [-1, 1], [B, 3, H, W] -> probability [B, h, w], box offsets [B, 4, h, w] in units of
    the 12 px cell. Zhang et al., "Joint Face Detection and Alignment using MTCNN", 2016.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 10, 3),
            nn.PReLU(10),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(10, 16, 3),
            nn.PReLU(16),
            nn.Conv2d(16, 32, 3),
            nn.PReLU(32),
        )
        self.face = nn.Conv2d(32, 2, 1)
        self.box = nn.Conv2d(32, 4, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(image)
        return self.face(features).softmax(dim=1)[:, 1], self.box(features)


class RefineNet(nn.Module):
    """R-Net: candidates [B, 3, 24, 24] in [-1, 1] -> probability [B], box offsets [B, 4] in box sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 28, 3),
            nn.PReLU(28),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(28, 48, 3),
            nn.PReLU(48),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(48, 64, 2),
            nn.PReLU(64),
            nn.Flatten(),
            nn.Linear(576, 128),
            nn.PReLU(128),
        )
        self.face = nn.Linear(128, 2)
        self.box = nn.Linear(128, 4)

    def forward(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(candidates)
        return self.face(features).softmax(dim=1)[:, 1], self.box(features)


class OutputNet(nn.Module):
    """O-Net: candidates [B, 3, 48, 48] in [-1, 1] -> probability [B], box offsets [B, 4], points [B, 2, 5].

    The points (eyes, nose, mouth corners; x row, y row) are in box sizes from the box's corner.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3),
            nn.PReLU(32),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(32, 64, 3),
            nn.PReLU(64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(64, 64, 3),
            nn.PReLU(64),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(64, 128, 2),
            nn.PReLU(128),
            nn.Flatten(),
            nn.Linear(1152, 256),
            nn.PReLU(256),
        )
        self.face = nn.Linear(256, 2)
        self.box = nn.Linear(256, 4)
        self.points = nn.Linear(256, 10)

    def forward(self, candidates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.features(candidates)
        points = self.points(features).reshape(-1, 2, 5)
        return self.face(features).softmax(dim=1)[:, 1], self.box(features), points


class Mtcnn(nn.Module):
    """The cascade's three networks under one state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.proposal = ProposalNet()
        self.refine = RefineNet()
        self.output = OutputNet()
