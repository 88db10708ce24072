"""Farthest point sampling."""

import numpy as np
import pytest

from semigroup.operators import diameter, farthest_points


def test_each_point_is_the_farthest_from_those_before_it():
    points = np.random.default_rng(0).normal(size=(60, 3))
    index, distance = farthest_points(points, 20)
    for k in range(1, 20):
        to_chosen = np.linalg.norm(points[:, None] - points[index[:k]], axis=2).min(axis=1)
        assert to_chosen.max() == pytest.approx(distance[k])
        assert to_chosen[index[k]] == pytest.approx(distance[k])


def test_spacing_covers_the_cloud_and_keeps_the_chosen_points_apart():
    points = np.random.default_rng(1).uniform(size=(500, 2))
    index, distance = farthest_points(points, spacing=0.1)
    gaps = np.linalg.norm(points[:, None] - points[index], axis=2)
    assert gaps.min(axis=1).max() < 0.1 * diameter(points) <= distance[-1]
    chosen = gaps[index] + np.diag(np.full(len(index), np.inf))
    assert chosen.min() == pytest.approx(distance[-1])


def test_copies_of_a_point_are_left_out():
    points = np.array([[0.0], [1.0], [0.0], [1.0]])
    assert farthest_points(points)[0].tolist() == [0, 1]


def test_diameter_is_the_largest_distance():
    points = np.random.default_rng(2).normal(size=(50, 4))
    assert diameter(points) == pytest.approx(np.linalg.norm(points[:, None] - points, axis=2).max())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n_points": 4}, "n_points"),
        ({"n_points": 0}, "n_points"),
        ({"spacing": 1.0}, "spacing"),
        ({"spacing": -1}, "spacing"),
    ],
)
def test_impossible_samples_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        farthest_points(np.eye(3), **arguments)
