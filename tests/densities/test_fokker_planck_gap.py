"""The ODE-SDE gap: derivatives, residual, both laws, distances, bounds and the regularised model, against closed forms."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import semigroup.jobs.fokker_planck_gap as job
from semigroup.base import seed_from, torch_generator
from semigroup.data.planar import checkerboard, nine_gaussians
from semigroup.densities import PotentialDiffusion, wasserstein
from semigroup.densities.fokker_planck_gap import (
    Jet,
    PotentialNetwork,
    ResidualProfile,
    bound,
    derivatives,
    feynman_kac,
    gap,
    gap_of_samples,
    grid_wasserstein,
    histogram,
    ode_log_density,
    residual,
    residual_gradient,
    residual_profile,
    sample_distance,
    sample_ode,
    sample_sde,
    sampling_times,
    score_of,
    score_residual,
    wasserstein_bounds,
)
from semigroup.densities.fokker_planck_gap.estimator import USES
from semigroup.densities.fokker_planck_gap.gaps import inside
from semigroup.densities.fokker_planck_gap.potential import hessian
from semigroup.jobs import Context
from semigroup.jobs.fokker_planck_gap import perform, read
from semigroup.schedules import VE, VP, OrnsteinUhlenbeck, Schedule, SubVP
from semigroup.sde import SolverFailed, rademacher
from semigroup.training import TrainingDiverged, seeded

OU = OrnsteinUhlenbeck(5.0)
SCHEDULES = {"ou": OU, "vp": VP(), "subvp": SubVP(), "ve": VE(0.02, 8.0)}
QUICK = {"hidden": (24, 24), "n_steps": 80, "batch_size": 128, "n_residual": 128, "random_state": 0}
PRIOR = math.sqrt(0.5 * -math.expm1(-10))


def points(n=40, dim=2, *, seed=0, high=3.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, dim))), torch.from_numpy(rng.uniform(0.05, high, n))


def mixture_potential(schedule, dim=2, shift=0.0):
    """The exact log-density of a diffused mixture of three Gaussians, plus `shift` times t."""
    rng = np.random.default_rng(1)
    means = torch.from_numpy(rng.normal(size=(3, dim)))
    variances = torch.tensor([0.1, 0.4, 1.0], dtype=torch.float64)

    def phi(x, t):
        scale, std = schedule.scale(t), schedule.std(t)
        variance = (scale[:, None] ** 2 * variances + std[:, None] ** 2).to(x.dtype)
        gaps = x[:, None, :] - (scale[:, None, None] * means).to(x.dtype)
        logs = -gaps.square().sum(2) / (2 * variance) - dim / 2 * torch.log(2 * math.pi * variance)
        return torch.logsumexp(logs, dim=1) - math.log(3) + shift * t

    return phi


def network(dim=2, *, activation="softplus", hidden=(12, 10)):
    with seeded(0):
        return PotentialNetwork(dim, hidden, activation=activation, beta=5.0).double()


# --- derivatives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["softplus", "silu", "tanh"])
@pytest.mark.parametrize("dim", [1, 3])
def test_jet_of_the_network_is_that_of_nested_automatic_differentiation(activation, dim):
    phi, (x, t) = network(dim, activation=activation), points(dim=dim)
    x, t = x.requires_grad_(), t.requires_grad_()
    jet = phi.jet(x, t)
    value = phi(x, t)
    gradient, time = torch.autograd.grad(value.sum(), (x, t), create_graph=True)
    laplacian = sum(torch.autograd.grad(gradient[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(dim))
    for got, want in ((jet.value, value), (jet.time, time), (jet.gradient, gradient), (jet.laplacian, laplacian)):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(phi.score(x, t), gradient, rtol=1e-10, atol=1e-12)


def test_derivatives_of_any_callable_are_those_of_the_network_that_it_calls():
    phi, (x, t) = network(), points()
    for name, got in vars(derivatives(lambda a, b: phi(a, b), x, t)).items():
        torch.testing.assert_close(got, getattr(phi.jet(x, t), name))


def test_hutchinsons_laplacian_is_right_in_the_mean_and_exact_for_a_diagonal_hessian():
    phi, (x, t) = network(), points(5)
    probes = rademacher(4000, x, torch_generator(0))
    got, want = derivatives(phi, x, t, probes=probes).laplacian, phi.jet(x, t).laplacian
    off_diagonal = hessian(phi, x, t)[:, 0, 1].abs()
    assert ((got - want).abs() < 5 * 2 * off_diagonal / math.sqrt(4000)).all()
    parabola = derivatives(lambda x, t: x.square().sum(1), x, t, probes=probes[:1]).laplacian
    torch.testing.assert_close(parabola, torch.full_like(parabola, 4.0))


def test_hessian_is_symmetric_with_the_laplacian_as_its_trace():
    phi, (x, t) = network(3), points(dim=3)
    H = hessian(phi, x, t)
    torch.testing.assert_close(H, H.mT)
    torch.testing.assert_close(H.diagonal(dim1=1, dim2=2).sum(1), phi.jet(x, t).laplacian)


def test_gradients_in_the_weights_pass_through_the_jet():
    phi, (x, t) = network(), points(6)
    residual(phi, x, t, OU).square().mean().backward()
    last = phi.layers.rest[-1].bias
    assert last.grad is None  # a constant of the potential is in no derivative
    moved = [parameter for parameter in phi.parameters() if parameter is not last]
    fast = [parameter.grad.clone() for parameter in moved]
    phi.zero_grad()
    residual(lambda a, b: phi(a, b), x, t, OU).square().mean().backward()
    for parameter, got in zip(moved, fast, strict=True):
        torch.testing.assert_close(got, parameter.grad)


# --- residual ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_residual_of_the_exact_marginals_is_zero_and_a_function_of_time_adds_its_derivative(name):
    schedule, (x, t) = SCHEDULES[name], points(high=0.9)
    size = residual(lambda x, t: 1.5 * mixture_potential(schedule)(x, t), x, t, schedule).abs().mean()
    assert size > 0.1
    assert residual(mixture_potential(schedule), x, t, schedule).abs().max() < 1e-8 * max(1.0, size)
    shifted = residual(mixture_potential(schedule, shift=3.0), x, t, schedule)
    torch.testing.assert_close(shifted, torch.full_like(shifted, 3.0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_residual_of_a_score_is_zero_for_the_exact_one_and_else_the_gradient_of_the_potentials(name):
    schedule, (x, t) = SCHEDULES[name], points(high=0.9)
    exact = score_residual(score_of(mixture_potential(schedule)), x, t, schedule)
    phi = network()
    got = score_residual(phi.score, x, t, schedule)
    gradient, R = residual_gradient(phi, x, t, schedule)
    torch.testing.assert_close(got, gradient)
    torch.testing.assert_close(R, residual(phi, x, t, schedule))
    y = x.clone().requires_grad_()
    nested = torch.autograd.grad(residual(phi, y, t, schedule).sum(), y)[0]
    torch.testing.assert_close(gradient, nested)
    assert exact.abs().max() < 1e-7 * max(1.0, float(got.abs().max()))


def test_the_trivial_solution_has_no_residual():
    x, t = points()
    assert residual(lambda x, t: 7 + 2 * t + 0 * x.sum(1), x, t, OU).abs().max() < 1e-12  # c - t div f


def test_profile_keeps_the_spatial_mean_apart():
    box = torch.tensor([[-2.0, -2.0], [2.0, 2.0]], dtype=torch.float64)
    profile = residual_profile(
        mixture_potential(OU, shift=3.0), [0.5, 1.0, 2.0], box, OU, n_points=100, generator=torch_generator(0)
    )
    np.testing.assert_allclose(profile.mean, 3.0, rtol=1e-6)
    assert profile.centred_mean_square < 1e-12 and profile.mean_square == pytest.approx(9.0)
    with pytest.raises(ValueError, match="times must increase"):
        residual_profile(mixture_potential(OU), [1.0, 0.5], box, OU, generator=torch_generator(0))


def test_mean_square_of_a_profile_is_over_time_however_the_times_lie():
    for times in (np.linspace(0, 1, 400), np.linspace(0, 1, 400) ** 2):
        profile = ResidualProfile(times, 2 * times, times)
        assert profile.centred_mean_square == pytest.approx(1 / 3, abs=1e-4)
        assert profile.mean_square == pytest.approx(5 / 3, abs=1e-4)
    assert ResidualProfile(np.ones(1), np.ones(1), np.ones(1)).mean_square == 2.0


# --- the two laws -----------------------------------------------------------------------------------------------------


def gaussian_case(factor):
    """phi = -a x^2 / 2 + log(a / 2 pi) / 2 with a = factor p(t), data N(0, 4); both laws stay Gaussian."""

    def p(t):
        decay = torch.exp(-2 * t) if isinstance(t, torch.Tensor) else math.exp(-2 * t)
        return 1 / (4 * decay + 0.5 * (1 - decay))

    def phi(x, t):
        a = factor * p(t)
        return -a * x.square().sum(1) / 2 + torch.log(a / (2 * math.pi)) / 2

    def variance(t, share):
        def rate(back, v):
            # share 1: the SDE, dv = 2 (1 - a) v + 1 backward; share 1/2: the ODE
            return 2 * (1 - share * factor * p(5 - back)) * v + (share == 1)

        return solve_ivp(rate, (0, 5 - t), [0.5], rtol=1e-11, atol=1e-13).y[0, -1]

    return phi, variance


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_samples_of_both_laws_have_the_closed_form_variances(factor):
    phi, variance = gaussian_case(factor)
    n = 10_000
    x = math.sqrt(0.5) * torch.randn(n, 1, generator=torch_generator(0), dtype=torch.float64)
    # The ODE is linear, so that its variance follows the start's exactly, but for Euler's error, which falls with the step.
    errors = [
        float(sample_ode(score_of(phi), x[:9], sampling_times(5.0, k), OU)[:, -1].var() / x[:9].var())
        / (variance(0, 0.5) / 0.5)
        - 1
        for k in (400, 800)
    ]
    assert 0.4 < errors[1] / errors[0] < 0.6 and abs(2 * errors[1] - errors[0]) < 1e-3
    sde = sample_sde(score_of(phi), x, sampling_times(5.0, 200), OU, torch_generator(1))[:, -1]
    assert float(sde.var()) == pytest.approx(variance(0, 1), rel=0.03 + 5 * math.sqrt(2 / n))


def test_feynman_kac_gives_the_sdes_log_density_and_its_gradient():
    phi, variance = gaussian_case(1.1)
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    t = 0.3
    v = variance(t, 1)
    found = feynman_kac(
        phi, x, t, OU, prior_std=math.sqrt(0.5), horizon=5.0, n_paths=4000, n_steps=40, generator=torch_generator(0)
    )
    at = torch.full((7,), t, dtype=torch.float64)
    log_q = -(x[:, 0] ** 2) / (2 * v) - math.log(2 * math.pi * v) / 2
    torch.testing.assert_close(phi(x, at) - found.gap, log_q, rtol=0, atol=0.02)
    a = -2 * (phi(torch.ones(1, 1, dtype=torch.float64), at[:1]) - phi(torch.zeros(1, 1, dtype=torch.float64), at[:1]))
    torch.testing.assert_close(found.gradient, -a * x + x / v, rtol=0, atol=0.03)
    assert (found.effective_paths > 100).all()


def test_ode_log_density_is_the_gaussians_with_and_without_the_potential():
    phi, variance = gaussian_case(0.9)
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    v = variance(1e-3, 0.5)
    want = -(x[:, 0] ** 2) / (2 * v) - math.log(2 * math.pi * v) / 2
    options = {"prior_std": math.sqrt(0.5), "min_time": 1e-3, "horizon": 5.0, "rtol": 1e-8, "atol": 1e-8}
    for one, score in ((phi, None), (None, score_of(phi))):
        torch.testing.assert_close(ode_log_density(one, x, OU, score=score, **options), want, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="potential or score"):
        ode_log_density(phi, x, OU, score=score_of(phi), **options)


def test_both_laws_of_the_exact_score_are_the_data():
    schedule = OrnsteinUhlenbeck(5.0)
    phi, n = mixture_potential(schedule, dim=1), 5000
    x = PRIOR * torch.randn(n, 1, generator=torch_generator(0), dtype=torch.float64)
    times = sampling_times(5.0, 100)
    ode = sample_ode(score_of(phi), x, times, schedule)[:, -1]
    sde = sample_sde(score_of(phi), x, times, schedule, torch_generator(1))[:, -1]
    rng = np.random.default_rng(1)
    means = rng.normal(size=(3, 1))
    chosen = rng.integers(3, size=n)
    truth = means[chosen] + np.sqrt([0.1, 0.4, 1.0])[chosen, None] * rng.normal(size=(n, 1))
    for law in (ode, sde):
        assert wasserstein(law, truth, p=1) < 0.06


def test_sampling_times_have_equal_steps_and_a_fine_end():
    times = np.array(sampling_times(10.0, 800))
    steps = -np.diff(times)
    assert len(steps) == 790 + 100 and times[0] == 10 and times[-1] == 0
    np.testing.assert_allclose(steps[:790], 0.0125)
    np.testing.assert_allclose(steps[790:], 0.00125)


def test_last_step_of_the_sde_is_without_noise():
    x = torch.zeros(3, 1, dtype=torch.float64)
    path = sample_sde(lambda x, t: 0 * x, x, [0.2, 0.1, 0.0], OU, torch_generator(0), keep="all")
    assert (path[:, 1] != 0).all()
    torch.testing.assert_close(path[:, 2], path[:, 1] * 1.1)


def test_a_schedule_without_noise_at_the_datas_end_can_be_sampled():
    x = torch.ones(2, 1)
    for law in (
        sample_ode(lambda x, t: -x, x, [1.0, 0.5, 0.0], SubVP()),
        sample_sde(lambda x, t: -x, x, [1.0, 0.5, 0.0], SubVP(), torch_generator(0)),
    ):
        assert torch.isfinite(law).all()


def test_times_and_counts_out_of_range_are_refused():
    x = torch.ones(2, 1)
    for times in ([0.0, 0.5, 1.0], [1.0], [1.0, 0.5, -0.5]):
        with pytest.raises(ValueError, match="times must decrease"):
            sample_ode(lambda x, t: -x, x, times, OU)
        with pytest.raises(ValueError, match="times must decrease"):
            sample_sde(lambda x, t: -x, x, times, OU, torch_generator(0))
    options = {"prior_std": 0.7, "horizon": 5.0, "generator": torch_generator(0)}
    for t, changed, words in (
        (6.0, {}, "t must be >= 0 and <= 5"),
        (0.1, {"n_paths": 0}, "n_paths"),
        (0.1, {"n_steps": 0}, "n_steps"),
        (0.1, {"prior_std": 0.0}, "prior_std"),
    ):
        with pytest.raises(ValueError, match=words):
            feynman_kac(lambda x, t: -x.square().sum(1), x, t, OU, **(options | changed))
    with pytest.raises(ValueError, match="min_time"):
        ode_log_density(lambda x, t: -x.square().sum(1), x, OU, prior_std=0.7, min_time=6.0, horizon=5.0)
    with pytest.raises(ValueError, match="refinement"):
        sampling_times(1.0, 20, refinement=0)


def test_a_score_that_is_not_finite_is_reported_with_step_and_share():
    def score(x, t):
        return torch.where((x > 0) & (t[:, None] < 0.55), math.nan, -x)

    x = torch.tensor([[1.0], [-1.0], [-2.0], [-3.0]])
    with pytest.raises(SolverFailed, match=r"25.0% of the points in step 1 of 2, at time 0.5"):
        sample_ode(score, x, [1.0, 0.5, 0.0], OU)


# --- distances and bounds ---------------------------------------------------------------------------------------------


def test_histogram_distance_is_the_exact_one_of_points_on_the_grid():
    box = np.array([[-1.0, -1.0], [1.0, 1.0]])
    rng = np.random.default_rng(0)
    X, Y = (np.linspace(-1, 1, 9)[rng.integers(1, 8, size=(60, 2))] for _ in range(2))
    assert sample_distance(X, Y, box, n_bins=9) == pytest.approx(wasserstein(X, Y, p=2), rel=1e-9)
    moved = sample_distance(X[:, :1], X[:, :1] + 0.125, np.array([[-2.0], [2.0]]))
    assert moved == pytest.approx(0.125)


def test_rows_outside_the_box_are_dropped_and_counted():
    box = np.array([[0.0, 0.0], [1.0, 1.0]])
    masses, dropped = histogram([[0.5, 0.5], [2.0, 0.5], [0.5, 1.0], [0.2, 0.9]], box, n_bins=3)
    assert dropped == 0.5 and masses.sum() == pytest.approx(1)
    assert masses[1, 1] == 0.5 and masses[0, 2] == 0.5


def test_distance_in_three_dimensions_is_that_of_the_rows():
    rng = np.random.default_rng(2)
    X, Y = rng.uniform(-1, 1, (50, 3)), rng.uniform(-1, 1, (50, 3))
    box = np.array([[-2.0] * 3, [2.0] * 3])
    assert sample_distance(X, Y, box) == pytest.approx(wasserstein(X, Y, p=2))


def test_distance_of_large_samples_in_three_dimensions_does_not_depend_on_the_rows_order(monkeypatch):
    monkeypatch.setattr("semigroup.densities.fokker_planck_gap.gaps.MOST_ROWS", 200)
    X, Y = np.random.default_rng(2).normal(size=(2, 2000, 3))
    box = np.array([[-6.0] * 3, [6.0] * 3])
    by_first = X[np.argsort(X[:, 0])]
    assert sample_distance(by_first, Y, box) == pytest.approx(sample_distance(X, Y, box), rel=0.1)
    assert wasserstein(by_first[:200], Y[:200], p=2) > 1.5 * sample_distance(X, Y, box)


def test_gap_of_samples_is_that_of_their_distances():
    rng = np.random.default_rng(0)
    ode, sde, again, X = (shift + rng.uniform(-1, 1, (300, 1)) for shift in (0.5, 0.0, 0.0, 0.2))
    box = np.array([[-1.0], [1.2]])
    found = gap_of_samples(ode, sde, again, box, X=X)
    assert found.ode_sde == sample_distance(ode, sde, box) and found.floor == sample_distance(sde, again, box)
    assert found.ode_truth == sample_distance(ode, X, box) and found.sde_truth == sample_distance(sde, X, box)
    assert found.dropped_ode == pytest.approx((ode >= 1.2).mean()) and found.dropped_sde == 0
    assert math.isnan(gap_of_samples(ode + 9, sde, again, box).ode_sde)
    with pytest.raises(ValueError, match="box holds no row"):
        gap_of_samples(ode, sde, again, box, X=X + 9)
    with pytest.raises(ValueError, match="again must have 1 columns"):
        gap_of_samples(ode, sde, np.zeros((3, 2)), box)


def test_each_bound_is_at_least_the_one_before():
    rng = np.random.default_rng(3)
    for _ in range(20):
        times = np.sort(rng.uniform(0, 5, 200))
        fisher = rng.uniform(0, 2, 200)
        diffusion = rng.uniform(0.1, 2, 200)
        energy = np.trapezoid(diffusion**2 / 2 * fisher, times) + rng.uniform(0, 1)
        bound = wasserstein_bounds(times, diffusion, rng.normal(size=200), fisher, energy)
        assert bound.direct <= bound.cauchy_schwarz * (1 + 1e-12) <= bound.residual * (1 + 1e-12)
    boundless = wasserstein_bounds(times, diffusion, np.full(200, 1e4), fisher, energy)
    assert boundless.direct == math.inf
    exact = wasserstein_bounds(times, diffusion, np.full(200, math.inf), 0 * fisher, 0.0)
    assert exact.direct == exact.cauchy_schwarz == exact.residual == 0


def test_an_energy_estimated_too_low_does_not_lower_the_bound():
    one = np.ones(11)
    for energy in (-0.1, 0.0, 0.4):
        found = wasserstein_bounds(np.linspace(0, 1, 11), one, 0 * one, one, energy)
        assert found.residual == found.cauchy_schwarz and found.energy == energy


def test_bounds_of_values_that_are_none_are_refused():
    times, one = np.linspace(0, 1, 11), np.ones(11)
    spoilt = np.where(times == 0.5, math.nan, one)
    for arguments, words in (
        ((times, spoilt, one, one, 1.0), "diffusion holds NaN"),
        ((times, one, spoilt, one, 1.0), "expansion must hold"),
        ((times, one, one, spoilt, 1.0), "fisher holds NaN"),
        ((times, one, one, one, math.nan), "energy must be finite"),
        ((times[::-1], one, one, one, 1.0), "times must increase"),
    ):
        with pytest.raises(ValueError, match=words):
            wasserstein_bounds(*arguments)


class Parabola(PotentialNetwork):
    """The potential of `gaussian_case` with its derivatives in closed form, as a network has them."""

    def __init__(self, factor):
        super().__init__(1, (1,))
        self.factor = factor

    def precision(self, t):
        decay = torch.exp(-2 * t)
        p = 1 / (4 * decay + 0.5 * (1 - decay))
        return self.factor * p, self.factor * 7 * decay * p**2

    def forward(self, x, t):
        a = self.precision(t)[0]
        return -a * x[:, 0] ** 2 / 2 + torch.log(a / (2 * math.pi)) / 2

    def score(self, x, t):
        return -self.precision(t)[0][:, None] * x

    def jet(self, x, t):
        a, change = self.precision(t)
        return Jet(self(x, t), change * (1 / a - x[:, 0] ** 2) / 2, -a[:, None] * x, -a)


# W2, Fisher term, energy, direct and residual bound by quadrature (`gaussian_case` of the claims).
CLOSED = {
    1.1: (0.48001, 0.025871, 0.027709, 0.51935, 0.55063),
    1.02: (0.11377, 0.0011512, 0.0012448, 0.12472, 0.13504),
}


@pytest.mark.parametrize("factor", list(CLOSED))
def test_bounds_of_a_gaussian_potential_are_those_of_the_closed_form(factor):
    distance, fisher, energy, direct, largest = CLOSED[factor]
    x, t = points(9, 1)
    for name, value in vars(derivatives(gaussian_case(factor)[0], x, t)).items():
        torch.testing.assert_close(getattr(Parabola(factor).jet(x, t), name), value)
    box = torch.tensor([[-12.0], [12.0]], dtype=torch.float64)
    found = bound(
        Parabola(factor),
        OU,
        box=box,
        prior_std=math.sqrt(0.5),
        n_samples=400,
        n_steps=100,
        n_paths=4,
        generator=torch_generator(0),
    )
    assert distance < found.direct <= found.cauchy_schwarz <= found.residual
    assert found.fisher == pytest.approx(fisher, rel=0.15)
    assert 0 < found.energy_error < 0.2 * energy and abs(found.energy - energy) < 3 * found.energy_error
    assert found.direct == pytest.approx(direct, rel=0.1) and found.residual == pytest.approx(largest, rel=0.1)


def test_gap_of_a_gaussian_potential_is_that_of_the_closed_form_for_potential_and_score():
    phi, variance = gaussian_case(0.9)
    box = torch.tensor([[-15.0], [15.0]], dtype=torch.float64)
    options = {"box": box, "n_samples": 5000, "n_steps": 60}
    found = [
        gap(score, OU, generator=torch_generator(0), **options)
        for score in (score_of(phi), lambda x, t: -0.9 * x / (0.5 + 3.5 * torch.exp(-2 * t))[:, None])
    ]
    assert found[0].ode_sde == pytest.approx(found[1].ode_sde) and found[0].ode_truth is None
    want = abs(math.sqrt(variance(0, 0.5)) - math.sqrt(variance(0, 1)))
    assert found[0].ode_sde == pytest.approx(want, rel=0.1) and found[0].floor < 0.15


def test_the_audits_of_functions_refuse_bad_arguments_before_they_sample():
    def never(x, t):
        raise AssertionError("sampled")

    box, generator = torch.tensor([[-1.0], [1.0]]), torch_generator(0)
    for options, words in (
        ({"X": np.zeros((2, 3))}, "X must have 1 columns"),
        ({"n_bins": 1}, "n_bins"),
        ({"n_samples": 1}, "n_samples"),
        ({"horizon": -1.0}, "horizon"),
        ({"prior_std": 0.0}, "prior_std"),
        ({"n_steps": 3}, "n_steps"),
    ):
        with pytest.raises(ValueError, match=words):
            gap(never, OU, box=box, generator=generator, **options)
    for options, words in (
        ({"min_time": 5.0}, "min_time"),
        ({"n_states": 0}, "n_states"),
        ({"n_times": 1}, "n_times"),
        ({"box": torch.ones(2, 4)}, "at most 3 dimensions"),
    ):
        with pytest.raises(ValueError, match=words):
            bound(never, OU, **({"box": box, "generator": generator} | options))


# --- the model --------------------------------------------------------------------------------------------------------


def lumps(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, 1)) < 0.5, -1.0, 2.0) + 0.4 * rng.normal(size=(n, 1))


@pytest.fixture(scope="module")
def models():
    options = {"hidden": (40, 40), "n_steps": 700, "batch_size": 256, "n_residual": 128, "learning_rate": 4e-3}
    options["random_state"] = 0
    return {w: PotentialDiffusion(residual_weight=w, **options).fit(lumps(4000)) for w in (0.0, 0.3)}


def test_both_laws_of_a_trained_model_are_near_the_data(models):
    truth = lumps(3000, seed=5)
    for law in ("ode", "sde"):
        drawn = models[0.3].sample(3000, method=law)
        kept = drawn[inside(drawn, models[0.3].box_)]  # an ODE throws single particles far away
        assert len(kept) > 2900 and wasserstein(kept, truth, p=1) < 0.3
    assert models[0.3].explained_ > 0.5


def test_penalty_lowers_the_residual_many_times(models):
    found = {w: model.residual_profile(n_points=300).centred_mean_square for w, model in models.items()}
    assert found[0.3] < found[0.0] / 5


def test_likelihoods_integrate_to_one_and_those_of_both_laws_come_together(models):
    x = np.linspace(-4, 5, 61)[:, None]
    apart = {}
    for w, model in models.items():
        ode = model.score_samples(x)
        assert np.trapezoid(np.exp(ode.astype(np.float64)), x[:, 0]) == pytest.approx(1, abs=0.02)
        sde = model.score_samples(x, law="sde", n_paths=64)
        inside = ode > -5
        apart[w] = np.abs(ode - sde)[inside].mean()
    assert apart[0.3] < apart[0.0]
    assert np.trapezoid(np.exp(sde.astype(np.float64)), x[:, 0]) == pytest.approx(1, abs=0.05)


def test_gap_and_bound_are_stated_in_units_of_the_data(models):
    found = models[0.3].gap(lumps(2000, seed=6), n_samples=2000, n_steps=30)
    assert 0 <= found.dropped_ode < 0.05 and 0 < found.ode_sde < 1 and found.floor > 0
    assert found.ode_truth is not None and found.sde_truth is not None
    assert models[0.3].gap(n_samples=200, n_steps=30).ode_truth is None
    most = models[0.3].bound(n_samples=300, n_steps=30, n_states=32, n_paths=4, n_times=5)
    assert 0 < most.direct <= most.cauchy_schwarz <= most.residual
    assert most.fisher > 0 and 0.1 < most.effective_paths <= 1
    assert most.energy == pytest.approx(most.fisher, abs=0.1) and most.energy > 3 * most.energy_error > 0


def test_bad_arguments_of_the_gap_are_refused_before_sampling(models, monkeypatch):
    monkeypatch.setattr("semigroup.densities.fokker_planck_gap.audit.sample_ode", None)
    with pytest.raises(ValueError, match="X must have 1 columns"):
        models[0.3].gap(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="n_bins"):
        models[0.3].gap(n_bins=1)


def test_every_use_of_a_model_has_random_numbers_of_its_own(models):
    model = models[0.0]
    seeds = [model._generator(use, None).initial_seed() for use in USES]
    assert len({*seeds, seed_from(model.random_state)}) == len(USES) + 1  # the last is the network's
    assert seeds == [model._generator(use, model.random_state).initial_seed() for use in USES]
    np.testing.assert_array_equal(model.sample(5, n_steps=11), model.sample(5, n_steps=11))
    assert np.abs(model.sample(5, n_steps=11) - model.sample(5, n_steps=11, random_state=1)).max() > 0.01


def test_results_do_not_depend_on_the_origin_and_the_unit_of_the_data():
    X = nine_gaussians(500, random_state=0)
    one, other = (PotentialDiffusion(**QUICK).fit(rows) for rows in (X, 3 + 100 * X))
    np.testing.assert_allclose(other.sample(20), 3 + 100 * one.sample(20), rtol=1e-2, atol=0.5)
    np.testing.assert_allclose(other.residual(3 + 100 * X[:5], 1.0), one.residual(X[:5], 1.0), rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(
        other.score_function(3 + 100 * X[:5], 1.0), one.score_function(X[:5], 1.0) / 100, rtol=0.01, atol=1e-4
    )
    shift = other.score_samples(3 + 100 * X[:5]) - one.score_samples(X[:5])
    np.testing.assert_allclose(shift, -2 * math.log(100), atol=0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "vp", "residual_weight": 1e-3},
        {"schedule": "ve", "residual_weight": 1e-3, "residual_points": "half"},
        {"penalty": "gradient"},
        {"activation": "silu", "weighting": "none", "min_time": 1e-2},
        {"activation": "tanh", "n_probes": 2, "ramp": 0.0},
        {"standardize": False, "horizon": 8.0, "box": (-3.5, 3.5)},
        {"boundary_weight": 0.1, "terminal_weight": 0.1, "initial_weight": 0.1},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_variant_trains_and_samples(options):
    X = nine_gaussians(500, random_state=0)
    density = {"initial_log_density": lambda rows: -0.5 * (rows**2).sum(1)} if "initial_weight" in options else {}
    model = PotentialDiffusion(**(QUICK | options)).fit(X, **density)
    assert np.isfinite(model.losses_).all() and model.losses_[-20:].mean() < 1.5 * model.losses_[:20].mean() + 1
    for law in ("ode", "sde"):
        assert np.isfinite(model.sample(50, method=law, n_steps=40)).all()
    assert np.isfinite(model.residual(X[:5], np.full(5, 0.5))).all()


def test_terminal_term_brings_the_potential_to_the_priors_log_density():
    X = lumps(1000)
    options = QUICK | {"residual_weight": 0.0, "warm_start": 0.0, "n_steps": 250, "learning_rate": 8e-3}
    off = []
    for weight in (0.0, 1.0):
        model = PotentialDiffusion(terminal_weight=weight, **options).fit(X)
        z = (X[:100] - model.shift_) / model.scale_
        want = -(z[:, 0] ** 2) / (2 * PRIOR**2) - math.log(PRIOR * math.sqrt(2 * math.pi))
        off.append(np.abs(model.potential(X[:100], 5.0) - want).mean())
    assert off[1] < 0.5 * off[0]


def test_boundary_term_lowers_the_potential_on_the_faces_of_the_box():
    X = lumps(1000)
    options = QUICK | {"residual_weight": 0.0, "warm_start": 0.0, "n_steps": 200}
    faces = []
    for weight in (0.0, 1.0):
        model = PotentialDiffusion(boundary_weight=weight, **options).fit(X)
        faces.append(np.mean([np.exp(2 * model.potential(model.box_, t)).mean() for t in (0.5, 2.0, 4.0)]))
    assert faces[1] < 0.5 * faces[0]


def test_collapse_to_the_trivial_solution_is_reported():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PotentialDiffusion(**(QUICK | {"n_steps": 250, "learning_rate": 4e-3})).fit(lumps(500))
    with pytest.warns(UserWarning, match="trivial solution"):
        PotentialDiffusion(**(QUICK | {"residual_weight": 1e3, "warm_start": 0.0, "ramp": 0.0})).fit(lumps(500))


def test_a_prior_far_from_the_terminal_law_is_warned_of():
    with pytest.warns(UserWarning, match="nats from the prior"):
        PotentialDiffusion(horizon=0.3, **QUICK).fit(lumps(500))


def test_a_warm_start_is_the_same_training_however_long_the_penalty_follows():
    X, options = nine_gaussians(300, random_state=0), {"hidden": (8,), "batch_size": 16, "n_residual": 16}
    losses = [
        PotentialDiffusion(n_steps=30 + n, warm_start=30 / (30 + n), ramp=0.0, random_state=0, **options).fit(X).losses_
        for n in (30, 10)
    ]
    np.testing.assert_array_equal(losses[0][:30], losses[1][:30])
    rates = [PotentialDiffusion()._learning_rate_share(step) for step in (1999, 2000, 3399, 3400)]
    np.testing.assert_allclose(rates, [1, 0.2, 0.2, 0.04])
    late = PotentialDiffusion(warm_start=0.8, ramp=0.0, n_steps=100)
    np.testing.assert_allclose([late._learning_rate_share(step) for step in (79, 80, 93, 94)], [1, 0.2, 0.2, 0.04])
    for warm_start in (0.0, 0.3, 1.0):
        other = PotentialDiffusion(warm_start=warm_start, n_steps=100)
        np.testing.assert_allclose([other._learning_rate_share(step) for step in (49, 50, 84, 85)], [1, 0.2, 0.2, 0.04])


def test_model_is_the_last_step_of_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), PotentialDiffusion(**(QUICK | {"n_steps": 20}), device="cpu"))
    with pytest.warns(UserWarning, match="untrained"):
        pipeline.fit(nine_gaussians(100, random_state=0))
    assert pipeline.score_samples(nine_gaussians(5, random_state=1)).shape == (5,)


def test_same_seed_gives_the_same_model_and_another_seed_another():
    X = nine_gaussians(300, random_state=0)
    draws = [
        PotentialDiffusion(**(QUICK | {"random_state": s, "n_steps": 20})).fit(X).sample(10, n_steps=20)
        for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.abs(draws[0] - draws[2]).max() > 0.01


def test_stopped_training_resumes_to_the_same_model(tmp_path, monkeypatch):
    X = lumps(300)
    monkeypatch.setattr("semigroup.densities.fokker_planck_gap.estimator.CHECKPOINT_EVERY", 20)
    options = QUICK | {"n_steps": 60}
    whole = PotentialDiffusion(**options).fit(X)
    calls = {"n": 0}
    honest = residual

    def failing(*args, **kwargs):
        calls["n"] += 1
        if calls["n"] == 15:
            raise KeyboardInterrupt
        return honest(*args, **kwargs)

    monkeypatch.setattr("semigroup.densities.fokker_planck_gap.estimator.residual", failing)
    with pytest.raises(KeyboardInterrupt):
        PotentialDiffusion(**options).fit(X, checkpoint_dir=tmp_path)
    monkeypatch.setattr("semigroup.densities.fokker_planck_gap.estimator.residual", honest)
    resumed = PotentialDiffusion(**options).fit(X, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(whole.sample(5, n_steps=20), resumed.sample(5, n_steps=20))


def test_saved_model_gives_the_same_results_after_loading(models, tmp_path):
    model = models[0.3]
    loaded = PotentialDiffusion.from_pretrained(model.save_pretrained(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.sample(10, n_steps=20), model.sample(10, n_steps=20))
    np.testing.assert_array_equal(loaded.score_samples(lumps(5)), model.score_samples(lumps(5)))
    with pytest.raises(NotFittedError):
        PotentialDiffusion().save_pretrained(tmp_path / "untrained")


def test_torch_in_gives_torch_out(models):
    x = torch.from_numpy(lumps(4))
    for result in (models[0.3].potential(x, 1.0), models[0.3].residual(x, 1.0), models[0.3].score_samples(x)):
        assert isinstance(result, torch.Tensor) and result.dtype == x.dtype and result.shape == (4,)


@pytest.fixture
def short_job(monkeypatch):
    for name, value in (("N_STEPS", 12), ("N_LIKELIHOODS", 8), ("N_PATHS", 4)):
        monkeypatch.setattr(job, name, value)
    monkeypatch.setattr(job, "BOUND", {"n_samples": 20, "n_steps": 12, "n_states": 2, "n_paths": 2, "n_times": 2})


def test_job_reports_the_gap_with_and_without_the_penalty(short_job, tmp_path):
    file = tmp_path / "table.npy"
    np.save(file, lumps(400))
    table = read([file])
    outcome = perform(PotentialDiffusion(**QUICK), table, Context())
    assert {"gap_ode_sde_with_the_penalty", "gap_ode_sde_without_the_penalty"} <= set(outcome.metrics)
    assert outcome.metrics["bound_direct_with_the_penalty"] <= outcome.metrics["bound_residual_with_the_penalty"]
    assert "8 held-out rows differ" in outcome.summary and "At most" in outcome.summary
    assert "unequal units" not in outcome.summary
    # What the figures say is of the rows that they show.
    ode, sde = outcome.arrays["ode_samples"], outcome.arrays["sde_samples"]
    distance = sample_distance(ode, table.held_out, outcome.model.box_, n_bins=job.N_BINS)
    assert outcome.metrics["ode_to_data_with_the_penalty"] == pytest.approx(distance)
    assert outcome.metrics["sde_to_data_with_the_penalty"] == pytest.approx(
        sample_distance(sde, table.held_out, outcome.model.box_, n_bins=job.N_BINS)
    )
    assert f"{distance:.3f} from the data" in outcome.pictures["laws"].figure.axes[1].get_title()
    assert np.abs(np.sort(ode, axis=0) - np.sort(sde, axis=0)).max() > 0
    alone = perform(PotentialDiffusion(**(QUICK | {"residual_weight": 0.0, "n_steps": 20})), table, Context())
    assert "gap_ode_sde_with_the_penalty" not in alone.metrics
    np.save(file, np.ones((20, 2)))
    with pytest.raises(ValueError, match=r"table.npy: columns 0, 1 hold one value"):
        read([file])
    with pytest.raises(ValueError, match="one table is wanted"):
        read([file, file])


def test_job_audits_tables_of_many_columns_in_unequal_units(short_job, tmp_path):
    file = tmp_path / "table.npy"
    widths = np.ones(21)
    widths[4] = 0.01
    np.save(file, widths * np.random.default_rng(0).normal(size=(80, 21)))
    options = QUICK | {"n_probes": 1, "n_steps": 10}
    with pytest.warns(UserWarning, match="untrained"):
        outcome = perform(PotentialDiffusion(**options), read([file]), Context())
    assert "bound_direct_with_the_penalty" not in outcome.metrics and "At most" not in outcome.summary
    # The fifth column's noise is far wider than its data, so that every sample is outside.
    assert outcome.metrics["ode_samples_outside_the_box_with_the_penalty"] == 1
    assert "gap_ode_sde_with_the_penalty" not in outcome.metrics and "no sample inside the box" in outcome.summary
    assert "column 5" in outcome.summary and "unequal units" in outcome.summary
    assert "first two of 21 columns" in outcome.pictures["laws"].caption
    rows = outcome.arrays["ode_samples"][:3]
    assert np.isfinite(outcome.model.residual(rows, 1.0)).all()
    assert np.isfinite(outcome.model.residual_profile(n_times=2, n_points=3).std).all()
    assert np.isfinite(outcome.model.score_samples(rows, law="sde", n_paths=2)).all()


# --- bad input --------------------------------------------------------------------------------------------------------


class NoNoise(Schedule):
    def rate(self, t):
        return torch.zeros_like(torch.as_tensor(t, dtype=torch.float64))

    def diffusion(self, t):
        return torch.zeros_like(torch.as_tensor(t, dtype=torch.float64))

    scale = std = diffusion


def test_a_schedule_without_noise_is_refused():
    x = torch.zeros(2, 1)
    with pytest.raises(ValueError, match="positive diffusion"):
        sample_ode(lambda x, t: -x, x, [1.0, 0.5, 0.0], NoNoise())


def test_vector_models_are_refused_where_a_potential_is_needed_and_told_of_the_gradient_form():
    x, t = points()
    with pytest.raises(ValueError, match="score_residual"):
        derivatives(lambda x, t: -x, x, t)
    with pytest.raises(ValueError, match="vector a row"):
        score_residual(lambda x, t: -x[:, :1], x, t, OU)


def test_piecewise_linear_networks_are_refused():
    class Kinked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)).double()

        def forward(self, x, t):
            return self.layers(x)[:, 0]

    with pytest.raises(ValueError, match="ReLU"):
        derivatives(Kinked(), *points())
    with pytest.raises(ValueError, match="activation must be twice differentiable"):
        PotentialDiffusion(**QUICK).set_params(activation="relu").fit(lumps(50))


def test_training_on_exact_laplacians_of_many_columns_is_refused_and_probes_accepted():
    rows = np.random.default_rng(0).normal(size=(60, 21))
    with pytest.raises(ValueError, match=r"n_probes must be > 0 .*Hutchinson"):
        PotentialDiffusion(**QUICK).fit(rows)
    with pytest.raises(ValueError, match='penalty="gradient" is for X with at most 20 columns'):
        PotentialDiffusion(**(QUICK | {"penalty": "gradient"})).fit(rows)
    with pytest.warns(UserWarning, match="untrained"):
        model = PotentialDiffusion(**(QUICK | {"n_probes": 1, "n_steps": 10})).fit(rows)
    with pytest.raises(ValueError, match="dimensions"):
        model.bound()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"residual_weight": -0.1}, "residual_weight must be >= 0"),
        ({"boundary_weight": -1.0}, "boundary_weight"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"horizon": 0.0}, "horizon must be > 0"),
        ({"min_time": 0.0}, "min_time must be > 0"),
        ({"min_time": 5.0}, "min_time must be .* < 5"),
        ({"hidden": ()}, "hidden"),
        ({"box": (1.0, 1.0)}, "box must have lower < upper"),
        ({"box": (50.0, 60.0)}, "box holds no row"),
        ({"warm_start": 1.5}, "warm_start"),
        ({"warm_start": 0.9, "ramp": 0.5}, "ramp must be at most 1 - warm_start"),
        ({"penalty": "gradient", "n_probes": 1}, "n_probes"),
        ({"initial_weight": 1.0}, "initial_log_density"),
        ({"n_steps": 0}, "n_steps"),
        ({"device": "tpu"}, "device"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_parameters_are_refused_by_name(options, words):
    with pytest.raises(ValueError, match=words):
        PotentialDiffusion(**QUICK).set_params(**options).fit(lumps(50))


@pytest.mark.parametrize("options", [{"hidden": 64}, {"box": 3.0}], ids=str)
def test_numbers_in_the_place_of_sequences_are_refused_by_name(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        PotentialDiffusion(**(QUICK | options)).fit(lumps(50))


@pytest.mark.parametrize(
    ("log_density", "words"),
    [
        (lambda rows: -(rows**2), "one number a row"),
        (lambda rows: np.where(rows[:, 0] < 0, -np.inf, 0.0), r"finite everywhere in the box, got -inf at \d+%"),
    ],
    ids=["columns", "infinite"],
)
def test_a_data_density_that_cannot_be_trained_on_is_refused_before_training(log_density, words):
    model = PotentialDiffusion(**(QUICK | {"initial_weight": 1.0}))
    with pytest.raises(ValueError, match=f"initial_log_density must .*{words}"):
        model.fit(lumps(50), initial_log_density=log_density)


def test_bad_data_and_points_are_refused_by_name(models):
    with pytest.raises(ValueError, match="X holds NaN"):
        PotentialDiffusion(**QUICK).fit(np.full((5, 1), np.nan))
    with pytest.raises(ValueError, match="X must have rows that differ"):
        PotentialDiffusion(**QUICK).fit(np.ones((5, 2)))
    with pytest.raises(ValueError, match="box must be given where columns"):
        PotentialDiffusion(**QUICK).fit(np.column_stack([np.ones(5), np.arange(5)]))
    with pytest.raises(ValueError, match="X must have 1 columns"):
        models[0.0].residual(np.zeros((2, 2)), 0.1)
    with pytest.raises(ValueError, match=r"t must lie in \[0, 5\]"):
        models[0.0].potential(np.zeros((2, 1)), 6.0)
    with pytest.raises(ValueError, match="t must be one time"):
        models[0.0].potential(np.zeros((2, 1)), np.ones(3))
    with pytest.raises(ValueError, match="p must hold finite masses"):
        grid_wasserstein(np.zeros((2, 2)), np.ones((2, 2)), 1.0)
    with pytest.raises(ValueError, match="q must be on the grid of p"):
        grid_wasserstein(np.ones(4), np.ones((2, 2)), 1.0)
    with pytest.raises(TypeError, match="n_bins"):
        sample_distance(np.zeros((2, 1)), np.zeros((2, 1)), np.array([[-1.0], [1.0]]), n_bins=2.5)
    with pytest.raises(ValueError, match="box must have lower < upper"):
        sample_distance(np.zeros((2, 1)), np.zeros((2, 1)), np.array([[1.0], [0.0]]))


def test_diverging_training_stops():
    with pytest.raises(TrainingDiverged):
        PotentialDiffusion(**(QUICK | {"learning_rate": 1e30})).fit(checkerboard(100, random_state=0))
