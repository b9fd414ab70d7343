"""Point-E's classifier: features of its own code, and the inception score in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from render.failures import UserError
from training.scores.clouds import Cloud
from training.scores.pointnet2 import PointNet2, classify, inception_score, load_pointnet2
from training.scores.report import score
from training.settings import Scoring

# What `point_e.evals` (commit c26852eb) gives for the weights and clouds below: features 0, 100 and 511 of
# each cloud, the length of the feature vector, and the probabilities of the first two classes.
POINT_E = [
    ([0.03339897, -1.21825910, 0.23478577], 24.0021534, [0.00724839, 0.00347124]),
    ([0.00399485, -1.23000419, 0.25872007], 24.0613403, [0.00743517, 0.00341045]),
    ([0.02386137, -1.19444585, 0.18591264], 23.7438259, [0.00840853, 0.00356285]),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like Point-E's, of random weights."""
    rng, state = np.random.default_rng(0), {}
    for name, value in sorted(PointNet2().state_dict().items()):
        shape = tuple(value.shape)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
            continue
        drawn = rng.normal(size=shape)
        if name.endswith("running_var"):
            drawn = np.exp(drawn / 4)
        elif name.endswith("weight") and len(shape) > 1:
            drawn = drawn * np.sqrt(2 / np.prod(shape[1:]))
        else:
            drawn = drawn / 10 + name.endswith("weight")
        state[name] = torch.from_numpy(np.asarray(drawn, np.float32))
    path = tmp_path_factory.mktemp("point-e") / "pointnet.pt"
    torch.save({"model_state_dict": state}, path)
    return path


def some_clouds() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=(3, 600, 3)) * rng.uniform(0.2, 1, (3, 1, 3))


def test_features_are_those_of_point_e(weights: Path):
    features, probabilities = classify(load_pointnet2(weights), some_clouds(), batch=2)
    for i, (some, length, classes) in enumerate(POINT_E):
        np.testing.assert_allclose(features[i, [0, 100, 511]], some, atol=1e-3)
        assert np.linalg.norm(features[i]) == pytest.approx(length, rel=1e-4)
        np.testing.assert_allclose(probabilities[i, :2], classes, rtol=1e-3)


def test_inception_score_of_sure_and_of_unsure_classes():
    assert inception_score(np.eye(8)) == pytest.approx(8)
    assert inception_score(np.full((5, 8), 1 / 8)) == pytest.approx(1)
    assert inception_score(np.repeat(np.eye(4), [5000, 0, 2500, 2500], axis=0)) == pytest.approx((1 + 2) / 2)


def test_scores_of_sets_with_the_weights(weights: Path):
    true = [Cloud(f"{i}", cloud, None) for i, cloud in enumerate(np.concatenate([some_clouds()] * 2))]
    found = score(true, true, Scoring(pointnet2=weights, set_points=64, score_points=64))
    assert found["P-FID"].value == pytest.approx(0, abs=1e-3)
    assert found["P-FID"].ceiling > 1
    assert found["P-IS"].value == found["P-IS"].floor


def test_another_file_is_refused(tmp_path: Path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: not the weights of Point-E"):
        load_pointnet2(tmp_path / "other.pt")
