"""Point-E's classifier of ModelNet40, a PointNet++ (Qi et al. 2017, arXiv:1706.02413), for P-FID and P-IS.

It loads `pointnet.pt` of https://github.com/openai/point-e (`point_e/evals`, MIT), which is not in this
repository. In that code the farthest-point sample begins at the point whose index is the cloud's place in
its batch of 64, so features depend on the order of the clouds: this does the same, in smaller batches.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from render.failures import UserError
from training.networks.torch_files import load_tensors

POINTS = 4096
"""Points per cloud of the published figures."""
BATCH = 64
"""Clouds per batch of the published figures."""
FEATURES, CLASSES = 512, 40
SPLIT = 5000
"""Clouds per part of the inception score."""


class SetAbstraction(nn.Module):
    """Neighborhoods of a farthest-point sample of the cloud, each as features; or the whole cloud as one."""

    def __init__(self, channels: tuple[int, ...], centers: int = 0, radius: float = 0.0, most: int = 0):
        super().__init__()
        pairs = list(pairwise(channels))
        self.mlp_convs = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairs)
        self.mlp_bns = nn.ModuleList(nn.BatchNorm2d(b) for _, b in pairs)
        self.centers, self.radius, self.most = centers, radius, most

    def forward(self, xyz: Tensor, features: Tensor | None, starts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 3), (B, N, F) and (B,) int64 -> centers (B, S, 3) and their features (B, S, G)."""
        if self.centers:
            centers = _take(xyz, farthest(xyz, self.centers, starts))
            near = neighbors(xyz, centers, self.radius, self.most)
            offsets = _take(xyz, near) - centers[:, :, None]
        else:
            centers, near = xyz.new_zeros(len(xyz), 1, 3), None
            offsets = xyz[:, None]
        if features is not None:
            around = features[:, None] if near is None else _take(features, near)
            offsets = torch.cat([offsets, around], -1)
        x = offsets.permute(0, 3, 2, 1)  # (B, channels, neighbors, S)
        for convolution, norm in zip(self.mlp_convs, self.mlp_bns, strict=True):
            x = torch.relu(norm(convolution(x)))
        return centers, x.amax(2).transpose(1, 2)


class PointNet2(nn.Module):
    """Clouds (B, N, 3), centered, in the unit ball -> features (B, 512) and class logits (B, 40)."""

    def __init__(self) -> None:
        super().__init__()
        self.sa1 = SetAbstraction((3, 128, 128, 256), 512, 0.2, 32)
        self.sa2 = SetAbstraction((259, 256, 256, 512), 128, 0.4, 64)
        self.sa3 = SetAbstraction((515, 512, 1024, 2048))
        self.fc1, self.bn1 = nn.Linear(2048, 1024), nn.BatchNorm1d(1024)
        self.fc2, self.bn2 = nn.Linear(1024, FEATURES), nn.BatchNorm1d(FEATURES)
        self.fc3 = nn.Linear(FEATURES, CLASSES)

    def forward(self, clouds: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """`starts`: (B,) int64, the point of each cloud at which its farthest-point samples begin."""
        xyz, x = self.sa1(clouds, None, starts)
        xyz, x = self.sa2(xyz, x, starts)
        _, x = self.sa3(xyz, x, starts)
        features = self.bn2(self.fc2(torch.relu(self.bn1(self.fc1(x[:, 0])))))
        return features, self.fc3(torch.relu(features))


def load_pointnet2(path: Path) -> PointNet2:
    """The classifier with the file's weights. UserError if it is another file."""
    network, state = PointNet2(), load_tensors(path)
    try:
        network.load_state_dict(state["model_state_dict"])
    except Exception as error:  # torch raises whatever the tensors lead to
        raise UserError(f"{path}: not the weights of Point-E's classifier. Give its pointnet.pt.") from error
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def classify(network: PointNet2, clouds: np.ndarray, batch: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """(B, N, 3) in order -> features (B, 512) float32 and class probabilities (B, 40) float32."""
    starts = torch.arange(len(clouds)) % BATCH
    parts = zip(_as_input(clouds).split(batch), starts.split(batch), strict=True)
    features, logits = zip(*(network(part, start) for part, start in parts), strict=True)
    return torch.cat(features).numpy(), torch.cat(logits).softmax(1).numpy()


def inception_score(probabilities: np.ndarray) -> float:
    """P-IS of class probabilities (B, C): exp of the mean KL divergence from their mean, over parts of 5,000.

    Salimans et al. 2016, arXiv:1606.03498, section 4. At most the number of classes.
    """
    scores = []
    for first in range(0, len(probabilities), SPLIT):
        part = np.maximum(probabilities[first : first + SPLIT].astype(float), 1e-30)
        scores.append(np.exp((part * np.log(part / part.mean(0))).sum(1).mean()))
    return float(np.mean(scores))


def farthest(xyz: Tensor, count: int, starts: Tensor) -> Tensor:
    """(B, N, 3) and first points (B,) int64 -> indices (B, count) int64, each farthest from those before."""
    chosen = torch.empty(len(xyz), count, dtype=torch.int64)
    gaps, place, rows = xyz.new_full(xyz.shape[:2], 1e10), starts, torch.arange(len(xyz))
    for i in range(count):
        chosen[:, i] = place
        gaps = torch.minimum(gaps, ((xyz - xyz[rows, place][:, None]) ** 2).sum(-1))
        place = gaps.argmax(1)
    return chosen


def neighbors(xyz: Tensor, centers: Tensor, radius: float, most: int) -> Tensor:
    """Indices (B, S, most) int64 of the first points within the radius; the first one fills the rest."""
    squares = -2 * centers @ xyz.mT + (centers**2).sum(-1)[:, :, None] + (xyz**2).sum(-1)[:, None]
    count = xyz.shape[1]
    order = torch.where(squares > radius**2, count, torch.arange(count))
    first = order.topk(min(most, count), largest=False, sorted=True).values
    return torch.where(first == count, first[..., :1], first)


def _take(values: Tensor, places: Tensor) -> Tensor:
    """(B, N, C) at (B, ...) int64 -> (B, ..., C)."""
    rows = torch.arange(len(values)).view(-1, *[1] * (places.ndim - 1))
    return values[rows, places]


def _as_input(clouds: np.ndarray) -> Tensor:
    """(B, N, 3), centered, in the unit ball, float32; not turned, as Point-E's clouds have z up too."""
    centered = clouds - clouds.mean(1, keepdims=True)
    reach = np.linalg.norm(centered, axis=2).max(1)[:, None, None]
    return torch.from_numpy(np.asarray(centered / np.maximum(reach, 1e-9), np.float32))
