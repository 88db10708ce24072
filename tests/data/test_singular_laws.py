"""Laws on curves and surfaces in a space of more dimensions."""

import numpy as np
import pytest

from semigroup.data.singular_laws import (
    circle,
    line_mixture,
    plane_mixture,
    product_law,
    spiral,
    tilted_sphere,
)

LAWS = (line_mixture, plane_mixture, tilted_sphere, circle, spiral, product_law)
every_law = pytest.mark.parametrize("make", LAWS, ids=lambda make: make.__name__)


@every_law
def test_points_lie_in_the_flat_space_of_the_frame_and_come_from_the_seed(make):
    law = make(12, random_state=3)
    points = law.sample(200, 0)
    assert points.shape == (200, law.dim) == (200, 12)
    assert law.off_support(points).max() < 1e-12
    np.testing.assert_allclose(law.frame.T @ law.frame, np.eye(law.frame.shape[1]), atol=1e-12)
    np.testing.assert_array_equal(points, law.sample(200, 0))
    assert np.abs(points - law.sample(200, 1)).max() > 0.1


@every_law
def test_noise_is_isotropic_with_its_standard_deviation(make):
    law = make(12)
    gaps = law.sample(5000, 0, noise=0.3) - law.sample(5000, 0)
    np.testing.assert_allclose(np.cov(gaps.T), 0.09 * np.eye(12), atol=0.01)


def test_an_integer_that_made_the_frame_makes_other_points():
    law = tilted_sphere(20, random_state=5)
    of_the_frame = np.random.default_rng(5).standard_normal((20, 3)) + np.array([0.7, 0, 0])
    of_the_frame /= np.linalg.norm(of_the_frame, axis=1, keepdims=True)
    assert np.linalg.norm(law.sample(20, 5) @ law.frame - of_the_frame, axis=1).max() > 0.1
    np.testing.assert_allclose(law.sample(20, np.random.default_rng(5)) @ law.frame, of_the_frame, atol=1e-12)


def test_line_mixture_has_the_stated_mean_and_variance():
    u = line_mixture(10).sample(100_000, 0) @ line_mixture(10).frame
    assert u.mean() == pytest.approx(-0.4, abs=0.015)
    assert u.var() == pytest.approx(0.84 + 0.0225, abs=0.015)


def test_plane_mixture_has_the_stated_mean():
    law = plane_mixture(20)
    np.testing.assert_allclose((law.sample(100_000, 0) @ law.frame).mean(0), [0.0, -0.4], atol=0.02)


def test_circle_and_sphere_have_radius_one_and_an_uneven_law():
    for law, low in ((circle(7), -0.36), (tilted_sphere(7), 0.3)):
        points = law.sample(50_000, 0) @ law.frame
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
        # E cos(2 pi u + 0.9 sin 2 pi u) = J_1 with the opposite sign; the sphere leans to its first axis.
        assert points[:, 0].mean() * np.sign(low) > abs(low)


def test_spiral_turns_one_and_a_half_times():
    law = spiral(5)
    points = law.sample(5000, 0) @ law.frame
    radius = np.linalg.norm(points, axis=1)
    assert radius.min() == pytest.approx(1 / 3, abs=0.01) and radius.max() == pytest.approx(1, abs=0.01)


def test_product_has_independent_coordinates_on_the_cube():
    law = product_law(9, 3)
    points = law.sample(50_000, 0) @ law.frame
    assert np.abs(points).max() <= 1 + 1e-12
    np.testing.assert_allclose(np.corrcoef(points.T), np.eye(3), atol=0.02)


def test_a_space_too_small_is_refused():
    with pytest.raises(ValueError, match="dim must be >= 3"):
        tilted_sphere(2)
