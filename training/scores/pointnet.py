"""A PointNet classifier of ModelNet40 (Qi et al. 2017, arXiv:1612.00593), whose features stand for clouds.

It loads the file `pointnet_modelnet40.t7` of https://github.com/vinits5/learning3d (MIT), which is not in
this repository. Distances on its features are not the published P-FID, whose classifier is another.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from render.failures import UserError
from training.networks.torch_files import load_tensors

POINTS = 1024
WIDTHS = (3, 64, 64, 64, 128, 1024)


class PointNet(nn.Module):
    """Clouds (B, N, 3), y up, centered, in the unit ball -> features (B, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_model = nn.Module()
        for i in range(1, len(WIDTHS)):
            self.feature_model.add_module(f"conv{i}", nn.Conv1d(WIDTHS[i - 1], WIDTHS[i], 1))
            self.feature_model.add_module(f"bn{i}", nn.BatchNorm1d(WIDTHS[i]))
        self.linear1, self.bn1 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.linear2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.linear3 = nn.Linear(256, 40)

    def forward(self, clouds: Tensor) -> Tensor:
        """(B, N, 3) -> (B, 256)."""
        x, layers = clouds.transpose(1, 2), dict(self.feature_model.named_children())
        for i in range(1, len(WIDTHS)):
            x = torch.relu(layers[f"bn{i}"](layers[f"conv{i}"](x)))
        x = torch.relu(self.bn1(self.linear1(x.amax(2))))
        return torch.relu(self.bn2(self.linear2(x)))

    def classify(self, clouds: Tensor) -> Tensor:
        """(B, N, 3) -> (B, 40), the classes of ModelNet40 in alphabetical order."""
        return self.linear3(self(clouds))


def load_pointnet(path: Path) -> PointNet:
    """The classifier with the file's weights. UserError if it is another file."""
    network, state = PointNet(), load_tensors(path)
    try:
        network.load_state_dict(state)
    except Exception as error:  # torch raises whatever the bytes lead to
        raise UserError(f"{path}: not the weights of this PointNet. Give pointnet_modelnet40.t7.") from error
    return network.eval().requires_grad_(False)


def as_input(clouds: np.ndarray) -> Tensor:
    """(B, N, 3) with z up -> (B, N, 3) float32 with y up, centered, in the unit ball."""
    upright = np.stack([clouds[..., 0], clouds[..., 2], -clouds[..., 1]], -1)
    centered = upright - upright.mean(1, keepdims=True)
    reach = np.linalg.norm(centered, axis=2).max(1)[:, None, None]
    return torch.from_numpy(np.asarray(centered / np.maximum(reach, 1e-9), np.float32))


@torch.inference_mode()
def features(network: PointNet, clouds: np.ndarray, batch: int = 64) -> np.ndarray:
    """(B, N, 3) with z up -> (B, 256) float32."""
    return torch.cat([network(part) for part in as_input(clouds).split(batch)]).numpy()
