"""Exact fields of Gaussian mixtures against automatic differentiation, Monte Carlo and the continuity equation."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from semigroup.densities import GaussianMixture, MixturePath, PathCoefficients
from semigroup.sde import divergence, solve_ode_with_divergence

F64 = torch.float64


@pytest.fixture
def mixture():
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((3, 2, 2))
    return GaussianMixture(
        [1, 2, 3], rng.standard_normal((3, 2)) * 2, roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(2)
    )


def brownian(t):
    return PathCoefficients(1 - t, t, math.sqrt(t * (1 - t)), -1.0, 1.0, (1 - 2 * t) / 2)


def test_log_density_is_that_of_scipy(mixture):
    x = np.random.default_rng(1).standard_normal((20, 2)) * 3
    parts = [
        w * multivariate_normal(m, C).pdf(x)
        for w, m, C in zip(mixture.weights.numpy(), mixture.means.numpy(), mixture.covariances.numpy())
    ]
    assert np.allclose(mixture.log_prob(torch.as_tensor(x)), np.log(sum(parts)), rtol=1e-10)


def test_log_density_far_away_does_not_underflow(mixture):
    x = torch.full((1, 2), 1e4, dtype=F64)
    assert mixture.log_prob(x).item() < -1e5
    assert torch.isfinite(mixture.score(x)).all()


def test_score_is_the_gradient_of_the_log_density(mixture):
    x = torch.randn(30, 2, dtype=F64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    assert torch.allclose(mixture.score(x), gradient, atol=1e-10)


def test_samples_have_the_mixtures_moments_and_components(mixture):
    x, component = mixture.sample_with_components(200_000, torch.Generator().manual_seed(3))
    mean = mixture.weights @ mixture.means
    spread = mixture.covariances + (mixture.means - mean)[:, :, None] * (mixture.means - mean)[:, None, :]
    assert torch.allclose(x.mean(0), mean, atol=0.03)
    assert torch.allclose(x.T.cov(), torch.einsum("k,kde->de", mixture.weights, spread), rtol=0.03, atol=0.03)
    assert torch.allclose(torch.bincount(component) / len(x), mixture.weights.float(), atol=0.01)
    assert torch.allclose(x[component == 1].T.cov(), mixture.covariances[1], rtol=0.05, atol=0.03)


def test_denoiser_is_tweedies_formula_and_the_best_predictor(mixture):
    generator = torch.Generator().manual_seed(4)
    x0, scale, std = mixture.sample(200_000, generator), 0.7, 0.9
    x = scale * x0 + std * torch.randn(x0.shape, dtype=F64, generator=generator)
    guess = mixture.denoise(x, scale, std)
    assert torch.allclose(guess, (x + std**2 * mixture.diffuse(scale, std).score(x)) / scale, atol=1e-9)
    # The residual of a conditional mean is uncorrelated with every function of x.
    for test in (x[:, 0], x[:, 1] ** 2, torch.sin(x[:, 0] * x[:, 1])):
        moments = (x0 - guess) * test[:, None]
        assert (moments.mean(0).abs() < 4.5 * moments.std(0) / math.sqrt(len(x))).all()


def test_denoiser_of_atoms_is_their_posterior_mean():
    atoms = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=F64)
    mixture = GaussianMixture([0.25, 0.75], atoms, [0.0, 0.0])
    x = torch.tensor([[0.4, 0.1]], dtype=F64)
    weights = torch.tensor([0.25, 0.75], dtype=F64) * torch.exp(-((x - atoms) ** 2).sum(1) / (2 * 0.5**2))
    assert torch.allclose(mixture.denoise(x, 1.0, 0.5), weights @ atoms / weights.sum())
    with pytest.raises(ValueError, match="no density"):
        mixture.log_prob(x)


def test_path_ends_in_its_two_laws(mixture):
    source = GaussianMixture([1.0], [[0.0, 0.0]], [1.0])
    path = MixturePath(source, mixture, brownian)
    x = torch.randn(10, 2, dtype=F64, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(path.log_prob(x, 0.0), source.log_prob(x))
    assert torch.allclose(path.log_prob(x, 1.0), mixture.log_prob(x))


def test_velocity_solves_the_continuity_equation(mixture):
    path = MixturePath(GaussianMixture([1, 1], [[-1.0, 0.0], [1.0, 0.5]], [0.3, 0.6]), mixture, brownian)
    x = torch.randn(20, 2, dtype=F64, generator=torch.Generator().manual_seed(6))
    for t in (0.2, 0.5, 0.9):
        rate = (path.log_prob(x, t + 1e-5) - path.log_prob(x, t - 1e-5)) / 2e-5
        velocity, trace = divergence(lambda x: path.velocity(x, t), x)  # noqa: B023
        assert torch.allclose(rate, -trace - (velocity * path.score(x, t)).sum(1), atol=1e-6)


def test_flow_of_the_velocity_carries_the_density(mixture):
    source = GaussianMixture([1.0], [[0.0, 0.0]], [1.0])
    path = MixturePath(source, mixture, brownian)
    x0 = source.sample(20, torch.Generator().manual_seed(7))
    carried, integral = solve_ode_with_divergence(path.velocity, x0, [0.0, 0.5, 0.999], rtol=1e-8, atol=1e-8)
    for i, t in ((1, 0.5), (2, 0.999)):
        assert torch.allclose(source.log_prob(x0) - integral[:, i], path.log_prob(carried[:, i], t), atol=1e-5)


def test_velocity_and_score_come_together(mixture):
    path = MixturePath(GaussianMixture([1.0], [[0.0, 0.0]], [1.0]), mixture, brownian)
    x = torch.randn(10, 2, dtype=F64, generator=torch.Generator().manual_seed(9))
    velocity, score = path.velocity_and_score(x, 0.4)
    assert torch.equal(velocity, path.velocity(x, 0.4)) and torch.equal(score, path.score(x, 0.4))


def test_diagonal_covariances_are_treated_as_the_same_mixture_turned():
    """Coordinate axes need no turning; a mixture turned away from them takes the general way to the same numbers."""
    angle = torch.tensor(0.7, dtype=F64)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    parts = [
        ([1.0, 2.0], torch.tensor([[-1.0, 0.5], [2.0, 1.0]], dtype=F64), torch.tensor([[0.2, 0.7], [1.0, 1.5]])),
        ([1.0, 1.0], torch.tensor([[0.0, 3.0], [1.0, -2.0]], dtype=F64), torch.tensor([[0.3, 0.3], [0.4, 2.0]])),
    ]
    straight = [GaussianMixture(w, m, torch.diag_embed(v.double())) for w, m, v in parts]
    turned = [GaussianMixture(w, m @ turn.T, turn @ torch.diag_embed(v.double()) @ turn.T) for w, m, v in parts]
    x = 2 * torch.randn(30, 2, dtype=F64, generator=torch.Generator().manual_seed(10))
    first, second = MixturePath(*straight, brownian), MixturePath(*turned, brownian)
    for t in (0.0, 0.3, 1.0):
        assert torch.allclose(first.velocity(x, t) @ turn.T, second.velocity(x @ turn.T, t), atol=1e-10)
        assert torch.allclose(first.score(x, t) @ turn.T, second.score(x @ turn.T, t), atol=1e-10)
        assert torch.allclose(first.log_prob(x, t), second.log_prob(x @ turn.T, t), atol=1e-10)
    ours, other = straight[0].denoise(x, 0.7, 0.4), turned[0].denoise(x @ turn.T, 0.7, 0.4)
    assert torch.allclose(ours @ turn.T, other, atol=1e-10)
    assert torch.allclose(straight[0].covariances, torch.diag_embed(parts[0][2].double()), atol=1e-12)


def test_denoiser_of_a_path_is_minus_gamma_times_its_score(mixture):
    path = MixturePath(mixture, mixture, brownian)
    generator, t = torch.Generator().manual_seed(8), 0.3
    x0, x1 = mixture.sample(100_000, generator), mixture.sample(100_000, generator)
    z = torch.randn(x0.shape, dtype=F64, generator=generator)
    x = (1 - t) * x0 + t * x1 + math.sqrt(t * (1 - t)) * z
    moments = (z - path.denoiser(x, t)) * torch.cos(x)
    assert (moments.mean(0).abs() < 4.5 * moments.std(0) / math.sqrt(len(x))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [[0.0], [1.0]], [1.0, 1.0]), "weights must be 2 positive"),
        (([1.0, -1.0], [[0.0], [1.0]], [1.0, 1.0]), "weights must be 2 positive"),
        (([1.0], [[0.0, 0.0]], np.ones((1, 3, 3))), "covariances must have shape"),
        (([1.0], [[0.0, 0.0]], np.array([[[1.0, 2.0], [2.0, 1.0]]])), "covariances must be symmetric"),
        (([1.0], [[0.0, 0.0]], np.array([[[1.0, 0.5], [0.0, 1.0]]])), "covariances must be symmetric"),
        (([1.0], np.array([[np.nan]]), [1.0]), "means holds NaN"),
    ],
)
def test_impossible_mixtures_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(*arguments)


def test_a_path_needs_one_dimension():
    with pytest.raises(ValueError, match="target must have the source's dimension"):
        MixturePath(GaussianMixture([1.0], [[0.0]], [1.0]), GaussianMixture([1.0], [[0.0, 0.0]], [1.0]), brownian)
