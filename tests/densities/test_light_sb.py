"""The light Schrödinger bridge: closed forms, learning, bad input, storage."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from semigroup.data.bridges import mixture_bridge, swiss_roll
from semigroup.data.cells import cite_cells_excerpt
from semigroup.densities import LightSB, energy_distance
from semigroup.densities.light_sb import (
    LightPotential,
    Potential,
    component_logits,
    conditional_covariance,
    conditional_mean,
    drift,
    kl_loss,
    log_conditional,
    log_normalizer,
    log_potential,
    matching_loss,
    sample_conditional,
)
from semigroup.jobs import Context
from semigroup.jobs.light_sb import perform, read
from semigroup.report.figures import save_png

COVARIANCES = ("scalar", "diagonal", "full")


def random_potential(rng, covariance="full", n_components=3, dim=2, epsilon=0.7):
    variances = np.exp(rng.uniform(-1, 1, (n_components, dim)))
    if covariance == "scalar":
        variances[:] = variances[:, :1]
    rotations = np.linalg.qr(rng.standard_normal((n_components, dim, dim)))[0]
    return Potential(
        torch.from_numpy(rng.standard_normal(n_components)),
        torch.from_numpy(rng.standard_normal((n_components, dim))),
        torch.from_numpy(variances),
        torch.from_numpy(rotations) if covariance == "full" else None,
        epsilon,
    )


def dense(potential):
    """The S_k as full matrices, by numpy."""
    if potential.rotations is None:
        return np.stack([np.diag(row) for row in potential.variances.numpy()])
    Q = potential.rotations.numpy()
    return np.stack([q @ np.diag(s) @ q.T for q, s in zip(Q, potential.variances.numpy())])


def plan_of_truth(truth):
    """The true plan written as a potential: S = P / epsilon, r = P inv(covariance) mean."""
    P = truth.plan_covariances
    values, vectors = np.linalg.eigh(P / truth.epsilon)
    r = np.einsum("nde,nef,nf->nd", P, np.linalg.inv(truth.covariances), truth.means)
    # At x0 = 0 the terms of c are the alpha, so that the weights there are the alpha up to a factor.
    weights = truth.plan(np.zeros((1, truth.means.shape[1])))[0][0]
    return Potential(*map(torch.from_numpy, (np.log(weights), r, values, vectors)), epsilon=truth.epsilon)


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(0)
    return rng.standard_normal((400, 2)), rng.standard_normal((300, 2)) * 0.5 + [3.0, 0.0]


@pytest.fixture(scope="module")
def bridge(clouds):
    return LightSB(n_components=5, epsilon=0.5, max_steps=400, random_state=0).fit(*clouds)


# --- mathematics ---


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_potential_is_the_weighted_sum_of_gaussian_densities(covariance):
    rng = np.random.default_rng(1)
    p, x = random_potential(rng, covariance), rng.standard_normal((5, 2))
    expected = sum(
        np.exp(a) * multivariate_normal(r, p.epsilon * S).pdf(x)
        for a, r, S in zip(p.log_weights.numpy(), p.centers.numpy(), dense(p))
    )
    np.testing.assert_allclose(log_potential(p, torch.from_numpy(x)).exp(), expected, rtol=1e-12)


def test_normalizer_is_the_integral_of_the_tilted_potential():
    p = random_potential(np.random.default_rng(2), "diagonal", dim=1)
    for x0 in (-1.3, 0.4):
        integral, _ = quad(
            lambda y, x0=x0: math.exp(x0 * y / p.epsilon + log_potential(p, torch.tensor([[y]], dtype=torch.float64))),
            -25,
            25,
            points=[0.0],
            limit=200,
        )
        assert math.isclose(
            math.exp(log_normalizer(p, torch.tensor([[x0]], dtype=torch.float64))), integral, rel_tol=1e-9
        )


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_conditional_density_is_the_mixture_with_means_r_plus_s_x0(covariance):
    rng = np.random.default_rng(3)
    p = random_potential(rng, covariance)
    x0, x1 = rng.standard_normal((4, 2)), rng.standard_normal((4, 2))
    weights = torch.softmax(component_logits(p, torch.from_numpy(x0)), dim=1).numpy()
    expected = [
        math.log(
            sum(
                w * multivariate_normal(r + S @ a, p.epsilon * S).pdf(b)
                for w, r, S in zip(row, p.centers.numpy(), dense(p))
            )
        )
        for row, a, b in zip(weights, x0, x1)
    ]
    np.testing.assert_allclose(log_conditional(p, torch.from_numpy(x0), torch.from_numpy(x1)), expected, rtol=1e-11)


@pytest.mark.parametrize("covariance", COVARIANCES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), t=st.floats(0, 0.99))
def test_drift_is_epsilon_times_the_gradient_of_the_log_of_the_smoothed_potential(covariance, seed, t):
    """The formula of the paper, whose terms grow like 1 / (1 - t), differentiated by autograd."""
    rng = np.random.default_rng(seed)
    p = random_potential(rng, covariance)
    x = torch.from_numpy(rng.standard_normal((3, 2))).requires_grad_()
    S_inv = torch.from_numpy(np.linalg.inv(dense(p)))
    A = t / (p.epsilon * (1 - t)) * torch.eye(2, dtype=torch.float64) + S_inv / p.epsilon
    h = x[:, None, :] / (p.epsilon * (1 - t)) + torch.einsum("kde,ke->kd", S_inv, p.centers) / p.epsilon
    logits = (
        p.log_weights
        + (torch.logdet(S_inv) - torch.logdet(A)) / 2
        - torch.einsum("kd,kde,ke->k", p.centers, S_inv, p.centers) / (2 * p.epsilon)
        + torch.einsum("bkd,kde,bke->bk", h, torch.linalg.inv(A), h) / 2
    )
    total = (torch.logsumexp(logits, dim=1) - x.square().sum(1) / (2 * p.epsilon * (1 - t))).sum()
    expected = p.epsilon * torch.autograd.grad(total, x)[0]
    got = drift(p, x.detach(), torch.tensor(t, dtype=torch.float64))
    np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_drift_with_one_time_a_row_equals_drift_row_by_row(covariance):
    rng = np.random.default_rng(4)
    p, x = random_potential(rng, covariance), torch.from_numpy(rng.standard_normal((4, 2)))
    times = torch.tensor([0.0, 0.3, 0.9, 0.999], dtype=torch.float64)
    rows = torch.cat([drift(p, row[None], t) for row, t in zip(x, times)])
    torch.testing.assert_close(drift(p, x, times), rows)


def test_drift_stays_accurate_up_to_the_end_of_the_interval():
    """For one component the bridge is Gaussian and its drift at the end is x - inv(S) (x - r)."""
    p = random_potential(np.random.default_rng(5), n_components=1)
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = x - torch.from_numpy((x.numpy() - p.centers.numpy()) @ np.linalg.inv(dense(p)[0]))
    torch.testing.assert_close(
        drift(p, x, torch.tensor(1 - 1e-12, dtype=torch.float64)), expected, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_draws_of_the_plan_have_its_mean_and_covariance(covariance):
    p = random_potential(np.random.default_rng(6), covariance)
    x0 = torch.tensor([[0.5, -0.2]], dtype=torch.float64)
    n = 200_000
    drawn = sample_conditional(p, x0.expand(2, 2), torch.Generator().manual_seed(0), n // 2).reshape(n, 2)
    cov = conditional_covariance(p, x0)[0]
    error = (drawn.mean(0) - conditional_mean(p, x0)[0]).abs() / (cov.diagonal() / n).sqrt()
    assert error.max() < 4.5
    np.testing.assert_allclose(torch.cov(drawn.T), cov, atol=0.02 * cov.diagonal().max())


def test_conditional_mean_is_the_weighted_mean_of_the_components():
    rng = np.random.default_rng(7)
    p, x0 = random_potential(rng), rng.standard_normal((4, 2))
    w = torch.softmax(component_logits(p, torch.from_numpy(x0)), dim=1).numpy()
    expected = np.einsum("bk,bkd->bd", w, p.centers.numpy() + np.einsum("kde,be->bkd", dense(p), x0))
    np.testing.assert_allclose(conditional_mean(p, torch.from_numpy(x0)), expected, rtol=1e-12)


def test_the_true_plan_of_the_simulator_lies_in_the_model_class():
    truth = mixture_bridge(3, 0.4, random_state=0)
    rng = np.random.default_rng(8)
    x0 = truth.sample_source(20, rng)
    x1 = truth.sample_plan(x0, rng)
    potential = plan_of_truth(truth)
    tensors = torch.from_numpy(x0), torch.from_numpy(x1)
    np.testing.assert_allclose(log_conditional(potential, *tensors), truth.log_plan(x0, x1), rtol=1e-9, atol=1e-9)
    mean, covariance = truth.plan_moments(x0)
    np.testing.assert_allclose(conditional_mean(potential, tensors[0]), mean, rtol=1e-9)
    np.testing.assert_allclose(conditional_covariance(potential, tensors[0]), covariance, rtol=1e-8, atol=1e-10)


def test_loss_on_unpaired_samples_differs_by_the_kl_divergence():
    """L(other) - L(true) from unpaired rows is the mean of log(pi_true / pi_other) over the true pairs."""
    truth = mixture_bridge(2, 1.0, random_state=0)
    true = plan_of_truth(truth)
    other = Potential(true.log_weights, true.centers + 0.2, 1.2 * true.variances, true.rotations, true.epsilon)
    rng = np.random.default_rng(9)
    n = 100_000
    x0 = torch.from_numpy(truth.sample_source(n, rng))
    x1 = torch.from_numpy(truth.sample_target(n, rng))
    per_source = log_normalizer(other, x0) - log_normalizer(true, x0)
    per_target = log_potential(other, x1) - log_potential(true, x1)
    paired = torch.from_numpy(truth.sample_plan(x0.numpy(), rng))
    ratio = log_conditional(true, x0, paired) - log_conditional(other, x0, paired)
    from_losses = kl_loss(other, x0, x1) - kl_loss(true, x0, x1)
    error = ((per_source.var() + per_target.var() + ratio.var()) / n).sqrt()
    assert ratio.mean() > 0.03
    assert abs(from_losses - ratio.mean()) < 4 * error


def test_matching_loss_is_least_at_the_true_bridge():
    truth = mixture_bridge(2, 1.0, random_state=0)
    true = plan_of_truth(truth)
    rng = np.random.default_rng(10)
    x0, x1 = (torch.from_numpy(rows) for rows in (truth.sample_source(50_000, rng), truth.sample_target(50_000, rng)))

    def loss(potential):
        return matching_loss(potential, x0, x1, torch.Generator().manual_seed(0)).item()

    others = (
        Potential(true.log_weights, true.centers + 0.3, true.variances, true.rotations, 1.0),
        Potential(true.log_weights, true.centers, 1.5 * true.variances, true.rotations, 1.0),
        Potential(true.log_weights * 0, true.centers, true.variances, true.rotations, 1.0),
    )
    assert all(loss(other) > loss(true) + 1e-3 for other in others)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_trainable_potential_starts_where_it_is_told_and_full_ones_stay_positive_definite(covariance):
    p = random_potential(np.random.default_rng(11), covariance)
    network = LightPotential(p, covariance)
    x = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(log_potential(network(), x), log_potential(p, x))
    if covariance == "full":
        with torch.no_grad():
            network.skew += 3.0
        Q = network().rotations
        torch.testing.assert_close(Q @ Q.mT, torch.eye(2, dtype=torch.float64).expand(3, 2, 2))


# --- learning ---


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"covariance": "diagonal"}, 0.05),
        ({"covariance": "full"}, 0.05),
        ({"covariance": "scalar"}, 0.05),
        ({"loss": "matching"}, 0.15),
        ({"loss": "matching", "coupling": "minibatch", "batch_size": 128, "max_steps": 600}, 0.15),
    ],
    ids=str,
)
def test_every_variant_learns_the_known_plan_between_two_gaussians(options, limit):
    """From N(0, I) to N(m, s^2 I) the plan is Gaussian: slope b with b^2 + epsilon b = s^2, covariance epsilon b."""
    rng = np.random.default_rng(12)
    mean, s, epsilon = np.array([2.0, -1.0]), 0.8, 0.5
    X0 = rng.standard_normal((4000, 2))
    X1 = mean + s * rng.standard_normal((4000, 2))
    b = (-epsilon + math.sqrt(epsilon**2 + 4 * s**2)) / 2
    # cov(x1) = b^2 + epsilon b holds for S = b: x1 = m + b x0 + sqrt(epsilon b) noise.
    assert math.isclose(b**2 + epsilon * b, s**2)
    # Large batches in few steps: at this size a step costs the same for any batch.
    training = {"batch_size": 1024, "initial_variance": 0.3, "max_steps": 800}
    bridge = LightSB(**{"n_components": 1, "epsilon": epsilon, "random_state": 0, **training, **options}).fit(X0, X1)
    points = rng.standard_normal((50, 2))
    assert np.abs(bridge.transport_mean(points) - (mean + b * points)).mean() < limit
    assert np.abs(bridge.transport_covariance(points) - epsilon * b * np.eye(2)).max() < limit


def test_recovers_a_known_mixture_plan_far_better_than_pairing_at_random():
    truth = mixture_bridge(2, 1.0, random_state=0)
    rng = np.random.default_rng(13)
    bridge = LightSB(epsilon=1.0, initial_variance=1.0, learning_rate=0.03, max_steps=500, random_state=0)
    bridge.fit(truth.sample_source(5000, rng), truth.sample_target(5000, rng))
    x0 = truth.sample_source(200, rng)
    mean, _ = truth.plan_moments(x0)
    error = ((bridge.transport_mean(x0) - mean) ** 2).sum(1).mean()
    at_random = ((truth.sample_target(20_000, rng).mean(0) - mean) ** 2).sum(1).mean()
    assert error < 0.02 * at_random


def test_half_way_cells_are_predicted_much_better_than_by_pairing_at_random():
    days = cite_cells_excerpt()
    rng = np.random.default_rng(14)
    bridge = LightSB(n_components=10, learning_rate=0.03, max_steps=400, random_state=0).fit(days[2], days[4])
    predicted = bridge.sample_paths(days[2], [0.5])[:, 0]
    at_random = (days[2] + rng.permutation(days[4])) / 2
    thin = slice(None, None, 2)
    assert energy_distance(predicted[thin], days[3][thin]) < 0.75 * energy_distance(at_random[thin], days[3][thin])


def test_result_does_not_depend_on_the_origin_and_the_unit_of_the_data(clouds):
    X0, X1 = clouds
    options = {"n_components": 4, "max_steps": 200, "random_state": 0}
    plain = LightSB(epsilon=0.5, **options).fit(X0, X1)
    moved = LightSB(epsilon=0.5 * 1e6, **options).fit(1e3 * X0 + 1e5, 1e3 * X1 + 1e5)
    np.testing.assert_allclose((moved.transport_mean(1e3 * X0 + 1e5) - 1e5) / 1e3, plain.transport_mean(X0), atol=1e-5)
    assert moved.score(1e3 * X0 + 1e5, 1e3 * X1 + 1e5) + 2 * math.log(1e3) == pytest.approx(
        plain.score(X0, X1), abs=1e-4
    )


def test_epsilon_auto_is_a_tenth_of_the_squared_mean_standard_deviation(clouds):
    bridge = LightSB(n_components=2, max_steps=1).fit(*clouds)
    assert bridge.epsilon_ == pytest.approx(0.1 * np.concatenate(clouds).std(axis=0).mean() ** 2)


def test_same_seed_gives_the_same_bridge_and_another_seed_another(clouds):
    options = {"n_components": 3, "epsilon": 0.5, "max_steps": 50}
    first, second, other = (LightSB(random_state=seed, **options).fit(*clouds) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.centers_, second.centers_)
    np.testing.assert_array_equal(first.transport(clouds[0]), second.transport(clouds[0]))
    assert np.abs(first.centers_ - other.centers_).max() > 1e-3


def test_training_stops_early_and_keeps_the_best_held_out_step(clouds):
    bridge = LightSB(n_components=10, epsilon=0.5, max_steps=5000, patience=3, learning_rate=0.05, random_state=0).fit(
        *clouds
    )
    assert bridge.n_steps_ < 5000
    steps, values = bridge.validation_losses_.T
    assert bridge.n_steps_ - steps[values.argmin()] == 300


def test_stopped_training_resumes_to_the_same_bridge(clouds, tmp_path, monkeypatch):
    monkeypatch.setattr("semigroup.densities.light_sb.estimator.CHECKPOINT_EVERY", 20)
    options = {"n_components": 3, "epsilon": 0.5, "validation_fraction": 0.0, "random_state": 0}
    LightSB(max_steps=40, **options).fit(*clouds, checkpoint_dir=tmp_path)
    resumed = LightSB(max_steps=60, **options).fit(*clouds, checkpoint_dir=tmp_path, resume=True)
    whole = LightSB(max_steps=60, **options).fit(*clouds)
    np.testing.assert_array_equal(resumed.centers_, whole.centers_)


def test_score_ranks_models_like_the_held_out_loss_and_cross_validates_the_number_of_components():
    X0, X1 = swiss_roll(1500, random_state=0)
    scores = [
        LightSB(n_components=k, epsilon=0.1, learning_rate=0.03, max_steps=200, random_state=0)
        .fit(X0[:1000], X1[:1000])
        .score(X0[1000:], X1[1000:])
        for k in (1, 30)
    ]
    assert scores[1] > scores[0] + 0.3


def test_score_is_the_mean_log_density_plus_cost_over_all_pairs(bridge, clouds):
    X0, X1 = clouds[0][:40], clouds[1][:30]
    pairs = np.repeat(X0, 30, axis=0), np.tile(X1, (40, 1))
    cost = ((pairs[0] - pairs[1]) ** 2).sum(1) / (2 * bridge.epsilon_)
    assert bridge.score(X0, X1) == pytest.approx((bridge.score_samples(*pairs) + cost).mean(), rel=1e-10)


def test_marginal_log_density_is_the_log_mean_of_the_conditional_densities(bridge, clouds):
    X0, x1 = clouds[0][:50], clouds[1][:7]
    pairs = bridge.score_samples(np.tile(X0, (7, 1)), np.repeat(x1, 50, axis=0)).reshape(7, 50)
    np.testing.assert_allclose(bridge.marginal_log_density(X0, x1), np.log(np.exp(pairs).mean(1)), rtol=1e-10)


def test_conditional_density_integrates_to_one_in_the_units_of_the_data():
    rng = np.random.default_rng(15)
    X0, X1 = rng.normal(100, 20, (300, 1)), rng.normal(300, 30, (300, 1))
    bridge = LightSB(n_components=3, max_steps=100, random_state=0).fit(X0, X1)
    grid = np.linspace(-200, 800, 20_001)[:, None]
    density = np.exp(bridge.score_samples(np.full_like(grid, 110.0), grid))
    assert density.sum() * (grid[1, 0] - grid[0, 0]) == pytest.approx(1, abs=1e-6)


# --- the process ---


def test_bridge_paths_have_the_marginals_of_the_plan_and_start_where_told(bridge, clouds):
    n = 40_000
    x0 = np.tile([[0.3, -0.5]], (n, 1))
    paths = bridge.sample_paths(x0, [0.0, 0.25, 0.75, 1.0])
    np.testing.assert_allclose(paths[:, 0], x0, rtol=1e-14)
    mean, cov = bridge.transport_mean(x0[:1])[0], bridge.transport_covariance(x0[:1])[0]
    for i, t in enumerate((0.0, 0.25, 0.75, 1.0)):
        expected = t**2 * cov + bridge.epsilon_ * t * (1 - t) * np.eye(2)
        tolerance = 5 * math.sqrt(expected.max() / n) + 1e-12
        np.testing.assert_allclose(paths[:, i].mean(0), (1 - t) * x0[0] + t * mean, atol=tolerance)
        np.testing.assert_allclose(np.cov(paths[:, i].T), expected, atol=0.03 * cov.max())
    # Two times of one path: for a Brownian bridge to y, Cov(x_s, x_t) = s t Cov(y) + epsilon s (1 - t).
    joint = np.cov(paths[:, 1, 0], paths[:, 2, 0])[0, 1]
    assert joint == pytest.approx(0.25 * 0.75 * cov[0, 0] + bridge.epsilon_ * 0.25 * 0.25, abs=0.03 * cov.max())


def test_euler_maruyama_approaches_the_exact_draws_as_steps_grow(bridge, clouds):
    x0 = np.tile(clouds[0], (8, 1))
    exact = bridge.transport(x0)
    errors = [
        energy_distance(bridge.sample_paths(x0, [1.0], method="euler-maruyama", n_steps=n)[:, 0], exact)
        for n in (2, 100)
    ]
    floor = abs(energy_distance(bridge.transport(x0, random_state=7), exact))
    assert errors[1] < 0.2 * errors[0]
    assert errors[1] < max(5 * floor, 0.004)


def test_euler_maruyama_visits_the_times_asked_for(bridge, clouds):
    few = bridge.sample_paths(clouds[0][:5], [0.5, 1.0], method="euler-maruyama", n_steps=10)
    many = bridge.sample_paths(clouds[0][:5], [0.0, 0.5, 1.0], method="euler-maruyama", n_steps=10)
    np.testing.assert_array_equal(few, many[:, 1:])


def test_transport_gives_several_draws_a_row(bridge, clouds):
    drawn = bridge.transport(clouds[0][:20], n_samples=2000)
    assert drawn.shape == (20, 2000, 2)
    spread = np.sqrt(np.diagonal(bridge.transport_covariance(clouds[0][:20]), axis1=1, axis2=2) / 2000)
    assert (np.abs(drawn.mean(1) - bridge.transport_mean(clouds[0][:20])) / spread).max() < 5


def test_torch_in_gives_torch_out_of_the_same_type(bridge, clouds):
    x0 = torch.tensor(clouds[0][:4], dtype=torch.float32)
    for result in (
        bridge.transport(x0),
        bridge.transport_mean(x0),
        bridge.drift(x0, 0.5),
        bridge.score_samples(x0, x0),
        bridge.transport_covariance(x0),
        bridge.marginal_log_density(clouds[0], x0),
        bridge.sample_paths(x0, [0.5]),
    ):
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
    assert all(
        isinstance(result, np.ndarray)
        for result in (bridge.transport(clouds[0]), bridge.sample_paths(clouds[0], [0.5]), bridge.drift(clouds[0], 0.5))
    )
    np.testing.assert_allclose(bridge.transport_mean(x0), bridge.transport_mean(clouds[0][:4]), rtol=1e-5, atol=1e-5)


def test_long_inputs_are_worked_through_in_blocks_with_the_same_result(bridge, clouds, monkeypatch):
    X0, X1 = clouds
    times = np.linspace(0, 0.99, len(X0))

    def results():
        return (
            bridge.transport_mean(X0),
            bridge.transport_covariance(X0),
            bridge.score_samples(X0[:300], X1),
            bridge.score(X0, X1),
            bridge.marginal_log_density(X0, X1),
            bridge.drift(X0, 0.3),
            bridge.drift(X0, times),
        )

    whole, drawn = results(), bridge.transport(X0, n_samples=300)
    monkeypatch.setattr("semigroup.densities.light_sb.estimator.BLOCK_SIZE", 64)
    for one, other in zip(results(), whole):
        np.testing.assert_allclose(one, other, rtol=1e-11)
    # Draws are others in other blocks, from the same distribution.
    again = bridge.transport(X0, n_samples=300)
    assert again.shape == drawn.shape and len(np.unique(again[:, :, 0])) == again[:, :, 0].size
    gap = (again.mean(1) - drawn.mean(1)) / np.sqrt((again.var(1) + drawn.var(1)) / 300)
    assert np.abs(gap).max() < 5 and gap.std() == pytest.approx(1, abs=0.15)
    for method in ("bridge", "euler-maruyama"):
        paths = bridge.sample_paths(X0, [0.0, 1.0], method=method, n_steps=5)
        np.testing.assert_allclose(paths[:, 0], X0, atol=1e-12)
        assert len(np.unique(paths[:, 1, 0])) == len(X0)


def test_small_noise_and_distant_data_stay_finite():
    rng = np.random.default_rng(16)
    X0, X1 = rng.standard_normal((300, 3)) + 1e4, rng.standard_normal((300, 3)) + 1e4
    bridge = LightSB(n_components=10, epsilon=2e-3, learning_rate=3e-4, max_steps=100, random_state=0).fit(X0, X1)
    assert np.isfinite(bridge.transport_mean(X0)).all() and np.isfinite(bridge.score_samples(X0, X1)).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_set_epsilon_keeps_the_mixture_and_warm_start_goes_on_from_it(covariance, clouds):
    X0, X1 = clouds
    bridge = LightSB(n_components=4, epsilon=1.0, covariance=covariance, max_steps=300, random_state=0).fit(X0, X1)
    kept = bridge.log_weights_.copy(), bridge.centers_.copy(), bridge.variances_.copy()
    bridge.set_epsilon(0.4)
    assert bridge.epsilon_ == 0.4
    for before, after in zip(kept, (bridge.log_weights_, bridge.centers_, bridge.variances_)):
        np.testing.assert_array_equal(before, after)
    # With no step worth the name, a warm start on shifted data is the same plan seen from the new origin.
    means, other = bridge.transport_mean(X0), np.vstack([X0, X0[:100] + 5.0])
    bridge.set_params(warm_start=True, max_steps=1, learning_rate=1e-12, validation_fraction=0.0).fit(other, X1)
    assert np.abs(bridge.shift_ - np.concatenate([X0, X1]).mean(0)).max() > 0.1
    np.testing.assert_allclose(bridge.transport_mean(X0), means, atol=1e-8)


# --- bad input ---


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epsilon": 0.0}, "epsilon must be > 0"),
        ({"epsilon": -1.0}, "epsilon must be > 0"),
        ({"n_components": 0}, "n_components must be >= 1"),
        ({"n_components": 301}, "n_components must be at most"),
        ({"initial_variance": 0.0}, "initial_variance must be > 0"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"max_steps": 0}, "max_steps must be >= 1"),
        ({"validation_fraction": 1.0}, "validation_fraction must be"),
        ({"patience": 0}, "patience must be >= 1"),
        ({"covariance": "banded"}, "covariance must be one of"),
        ({"loss": "l2"}, "loss must be one of"),
        ({"coupling": "best"}, "coupling must be one of"),
        ({"device": "tpu"}, "device must be one of"),
    ],
)
def test_bad_parameters_are_refused_by_name(clouds, options, words):
    # set_params, because the annotated constructor already refuses some of these under the type checker of the tests
    estimator = LightSB()
    for name, value in options.items():
        setattr(estimator, name, value)
    with pytest.raises(ValueError, match=words):
        estimator.fit(*clouds)


@pytest.mark.parametrize("name", ["X0", "X1"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda X: np.where(X[0, 0] == X, np.nan, X), "NaN or infinity"),
        (lambda X: np.where(X[0, 0] == X, np.inf, X), "NaN or infinity"),
        (lambda X: X[:1], "at least 2 rows"),
        (lambda X: X[:0], "at least 2 rows"),
        (lambda X: X[:, 0], "axes"),
    ],
)
def test_bad_samples_are_refused_by_name(clouds, name, spoil, words):
    samples = dict(zip(("X0", "X1"), clouds))
    samples[name] = spoil(samples[name])
    with pytest.raises(ValueError, match=f"{name} .*{words}"):
        LightSB(n_components=2, epsilon=0.5).fit(**samples)


def test_different_numbers_of_columns_are_refused(clouds):
    with pytest.raises(ValueError, match="X1 must have 2 columns"):
        LightSB().fit(clouds[0], np.ones((50, 3)))


def test_repeated_target_points_do_not_count_as_distinct(clouds):
    with pytest.raises(ValueError, match="n_components must be at most the number of distinct target rows"):
        LightSB(n_components=4, epsilon=0.5).fit(clouds[0], np.repeat(clouds[1][:3], 50, axis=0))


def test_constant_columns_are_refused_with_epsilon_auto(clouds):
    X0, X1 = (np.column_stack([X, np.ones(len(X))]) for X in clouds)
    with pytest.raises(ValueError, match=r"epsilon must be a number where columns are constant.*columns 2"):
        LightSB().fit(X0, X1)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_epsilon_in_mistaken_units_is_warned_of(clouds, factor):
    variance = np.concatenate(clouds).var(axis=0).mean()
    with pytest.warns(UserWarning, match="epsilon=.* is far from"):
        LightSB(n_components=2, epsilon=factor * variance, max_steps=1).fit(*clouds)


@pytest.mark.parametrize("t", [-0.1, 1.0, 1.5])
def test_drift_outside_its_times_is_refused(bridge, clouds, t):
    with pytest.raises(ValueError, match="t must lie in"):
        bridge.drift(clouds[0], t)


@pytest.mark.parametrize("times", [[-0.1, 0.5], [0.5, 1.1], [0.5, 0.5], [0.9, 0.1]])
def test_times_outside_the_interval_or_out_of_order_are_refused(bridge, clouds, times):
    with pytest.raises(ValueError, match="times must increase strictly within"):
        bridge.sample_paths(clouds[0], times)


def test_use_before_fit_is_refused(clouds):
    for call in (LightSB().transport, LightSB().transport_mean, lambda x: LightSB().drift(x, 0.0)):
        with pytest.raises(NotFittedError):
            call(clouds[0])


def test_points_of_the_wrong_shape_are_refused_by_name(bridge, clouds):
    with pytest.raises(ValueError, match="x0 must have 2 columns"):
        bridge.transport(np.ones((4, 3)))
    with pytest.raises(ValueError, match="x1 must have as many rows as x0"):
        bridge.score_samples(clouds[0][:4], clouds[1][:5])
    with pytest.raises(ValueError, match="t must be one time"):
        bridge.drift(clouds[0], np.zeros(3))
    with pytest.raises(ValueError, match="n_samples must be >= 1"):
        bridge.transport(clouds[0], n_samples=0)
    with pytest.raises(ValueError, match="x1 holds NaN"):
        bridge.marginal_log_density(clouds[0], np.full((1, 2), np.nan))


def test_warm_start_refuses_what_it_cannot_go_on_from(bridge, clouds):
    import copy

    for options, words in (
        ({"n_components": 6}, "n_components must stay 5"),
        ({"covariance": "full"}, "covariance must stay"),
        ({"covariance": "scalar"}, "covariance must stay"),
    ):
        with pytest.raises(ValueError, match=words):
            copy.deepcopy(bridge).set_params(warm_start=True, **options).fit(*clouds)
    with pytest.raises(ValueError, match="X0 must have 2 columns"):
        copy.deepcopy(bridge).set_params(warm_start=True).fit(
            np.random.default_rng(0).random((90, 3)), np.eye(3)[[0, 1, 2] * 30]
        )


# --- storage ---


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_saved_bridge_gives_the_same_results_after_loading(covariance, clouds, tmp_path):
    bridge = LightSB(n_components=3, epsilon=0.5, covariance=covariance, max_steps=20, random_state=0).fit(*clouds)
    loaded = LightSB.from_pretrained(bridge.save_pretrained(tmp_path / "bridge"))
    np.testing.assert_array_equal(loaded.transport(clouds[0]), bridge.transport(clouds[0]))
    np.testing.assert_array_equal(
        loaded.score_samples(clouds[0], clouds[0]), bridge.score_samples(clouds[0], clouds[0])
    )
    assert loaded.get_params() == bridge.get_params()


def test_clone_has_the_parameters_and_nothing_fitted(bridge):
    copied = clone(bridge)
    assert copied.get_params() == bridge.get_params()
    assert not hasattr(copied, "centers_")


def test_gaussian_density_of_one_component_is_scipys():
    p = Potential(torch.zeros(1), torch.ones(1, 1), torch.full((1, 1), 2.0), None, 0.5)
    assert log_potential(p, torch.zeros(1, 1)).item() == pytest.approx(norm(1, 1).logpdf(0), rel=1e-6)


# --- the job ---


def test_job_reads_two_files_or_one_with_three_samples_in_order_of_time(tmp_path):
    rng = np.random.default_rng(17)
    early, middle, late = (rng.standard_normal((n, 2)) for n in (20, 30, 40))
    np.savetxt(tmp_path / "early.csv", early, delimiter=",", header="a,b", comments="")
    np.save(tmp_path / "late.npy", late)
    two = read([tmp_path / "early.csv", tmp_path / "late.npy"])
    np.testing.assert_allclose(two.start, early)
    assert two.between is None and two.names == ("early", "half-way", "late")
    np.savez(tmp_path / "all.npz", first=early, second=middle, third=late)
    three = read([tmp_path / "all.npz"])
    np.testing.assert_array_equal(three.between, middle)
    np.testing.assert_array_equal(three.end, late)


def test_job_refuses_files_it_cannot_bridge_by_name(tmp_path):
    good, wide, holes = np.ones((5, 2)), np.ones((5, 3)), np.full((5, 2), np.nan)
    for name, rows in (("good", good), ("wide", wide), ("holes", holes), ("line", good[0])):
        np.save(tmp_path / f"{name}.npy", rows)
    for second, words in (("wide", "has 3 columns"), ("holes", "holds NaN"), ("line", "a sample is a table")):
        with pytest.raises(ValueError, match=rf"{second}\.npy: .*{words}"):
            read([tmp_path / "good.npy", tmp_path / f"{second}.npy"])
    with pytest.raises(ValueError, match="data must hold two samples, or three"):
        read([tmp_path / "good.npy"])


@pytest.mark.parametrize("dim", [1, 3])
def test_job_draws_samples_of_any_dimension_without_a_held_out_one(dim, tmp_path):
    rng = np.random.default_rng(18)
    for name, mean in (("a", 0.0), ("b", 4.0)):
        np.save(tmp_path / f"{name}.npy", mean + rng.standard_normal((200, dim)))
    outcome = perform(
        LightSB(n_components=2, epsilon=0.5, learning_rate=0.05, max_steps=200, random_state=0),
        read([tmp_path / "a.npy", tmp_path / "b.npy"]),
        Context(),
    )
    assert outcome.metrics["energy_distance_end_prediction"] < 0.05 * outcome.metrics["energy_distance_start_to_end"]
    assert outcome.arrays["transported"].shape == (200, dim)
    for picture in outcome.pictures.values():
        save_png(picture.figure, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_a_constant_column_is_one_though_its_deviation_is_a_rounding_error():
    rows = np.column_stack([np.linspace(0, 1, 1000), np.full(1000, 0.1)])
    with pytest.raises(ValueError, match=r"columns are constant.*columns 1\)"):
        LightSB(epsilon="auto").fit(rows, rows)


def test_a_training_without_a_seed_does_not_go_on(tmp_path):
    rows = np.linspace(0, 1, 20)[:, None]
    with pytest.raises(ValueError, match="resume needs random_state"):
        LightSB().fit(rows, rows, checkpoint_dir=tmp_path, resume=True)
