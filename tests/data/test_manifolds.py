"""Point clouds on known manifolds."""

import numpy as np
import pytest

from semigroup.data.manifolds import bumpy_sphere, clifford_torus, fibonacci_sphere, three_sphere


def test_fibonacci_sphere_is_even():
    points = fibonacci_sphere(400)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.002)
    gaps = np.linalg.norm(points[:, None] - points, axis=2) + 9 * np.eye(400)
    # In a hexagonal packing of the same density the spacing is sqrt(8 pi / (sqrt(3) n)).
    assert gaps.min(axis=1).min() > 0.75 * np.sqrt(8 * np.pi / (np.sqrt(3) * 400))


def test_clifford_torus_is_flat_and_noise_is_seeded():
    points = clifford_torus(6)
    np.testing.assert_allclose((points[:, :2] ** 2).sum(axis=1), 1)
    np.testing.assert_allclose((points[:, 2:] ** 2).sum(axis=1), 1)
    assert np.linalg.matrix_rank(points) == 4
    noisy = clifford_torus(6, noise=0.1, random_state=0)
    np.testing.assert_array_equal(noisy, clifford_torus(6, noise=0.1, random_state=0))
    assert (noisy - points).std() == pytest.approx(0.1, rel=0.2)


def test_three_sphere_is_more_even_than_chance():
    points = three_sphere(200, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    by_chance = np.random.default_rng(0).normal(size=(200, 4))
    by_chance /= np.linalg.norm(by_chance, axis=1, keepdims=True)
    nearest = [(np.linalg.norm(p[:, None] - p, axis=2) + 9 * np.eye(200)).min() for p in (points, by_chance)]
    assert nearest[0] > 3 * nearest[1]


def test_bumpy_sphere_has_bumps_and_even_points():
    points = bumpy_sphere(300)
    radius = np.linalg.norm(points, axis=1)
    assert radius.min() > 0.99 and radius.max() > 1.5
    gaps = (np.linalg.norm(points[:, None] - points, axis=2) + 9 * np.eye(300)).min(axis=1)
    assert gaps.max() < 2 * gaps.min()
