"""Point clouds on known manifolds."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from semigroup.data.manifolds import (
    branching_tree,
    bumpy_sphere,
    clifford_torus,
    fibonacci_sphere,
    swiss_roll,
    three_sphere,
)
from semigroup.operators import shortest_path_distances


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


def test_geodesics_of_the_roll_are_the_shortest_paths_of_many_points():
    roll = swiss_roll(1500, noise=0.0, random_state=0)
    walked = shortest_path_distances(roll.points, 12)
    far = roll.geodesics > 5
    ratio = walked[far] / roll.geodesics[far]
    # A path over edges is longer than the geodesic but for the chords of the bent sheet, which are shorter.
    assert ratio.min() > 0.98 and ratio.max() < 1.25 and abs(np.median(ratio) - 1) < 0.05


def test_rotation_into_more_dimensions_keeps_distances_and_noise_has_its_size():
    roll = swiss_roll(300, n_features=10, noise=0.5, random_state=1)
    flat = swiss_roll(300, noise=0.5, random_state=1)
    assert np.linalg.matrix_rank(roll.clean) == 3
    np.testing.assert_allclose(pdist(roll.clean), pdist(flat.clean), rtol=1e-10)
    assert np.std(roll.points - roll.clean) == pytest.approx(0.5, rel=0.05)


def test_clusters_of_the_roll_are_apart_along_it():
    roll = swiss_roll(400, clustered=True, random_state=0)
    assert list(np.bincount(roll.labels)) == [200, 200]
    assert np.median(roll.position[roll.labels == 1]) > np.percentile(roll.position[roll.labels == 0], 95)


def test_branches_of_the_tree_start_on_the_first_and_are_farther_apart_the_longer_they_grow():
    tree = branching_tree(4, 80, noise=0.0, random_state=0)
    distance = squareform(pdist(tree.clean))
    for branch in (1, 2, 3):
        root = 80 * branch
        assert distance[root, :80].min() <= np.sqrt(10)  # one step from a point of the first branch
        assert tree.position[root] < 80
        assert tree.geodesics[root, root + 79] > 5 * tree.geodesics[root, root + 3]
    assert np.array_equal(tree.points, tree.clean)
    assert (tree.geodesics >= distance - 1e-9).all()


def test_same_seed_gives_the_same_sample():
    for make in (swiss_roll, branching_tree):
        np.testing.assert_array_equal(make(random_state=3).points, make(random_state=3).points)


@pytest.mark.parametrize(("argument", "value"), [("n_samples", 1), ("n_features", 2), ("noise", -1.0)])
def test_bad_arguments_of_the_roll_are_named(argument, value):
    with pytest.raises(ValueError, match=argument):
        swiss_roll(**{argument: value})
