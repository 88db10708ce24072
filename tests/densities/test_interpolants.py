"""Stochastic interpolants: rates, algebra, losses, samplers, likelihoods, learning, relatives, bad input, storage."""

import math
import re

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from sklearn.exceptions import NotFittedError

from semigroup.data.flow_examples import (
    checkerboard,
    checkerboard_density,
    eight_gaussians,
    line_mixtures,
    scattered_mixture,
    two_moons,
)
from semigroup.data.images import digits
from semigroup.densities import (
    DiffusiveInterpolant,
    GaussianMixture,
    MaxMinBridge,
    MixturePath,
    StochasticInterpolant,
    energy_distance,
    wasserstein,
)
from semigroup.densities.interpolants import (
    Base,
    Brownian,
    CustomGamma,
    CustomInterpolant,
    CustomPath,
    DiffusivePath,
    ExactFields,
    FieldNetwork,
    FieldNetworks,
    Fields,
    GaussianBridge,
    LearntFields,
    LinearPath,
    OneSidedNetwork,
    SinePath,
    best_epsilon,
    denoising_chain,
    draw_pairs,
    estimator,
    feynman_kac_paths,
    field_targets,
    gaussian_bridge,
    implicit_score_loss,
    likelihood_bound,
    make_interpolant,
    needs_antithetic,
    ode_log_likelihood,
    regression_loss,
    reverse_sde_paths,
    sample_ode,
    sample_sde,
    time_grid,
)
from semigroup.jobs import Context
from semigroup.jobs.interpolants import MIN_ROWS, Samples, perform, read
from semigroup.report.figures import save_png
from semigroup.sde import SolverFailed

F64 = torch.float64
GAMMAS = ("brownian", "quadratic", "sin2", "sigmoid")
TWO_SIDED = ("linear", "trig", "trig-plain", "encoding-decoding")
ONE_SIDED = ("one-sided-linear", "one-sided-trig", "one-sided-sbdm")
SMALL = {"hidden": (32, 32), "batch_size": 128, "max_steps": 150, "random_state": 0}
LOOSE = {"rtol": 1e-3, "atol": 1e-3}


def every_interpolant():
    cases = [(path, gamma) for path in TWO_SIDED for gamma in GAMMAS] + [(path, "auto") for path in ONE_SIDED]
    return [
        *cases,
        ("linear", "zero"),
        ("trig", "zero"),
        ("trig-plain", "zero"),
        ("mirror", "brownian"),
        ("mirror", "quadratic"),
    ]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=generator(seed))


def two_mixtures():
    source = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, 0.0]], [0.3, 0.2])
    target = GaussianMixture(
        [0.5, 0.5], [[-2.0, 1.0], [2.0, -1.0]], [[[0.5, 0.2], [0.2, 0.3]], [[0.2, 0.0], [0.0, 0.4]]]
    )
    return source, target


def posterior_means(path, x, t):
    """``E[x0 | x_t = x]`` and ``E[x1 | x_t = x]`` of a path between mixtures, pair by pair."""
    c, density = path.coefficients(t), path.density(t)
    weights = density.responsibilities(x)
    eta0, eta1 = torch.zeros_like(x), torch.zeros_like(x)
    pairs = [(i, j) for i in range(len(path.source.weights)) for j in range(len(path.target.weights))]
    for k, (i, j) in enumerate(pairs):
        C0, C1 = path.source.covariances[i], path.target.covariances[j]
        total = c.alpha**2 * C0 + c.beta**2 * C1 + c.gamma**2 * torch.eye(x.shape[1], dtype=F64)
        gap = torch.linalg.solve(total, (x - c.alpha * path.source.means[i] - c.beta * path.target.means[j]).T).T
        eta0 += weights[:, k, None] * (path.source.means[i] + c.alpha * gap @ C0)
        eta1 += weights[:, k, None] * (path.target.means[j] + c.beta * gap @ C1)
    return eta0, eta1


def exact_networks(path, names):
    """The exact fields by name, as networks with one time a row (all equal)."""

    def network(name):
        def field(x, t):
            time = float(t[0])
            c = path.coefficients(time)
            velocity, score = path.velocity(x, time), path.score(x, time)
            eta0, eta1 = posterior_means(path, x, time)
            spatial = velocity + c.gamma_gamma_dot * score
            noise = eta0 if c.gamma == 0 else -c.gamma * score
            fields = {
                "b": velocity,
                "v": spatial,
                "s": score,
                "energy": score,
                "eta": noise,
                "eta0": eta0,
                "eta1": eta1,
            }
            return fields[name]

        return field

    return {name: network(name) for name in names}


# --- interpolants ---


@pytest.mark.parametrize(("path", "gamma"), every_interpolant())
def test_rates_are_the_derivatives_in_time(path, gamma):
    interpolant = make_interpolant(path, gamma)
    t = torch.tensor([0.03, 0.2, 0.41, 0.63, 0.97], dtype=F64)
    pairs = [
        (interpolant.alpha, interpolant.alpha_rate),
        (interpolant.beta, interpolant.beta_rate),
        (interpolant.gamma.value, interpolant.gamma.rate),
        (lambda t: interpolant.gamma.value(t) ** 2 / 2, interpolant.gamma.product),
        (lambda t: interpolant.alpha(t) ** 2 / 2, interpolant.alpha_product),
    ]
    for function, rate in pairs:
        expected = (function(t + 1e-6) - function(t - 1e-6)) / 2e-6
        got = torch.zeros_like(t) if gamma == "zero" and function == interpolant.gamma.value else rate(t)
        assert torch.allclose(got, expected, atol=1e-7)


@pytest.mark.parametrize(("path", "gamma"), every_interpolant())
def test_paths_begin_in_x0_and_end_in_x1(path, gamma):
    interpolant = make_interpolant(path, gamma)
    x0, x1 = draws(4, 2), draws(4, 2, seed=1)
    start = x1 if path == "mirror" else x0
    ends = torch.zeros(4, dtype=F64), torch.ones(4, dtype=F64)
    assert torch.allclose(interpolant.mean(ends[0], x0, x1), start, atol=1e-12)
    assert torch.allclose(interpolant.mean(ends[1], x0, x1), x1, atol=1e-12)
    assert all(abs(float(interpolant.gamma.value(end[:1]))) < 1e-12 for end in ends)


def test_shares_of_the_variance_are_constant_where_the_paper_says_so():
    t = torch.linspace(0, 1, 101, dtype=F64)
    for interpolant in (make_interpolant("linear", gamma_scale=2.0), make_interpolant("trig", "sin2")):
        total = interpolant.alpha(t) ** 2 + interpolant.beta(t) ** 2 + interpolant.gamma.value(t) ** 2
        assert torch.allclose(total, torch.ones_like(t))


def test_only_the_brownian_gamma_leaves_a_score_in_the_velocity_at_the_ends():
    ends = torch.tensor([0.0, 1.0], dtype=F64)
    assert torch.equal(Brownian(3.0).product(ends), torch.tensor([1.5, -1.5], dtype=F64))
    for name in ("quadratic", "sin2", "sigmoid"):
        assert make_interpolant("linear", name).gamma.product(ends).abs().max() < 1e-12


def test_trig_is_finite_where_gamma_is_one():
    c = make_interpolant("trig", "sin2").coefficients(0.5)
    assert all(math.isfinite(value) for value in vars(c).values())
    assert c.gamma == 1.0 and abs(c.alpha) < 1e-7


def test_trig_stops_where_gamma_reaches_one():
    for gamma, scale, expected in (("sin2", 1.0, (0.5,)), ("brownian", 4.0, (0.5,)), ("brownian", 1.0, ())):
        assert make_interpolant("trig", gamma, scale).stops == expected
    early = make_interpolant("trig", lambda t: torch.sin(math.pi * t ** (math.log(0.5) / math.log(0.25))))
    assert early.stops == (0.25,)


def test_custom_objects_differentiate_themselves():
    gamma = CustomGamma(lambda t: t * (1 - t))
    path = CustomPath(lambda t: torch.cos(math.pi / 2 * t), lambda t: torch.sin(math.pi / 2 * t), gamma)
    for t in (0.1, 0.5, 0.8):
        ours, same = vars(path.coefficients(t)), vars(make_interpolant("trig-plain", "quadratic").coefficients(t))
        assert all(math.isclose(ours[name], same[name], abs_tol=1e-12) for name in ours)


def test_non_linear_interpolant_gives_its_rate_by_forward_differentiation():
    def arc(t, x0, x1):
        t = t[:, None]
        return torch.cos(math.pi / 2 * t) * x0 + torch.sin(math.pi / 2 * t) * x1 + t * (1 - t) * x0 * x1

    x0, x1, t = draws(5, 2), draws(5, 2, seed=1), torch.linspace(0.1, 0.9, 5, dtype=F64)
    expected = (arc(t + 1e-6, x0, x1) - arc(t - 1e-6, x0, x1)) / 2e-6
    assert torch.allclose(CustomInterpolant(arc).rate(t, x0, x1), expected, atol=1e-7)


# --- losses ---


@pytest.mark.parametrize("name", ["b", "v", "s", "eta", "eta0", "eta1"])
def test_exact_field_minimises_its_loss_to_minus_half_its_mean_square(name):
    """At the exact field ``E[target . f] = E|f|^2``; at any other the loss is higher by half the mean squared error."""
    source, target = two_mixtures()
    interpolant, t, n = make_interpolant("linear"), 0.3, 200_000
    path = MixturePath(source, target, interpolant.coefficients)
    x0, x1, z = source.sample(n, generator(0)), target.sample(n, generator(1)), draws(n, 2, seed=2)
    times, x, *parts = draw_pairs(interpolant, torch.full((n,), t, dtype=F64), x0, x1, z, antithetic=True)
    goal = field_targets(interpolant, (name,), times, *parts)[name]
    exact = exact_networks(path, [name])[name](x, times)
    least = regression_loss(exact, goal)
    assert float(least) == pytest.approx(-float(exact.square().sum(1).mean()) / 2, rel=0.02)
    shifted = regression_loss(exact + 0.5, goal)
    assert float(shifted - least) == pytest.approx(0.25, abs=0.03)


def test_antithetic_pairs_bound_the_variance_of_the_score_loss_at_the_ends():
    n, interpolant = 200_000, make_interpolant("linear")
    t = torch.full((n,), 1e-4, dtype=F64)
    assert needs_antithetic(interpolant, ("s",))
    parts = draw_pairs(interpolant, t, draws(n, 1), draws(n, 1, seed=1), draws(n, 1, seed=2), antithetic=True)
    target = field_targets(interpolant, ("s",), parts[0], *parts[2:])["s"]
    first, second = (target * -parts[1]).reshape(2, n)  # the exact score is -x, up to 1e-4
    assert float(first.var()) == pytest.approx(1e4, rel=0.05)
    assert float(((first + second) / 2).var()) == pytest.approx(2, rel=0.05)


def test_noise_is_reversed_in_the_second_half_and_one_sided_it_is_x0():
    t, x0, x1, z = (
        torch.rand(3, dtype=F64, generator=generator()),
        draws(3, 2),
        draws(3, 2, seed=1),
        draws(3, 2, seed=2),
    )
    interpolant = make_interpolant("linear")
    _, x, *_ = draw_pairs(interpolant, t, x0, x1, z, antithetic=True)
    assert torch.allclose(x[:3] + x[3:], 2 * interpolant.mean(t, x0, x1))
    _, x, start, _, _ = draw_pairs(make_interpolant("one-sided-linear"), t, x0, x1, None, antithetic=True)
    assert torch.equal(start[3:], -x0) and torch.allclose(x[:3] + x[3:], 2 * t[:, None] * x1)


def test_implicit_score_matching_finds_the_same_score():
    x = 2 * draws(100_000, 1)
    losses = {slope: float(implicit_score_loss(lambda x, slope=slope: -slope * x, x)) for slope in (0.15, 0.25, 0.35)}
    assert min(losses, key=losses.get) == 0.25
    assert losses[0.25] == pytest.approx(-0.25, rel=0.02)


# --- algebra of the fields ---


@pytest.mark.parametrize(
    "learn", [("b", "eta"), ("b", "s"), ("v", "eta"), ("v", "s"), ("eta0", "eta1"), ("eta0", "eta"), ("eta1", "eta")]
)
@pytest.mark.parametrize("name", ["linear", "trig", "encoding-decoding"])
def test_two_fields_determine_all_others(learn, name):
    interpolant = make_interpolant(name)
    path = MixturePath(*two_mixtures(), interpolant.coefficients)
    fields = LearntFields(interpolant, exact_networks(path, learn))
    x = 2 * draws(20, 2)
    for t in (0.2, 0.7):
        if name == "encoding-decoding" and set(learn) in ({"eta0", "eta"}, {"eta1", "eta"}):
            continue  # one of the shares is zero there, and the mean that it hides does not follow
        assert torch.allclose(fields.velocity(x, t), path.velocity(x, t), atol=1e-8)
        velocity, score = fields.both(x, t)
        assert torch.allclose(velocity, path.velocity(x, t), atol=1e-8)
        assert torch.allclose(score, path.score(x, t), atol=1e-8)
        assert torch.allclose(fields.denoiser(x, t), path.denoiser(x, t), atol=1e-8)
        if name != "encoding-decoding" or t > 0.5 or "eta1" in learn:
            assert torch.allclose(fields.target_mean(x, t), posterior_means(path, x, t)[1], atol=1e-8)
        else:
            with pytest.raises(ValueError, match="x1 enters"):
                fields.target_mean(x, t)
        assert torch.allclose(fields.drift(x, t, 0.7), path.velocity(x, t) + 0.7 * path.score(x, t), atol=1e-8)


@pytest.mark.parametrize("learn", [("b",), ("eta",), ("eta1",), ("eta", "eta1"), ("s", "eta1"), ("b", "s")])
@pytest.mark.parametrize("name", ONE_SIDED)
def test_one_field_determines_all_others_from_gaussian_noise_of_any_covariance(learn, name):
    interpolant = make_interpolant(name)
    covariance = torch.tensor([[1.5, 0.3], [0.3, 0.7]], dtype=F64)
    base = GaussianMixture([1.0], [[0.0, 0.0]], covariance[None].numpy())
    path = MixturePath(base, two_mixtures()[1], interpolant.coefficients)
    fields = LearntFields(interpolant, exact_networks(path, learn), covariance=covariance)
    x = 2 * draws(20, 2)
    for t in (0.1, 0.5, 0.9):
        assert torch.allclose(fields.velocity(x, t), path.velocity(x, t), atol=1e-8)
        assert torch.allclose(fields.score(x, t), path.score(x, t), atol=1e-8)
        assert torch.allclose(fields.target_mean(x, t), posterior_means(path, x, t)[1], atol=1e-8)


def test_one_sided_velocity_at_the_start_is_known_from_the_mean_of_the_data():
    interpolant, target = make_interpolant("one-sided-linear"), two_mixtures()[1]
    path = MixturePath(GaussianMixture([1.0], [[0.0, 0.0]], [1.0]), target, interpolant.coefficients)
    mean = target.weights @ target.means
    fields = LearntFields(interpolant, {"eta": lambda x, t: x}, mean=mean)
    x = draws(5, 2)
    assert torch.allclose(fields.velocity(x, 0.0), path.velocity(x, 0.0), atol=1e-10)


def test_mirror_velocity_is_minus_gamma_gamma_dot_score():
    target = two_mixtures()[1]
    interpolant = make_interpolant("mirror")
    path = MixturePath(target, target, interpolant.coefficients)
    x = draws(10, 2)
    for learn in (("eta",), ("s",)):
        fields = LearntFields(interpolant, exact_networks(path, learn))
        for t in (0.2, 0.8):
            assert torch.allclose(fields.velocity(x, t), -(0.5 - t) * path.score(x, t), atol=1e-9)


@pytest.mark.parametrize("field", ["eta", "eta1"])
def test_one_sided_networks_are_exact_for_gaussian_data_before_any_training(field):
    interpolant = make_interpolant("one-sided-trig")
    mean = torch.tensor([3.0, -1.0])
    network = OneSidedNetwork((2,), (8,), interpolant=interpolant, field=field, mean=mean, deviation=0.5)
    torch.nn.init.zeros_(network.backbone.rest[-1].weight)
    torch.nn.init.zeros_(network.backbone.rest[-1].bias)
    data = GaussianMixture([1.0], mean[None].double().numpy(), [0.25])
    path = MixturePath(GaussianMixture([1.0], [[0.0, 0.0]], [1.0]), data, interpolant.coefficients)
    fields = LearntFields(interpolant, {field: network})
    x = 2 * draws(10, 2).float()
    for t in (0.05, 0.6, 0.95):
        assert torch.allclose(fields.velocity(x, t).double(), path.velocity(x.double(), t), atol=2e-3)


# --- samplers ---


@pytest.mark.parametrize(
    ("name", "gamma"), [("linear", "brownian"), ("trig", "brownian"), ("encoding-decoding", "auto")]
)
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_every_noise_level_carries_the_source_to_the_target_and_back(name, gamma, epsilon):
    source, target = (GaussianMixture(*parts) for parts in line_mixtures())
    interpolant = make_interpolant(name, gamma)
    fields = ExactFields(MixturePath(source, target, interpolant.coefficients), interpolant.stops)
    times = np.linspace(1e-4, 1 - 1e-4, 121).tolist()
    start, goal = source.sample(1500, generator(0)), target.sample(1500, generator(1))
    forward = sample_sde(fields, start, times, epsilon, generator(2), keep="last")[:, 0]
    backward = sample_sde(fields, goal, times[::-1], epsilon, generator(3), keep="last")[:, 0]
    assert wasserstein(forward, goal) < 0.5
    assert wasserstein(backward, start) < 0.5
    # The distances between the two ends are of another order.
    assert wasserstein(start, goal) > 1.5


def test_a_wrong_sign_of_the_score_is_noticed():
    source, target = (GaussianMixture(*parts) for parts in line_mixtures())
    path = MixturePath(source, target, LinearPath().coefficients)

    class Wrong(Fields):
        def velocity(self, x, t):
            return path.velocity(x, t)

        def score(self, x, t):
            return -path.score(x, t)

    times = np.linspace(0.01, 0.99, 101).tolist()
    end = sample_sde(Wrong(), source.sample(2000, generator(0)), times, 0.5, generator(1), keep="last")[:, 0]
    assert wasserstein(end, target.sample(2000, generator(2))) > 0.4


def test_noise_may_depend_on_time_and_both_schemes_agree():
    source, target = (GaussianMixture(*parts) for parts in line_mixtures())
    fields = ExactFields(MixturePath(source, target, LinearPath().coefficients))
    times = np.linspace(1e-3, 1 - 1e-3, 201).tolist()
    start, goal = source.sample(3000, generator(0)), target.sample(3000, generator(1))
    for method in ("heun", "euler-maruyama"):
        end = sample_sde(
            fields, start, times, lambda t: math.sqrt(t * (1 - t)), generator(2), method=method, keep="last"
        )
        assert wasserstein(end[:, 0], goal) < 0.4


def test_steps_that_are_too_long_for_the_noise_are_warned_of():
    normal = GaussianMixture([1.0], [[0.0]], [1.0])
    fields = ExactFields(MixturePath(normal, normal, LinearPath().coefficients))
    with pytest.warns(UserWarning, match="exceeds 0.1"):
        sample_sde(fields, draws(2, 1), [0.1, 0.5, 0.9], 1.0, generator())


@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_what_is_warned_of_does_not_depend_on_the_unit_of_the_data(unit, recwarn):
    normal = GaussianMixture([1.0], [[0.0]], [unit**2])
    interpolant = LinearPath(Brownian(unit**2))
    networks = {name: lambda x, t: 0 * x for name in ("b", "eta")}
    for fields in (
        ExactFields(MixturePath(normal, normal, interpolant.coefficients)),
        LearntFields(interpolant, networks),
    ):
        assert fields.noise_scale == pytest.approx(unit**2)
        sample_sde(fields, unit * draws(2, 1), [0.1, 0.5, 0.9], 0.2 * unit**2, generator())
        assert not recwarn
        with pytest.warns(UserWarning, match="exceeds"):
            sample_sde(fields, unit * draws(2, 1), [0.1, 0.5, 0.9], 0.3 * unit**2, generator())


def test_grid_has_steps_proportional_to_gamma():
    grid = np.array(time_grid(LinearPath(), 1e-4, 1 - 1e-4, 100))
    middle = (grid[1:] + grid[:-1]) / 2
    ratio = np.diff(grid) / np.sqrt(middle * (1 - middle))
    assert ratio[5:-5].std() / ratio.mean() < 0.01
    assert grid[0] == 1e-4 and grid[-1] == 1 - 1e-4


@pytest.mark.parametrize(("path", "gamma"), every_interpolant())
def test_no_time_is_starved_of_steps_where_one_over_gamma_is_not_integrable(path, gamma):
    grid = np.array(time_grid(make_interpolant(path, gamma), 1e-4, 1 - 1e-4, 100))
    assert grid[0] == 1e-4 and grid[-1] == 1 - 1e-4
    assert (np.diff(grid) > 0).all() and np.diff(grid).max() < 3.1 / 100


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_grid_of_steps_carries_the_source_to_the_target_through_pure_noise(epsilon):
    source, target = (GaussianMixture(*parts) for parts in line_mixtures())
    interpolant = make_interpolant("encoding-decoding")
    fields = ExactFields(MixturePath(source, target, interpolant.coefficients), interpolant.stops)
    times = time_grid(interpolant, 1e-4, 1 - 1e-4, 100)
    end = sample_sde(fields, source.sample(1500, generator(0)), times, epsilon, generator(2), keep="last")[:, 0]
    assert wasserstein(end, target.sample(1500, generator(1))) < 0.5


def test_denoising_chain_converges_to_the_ode():
    interpolant, target = make_interpolant("one-sided-linear"), two_mixtures()[1]
    path = MixturePath(GaussianMixture([1.0], [[0.0, 0.0]], [1.0]), target, interpolant.coefficients)
    fields = LearntFields(interpolant, exact_networks(path, ("eta",)))
    z = draws(50, 2)
    flow = sample_ode(ExactFields(path), z, [1e-4, 0.999], rtol=1e-5, atol=1e-5, keep="last")[:, 0]
    errors = []
    for n in (100, 400):
        chain = denoising_chain(fields, z, np.linspace(1 / n, 0.999, n).tolist())
        errors.append(float((chain - flow).abs().mean()))
    assert errors[1] < 0.35 * errors[0] and errors[1] < 0.02


# --- likelihood ---


def test_likelihood_of_the_exact_ode_is_the_density():
    source, target = two_mixtures()
    fields = ExactFields(MixturePath(source, target, LinearPath().coefficients))
    x = target.sample(30, generator())
    got = ode_log_likelihood(fields, x, (1e-5, 1 - 1e-5), source.log_prob, rtol=1e-5, atol=1e-5)
    assert torch.allclose(got, target.log_prob(x), atol=0.02)


def test_gradient_of_the_likelihood_is_that_of_finite_differences():
    source, target = two_mixtures()
    fields = ExactFields(MixturePath(source, target, LinearPath().coefficients))

    def value(x):
        return ode_log_likelihood(fields, x, (0.05, 0.95), source.log_prob, rtol=1e-4, atol=1e-4).sum()

    x = torch.tensor([[1.4, -0.6]], dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(x), x)
    along = torch.tensor([[1.0, 0.0]], dtype=F64)
    with torch.no_grad():
        difference = (value(x + 1e-2 * along) - value(x - 1e-2 * along)) / 2e-2
    assert float(gradient[0, 0]) == pytest.approx(float(difference), rel=0.01)


@pytest.mark.parametrize("paths", [feynman_kac_paths, reverse_sde_paths])
def test_likelihoods_of_the_sde_are_the_density_where_the_fields_are_exact(paths):
    source = GaussianMixture([1.0], [[0.0]], [1.0])
    target = GaussianMixture([0.5, 0.5], [[-1.0], [1.5]], [0.5, 0.3])
    fields = ExactFields(MixturePath(source, target, LinearPath(Brownian(2.0)).coefficients))
    x = torch.tensor([[-1.0], [0.2], [1.5]], dtype=F64).repeat_interleave(1000, dim=0)
    end, integral = paths(fields, x, time_grid(LinearPath(), 1e-4, 1 - 1e-4, 40)[::-1], 0.5, generator())
    values = (source.log_prob(end) - integral).reshape(3, -1)
    truth = target.log_prob(torch.tensor([[-1.0], [0.2], [1.5]], dtype=F64))
    estimate = values.mean(1) if paths is reverse_sde_paths else values.logsumexp(1) - math.log(1000)
    assert torch.allclose(estimate, truth, atol=0.08)


class WrongDrift(Fields):
    """b = c and s = -x + c / epsilon for N(0, 1) to N(0, 1): the SDE ends in N(m, 1), m = 2 c (1 - exp(-epsilon)) / epsilon."""

    def __init__(self, c, epsilon):
        self.c, self.epsilon = c, epsilon

    def velocity(self, x, t):
        return torch.full_like(x, self.c)

    def score(self, x, t):
        return -x + self.c / self.epsilon


def test_feynman_kac_is_the_density_of_wrong_fields_too_and_the_reverse_sde_is_not():
    c = epsilon = 1.0
    m = 2 * c / epsilon * (1 - math.exp(-epsilon))
    times = np.linspace(1, 0, 51).tolist()
    points = torch.tensor([[-0.5], [0.5], [1.5]], dtype=F64)
    x = points.repeat_interleave(20_000, dim=0)

    def log_base(y):
        return -(y[:, 0] ** 2) / 2 - math.log(2 * math.pi) / 2

    end, integral = feynman_kac_paths(WrongDrift(c, epsilon), x, times, epsilon, generator())
    values = (log_base(end) - integral).reshape(3, -1)
    truth = torch.from_numpy(norm(m, 1).logpdf(points[:, 0].numpy()))
    assert torch.allclose(values.logsumexp(1) - math.log(20_000), truth, atol=0.05)
    # Jensen: the mean of the logarithm is below, so minus its mean over data bounds the cross-entropy from above.
    assert (values.mean(1) < truth).all()
    end, integral = reverse_sde_paths(WrongDrift(c, epsilon), x, times, epsilon, generator())
    other = (log_base(end) - integral).reshape(3, -1).mean(1)
    assert (other - truth).abs().min() > 0.15


def test_bound_holds_for_wrong_fields_with_the_constant_of_the_lemma_and_fails_with_the_printed_one():
    m = 2 * (1 - math.exp(-1))
    divergence = m**2 / 2
    # E|b_hat - b|^2 = c^2 and E|s_hat - s|^2 = c^2 / epsilon^2
    assert divergence <= likelihood_bound(1.0, 1.0, 1.0) == 1.0
    assert divergence > likelihood_bound(1.0, 1.0, 1.0) / 2
    assert best_epsilon(0.5, 2.0) == 0.5


def test_divergence_by_random_signs_is_unbiased():
    source, target = two_mixtures()
    fields = ExactFields(MixturePath(source, target, LinearPath().coefficients))
    x = target.sample(1, generator()).expand(400, 2)
    signs = (2 * torch.randint(2, (1, 400, 2), generator=generator(1)) - 1).double()
    got = ode_log_likelihood(fields, x, (1e-4, 1 - 1e-4), source.log_prob, probes=signs)
    assert float(got.mean()) == pytest.approx(float(target.log_prob(x[:1])), abs=4 * float(got.std()) / 20 + 0.02)
    assert got.std() > 0.01


# --- learning ---


@pytest.fixture(scope="module")
def cloud():
    rng = np.random.default_rng(0)
    return 0.5 * rng.standard_normal((2000, 2)) + [2.0, -1.0]


@pytest.fixture(scope="module")
def fitted(cloud):
    return StochasticInterpolant(**{**SMALL, "learn": ("b", "s"), "max_steps": 300}).fit(None, cloud)


@pytest.mark.parametrize(
    "options",
    [
        {"learn": ("b", "eta")},
        {"learn": ("v", "s")},
        {"learn": ("b", "energy")},
        {"path": "trig", "gamma": "sigmoid", "learn": ("b", "s")},
        {"path": "encoding-decoding", "epsilon_profile": "gamma", "max_steps": 400},
        {"gamma": "zero", "learn": ("b",)},
        {"path": "one-sided-linear", "learn": ("eta",)},
        {"path": "one-sided-sbdm", "learn": ("s", "eta1")},
        {"gamma": lambda t: t * (1 - t), "learn": ("b",)},
        {"path": CustomInterpolant(lambda t, x0, x1: (1 - t[:, None]) * x0 + t[:, None] * x1 + 0 * x0 * x1)},
    ],
    ids=lambda options: re.sub(" at 0x[0-9a-f]+", "", str(options)),
)
def test_every_variant_learns_a_gaussian_far_better_than_its_start(options, cloud):
    model = StochasticInterpolant(**{**SMALL, **LOOSE, **options}).fit(None, cloud)
    start = np.random.default_rng(1).standard_normal((800, 2))
    before = energy_distance(start, cloud[:800])
    assert energy_distance(model.sample(800), cloud[:800]) < 0.1 * before
    if model.fields_.has_score:
        noisy = model.sample(800, epsilon=0.05, n_steps=50)
        assert energy_distance(noisy, cloud[:800]) < 0.2 * before


def test_learnt_likelihoods_are_those_of_the_data(fitted, cloud):
    truth = multivariate_normal([2.0, -1.0], 0.25 * np.eye(2)).logpdf(cloud[:60])
    got = fitted.score_samples(cloud[:60])
    assert got.shape == (60,)
    assert abs(got.mean() - truth.mean()) < 0.15
    assert fitted.score(cloud[:10]) == pytest.approx(got[:10].mean(), abs=1e-3)
    few = {"epsilon": 0.2, "n_paths": 8, "n_steps": 20}
    estimate = fitted.score_samples_feynman_kac(cloud[:50], **few).mean()
    assert abs(estimate - truth[:50].mean()) < 0.4
    assert fitted.cross_entropy_bound(cloud[:50], **few) > -estimate
    assert abs(fitted.score_samples_reverse_sde(cloud[:50], **few).mean() - truth[:50].mean()) < 0.8


def test_samples_come_with_the_likelihood_that_they_would_be_given(fitted):
    samples, values = fitted.sample_with_log_likelihood(20)
    np.testing.assert_allclose(values, fitted.score_samples(samples), atol=5e-3)


def test_backward_ode_undoes_the_forward_one(fitted, cloud):
    start = fitted.transport(cloud[:20], backward=True)
    np.testing.assert_allclose(fitted.transport(start), cloud[:20], atol=5e-3)
    assert abs(fitted.transport(cloud, backward=True, epsilon=0.05, n_steps=50).mean(0)).max() < 0.3


def test_paths_start_in_their_rows_and_end_where_they_are_transported(fitted):
    x0 = np.random.default_rng(2).standard_normal((5, 2)).astype(np.float32)
    paths = fitted.sample_paths(x0, [0.0, 0.3, 1.0])
    assert paths.shape == (5, 3, 2)
    np.testing.assert_array_equal(paths[:, 0], x0)
    np.testing.assert_allclose(paths[:, -1], fitted.transport(x0), atol=2e-3)
    assert fitted.sample_paths(x0, [0.5], epsilon=0.3, n_steps=20).shape == (5, 1, 2)


def test_last_step_of_denoising_removes_noise(fitted, cloud):
    stopped = fitted.sample(500, epsilon=0.1, stop=0.97, n_steps=50)
    assert energy_distance(stopped, cloud[:500]) < 0.1
    assert fitted.sample(5, integrator="euler-maruyama", n_steps=10).shape == (5, 2)


def test_last_step_of_denoising_on_a_path_through_pure_noise_knows_its_second_half(cloud):
    model = StochasticInterpolant(**{**SMALL, **LOOSE, "max_steps": 2}, path="encoding-decoding").fit(None, cloud)
    assert np.isfinite(model.sample(3, stop=0.97)).all()
    with pytest.raises(ValueError, match="stop must be a time at which x1 enters"):
        model.sample(3, stop=0.4)


def test_nothing_larger_than_a_block_goes_through_a_network(cloud, monkeypatch):
    model = StochasticInterpolant(**{**SMALL, **LOOSE, "max_steps": 2}, learn=("b", "s")).fit(None, cloud)
    whole = model.sample(12, n_steps=5), model.sample_paths(cloud[:12], [0.3, 1.0], n_steps=5)
    seen = []
    for network in model.networks_.values():
        network.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    monkeypatch.setattr(estimator, "BLOCK_ENTRIES", 10)
    parts = model.sample(12, n_steps=5), model.sample_paths(cloud[:12], [0.3, 1.0], n_steps=5)
    for ours, expected in zip(parts, whole):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert model.sample(12, stop=0.9).shape == (12, 2)
    assert model.sample_paths(cloud[:12], [0.3, 1.0], epsilon=0.1, n_steps=3).shape == (12, 2, 2)
    assert model.sample_with_log_likelihood(12, n_probes=1)[1].shape == (12,)
    assert model.score_samples(cloud[:12], n_probes=1).shape == (12,)
    assert max(seen) == 5


def test_loss_goes_through_the_networks_own_call_as_a_wrapper_of_several_processes_needs():
    class Wrapper(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, *inputs):
            return self.module(*inputs)

    networks = FieldNetworks({name: FieldNetwork((2,), (8,), energy=name == "energy") for name in ("b", "energy")})
    model = StochasticInterpolant(learn=("b", "energy"), batch_size=16)
    step = estimator._Step(model, make_interpolant("linear"), Base((2,)), draws(50, 2).float())
    loss = step(Wrapper(networks), 0, generator())
    assert torch.equal(loss, step(networks, 0, generator()))
    # Several processes wait for the gradient of every parameter that asks for one.
    loss.backward()
    assert all(parameter.grad is not None for parameter in networks.parameters() if parameter.requires_grad)


def test_one_step_needs_a_velocity_without_latent_noise(fitted, cloud):
    with pytest.raises(ValueError, match="one_step needs gamma='zero'"):
        fitted.one_step(cloud[:2])


def test_times_may_begin_in_the_noise_of_a_one_sided_path(cloud):
    options = {**SMALL, **LOOSE, "max_steps": 2, "t_min": 0.0}
    model = StochasticInterpolant(**options, path="one-sided-linear", learn=("eta",)).fit(None, cloud)
    assert np.isfinite(model.sample(3)).all() and np.isfinite(model.sample(3, epsilon=0.1, n_steps=5)).all()
    with pytest.raises(ValueError, match="t_min=0"):
        model.sample(3, integrator="denoising")


def test_results_come_in_kind_and_by_seed(fitted):
    x = torch.zeros(3, 2, dtype=F64)
    moved = fitted.transport(x, epsilon=0.2, random_state=1)
    assert moved.dtype == F64
    assert torch.equal(moved, fitted.transport(x, epsilon=0.2, random_state=1))
    assert not torch.equal(moved, fitted.transport(x, epsilon=0.2, random_state=2))
    assert isinstance(fitted.velocity(np.zeros((3, 2)), 0.5), np.ndarray)
    np.testing.assert_allclose(
        fitted.denoiser(np.ones((3, 2)), 0.5), -0.5 * fitted.score_function(np.ones((3, 2)), 0.5), rtol=1e-5
    )


def test_own_source_may_be_a_sample_or_a_mixture(cloud):
    source = GaussianMixture([0.5, 0.5], [[-2.0, 0.0], [-2.0, 2.0]], [0.2, 0.2])
    of_density = StochasticInterpolant(**SMALL, **LOOSE).fit(source, cloud)
    rows = source.sample(1500, generator()).numpy()
    of_rows = StochasticInterpolant(**SMALL, **LOOSE).fit(rows, cloud)
    for model in (of_density, of_rows):
        assert energy_distance(model.transport(rows[:500]), cloud[:500]) < 0.2
        assert model.sample(7).shape == (7, 2)
    assert np.isfinite(of_density.score_samples(cloud[:5])).all()
    with pytest.raises(ValueError, match="X0=None"):
        of_rows.score_samples(cloud[:5])


def test_coloured_noise_of_a_one_sided_path_is_used(cloud):
    base = GaussianMixture([1.0], [[0.0, 0.0]], np.array([[[4.0, 1.0], [1.0, 1.0]]]))
    model = StochasticInterpolant(**SMALL, path="one-sided-linear", learn=("eta",)).fit(base, cloud)
    assert energy_distance(model.sample(500), cloud[:500]) < 0.1
    assert energy_distance(model.sample(500, integrator="denoising", n_steps=40), cloud[:500]) < 0.1
    assert energy_distance(model.transport(cloud[:500], backward=True), base.sample(500, generator()).numpy()) < 0.1


def test_paired_rows_stay_together():
    rng = np.random.default_rng(3)
    X0 = rng.standard_normal((2000, 1))
    x = np.array([[-1.0], [1.0]])
    together = StochasticInterpolant(**SMALL, coupling="paired", gamma="zero", learn=("b",)).fit(X0, 2 * X0 + 1)
    np.testing.assert_allclose(together.transport(x), 2 * x + 1, atol=0.2)


def test_mirror_is_the_identity_by_the_ode_and_resamples_by_the_sde(cloud):
    model = StochasticInterpolant(**SMALL, path="mirror", learn=("s",)).fit(None, cloud)
    # Up to what the learnt score lacks of being the same at t and 1 - t.
    assert np.abs(model.transport(cloud[:200]) - cloud[:200]).mean() < 0.05 * cloud.std()
    near = model.transport(np.repeat(cloud[:1], 300, axis=0), epsilon=0.3)
    assert near.std(axis=0).min() > 0.1 and near.std(axis=0).max() < 0.8
    with pytest.raises(ValueError, match="mirror"):
        model.score_samples(cloud[:5])


def test_rectified_paths_are_straight_and_one_step_is_enough():
    rng = np.random.default_rng(4)
    X1 = rng.choice([-3.0, 3.0], (3000, 1)) + 0.3 * rng.standard_normal((3000, 1))
    model = StochasticInterpolant(
        **{**SMALL, **LOOSE, "hidden": (64, 64), "learning_rate": 5e-3, "max_steps": 400},
        path="one-sided-linear",
        learn=("b",),
    ).fit(None, X1)
    straight = model.rectify(3000)
    z = rng.standard_normal((1000, 1))
    before = energy_distance(model.one_step(z), X1[:1000])
    after = energy_distance(straight.one_step(z), X1[:1000])
    assert after < 0.5 * before
    assert np.isfinite(straight.score_samples(X1[:3])).all()
    # The same first weights would tie the new model to the old one's luck.
    few = [model.rectify(100, max_steps=1, random_state=seed) for seed in (None, None, 5)]
    weights = [next(other.networks_.parameters()) for other in (model, *few)]
    assert torch.equal(weights[1], weights[2])
    assert len({float(weight.sum()) for weight in (weights[0], weights[1], weights[3])}) == 3
    with pytest.raises(ValueError, match="max_steps"):
        model.rectify(100, max_steps=0)


def test_images_get_a_u_net():
    images = 2 * digits()[0][:200, None] - 1
    model = StochasticInterpolant(
        path="one-sided-linear",
        learn=("eta",),
        unet_width=8,
        batch_size=16,
        max_steps=3,
        t_min=0.01,
        t_max=0.99,
        rtol=0.1,
        atol=0.1,
        random_state=0,
    ).fit(None, images)
    assert model.sample(2, integrator="denoising", n_steps=3, stop=0.9).shape == (2, 1, 8, 8)
    assert np.isfinite(model.score_samples(images[:1], n_probes=1)).all()


def test_same_seed_gives_the_same_model_and_storage_keeps_it(cloud, tmp_path):
    for number, (options, source) in enumerate(
        [
            ({}, None),
            ({"path": "one-sided-trig", "learn": ("eta1",)}, GaussianMixture([1.0], [[0.0, 0.0]], [2.0])),
            ({"learn": ("b", "energy")}, cloud[:300]),
        ]
    ):
        options = {**SMALL, "max_steps": 20, **options}
        model = StochasticInterpolant(**options).fit(source, cloud)
        again = StochasticInterpolant(**options).fit(source, cloud)
        loaded = StochasticInterpolant.from_pretrained(model.save_pretrained(tmp_path / str(number)))
        for other in (again, loaded):
            np.testing.assert_array_equal(
                model.sample(10, epsilon=0.1, n_steps=5), other.sample(10, epsilon=0.1, n_steps=5)
            )
        np.testing.assert_array_equal(model.losses_, loaded.losses_)


def test_stopped_training_continues_to_the_same_weights(cloud, tmp_path):
    options = {**SMALL, "max_steps": 12}
    whole = StochasticInterpolant(**options).fit(None, cloud)
    StochasticInterpolant(**{**options, "max_steps": 5}).fit(None, cloud, checkpoint_dir=tmp_path)
    continued = StochasticInterpolant(**options).fit(None, cloud, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(whole.sample(5), continued.sample(5))


def test_averaged_weights_replace_the_last_ones(cloud):
    options = {**SMALL, "max_steps": 20}
    plain, averaged = (StochasticInterpolant(**options, ema_decay=decay).fit(None, cloud) for decay in (None, 0.9))
    assert not np.array_equal(plain.sample(3), averaged.sample(3))


# --- relatives ---


def test_diffusive_path_leaves_its_start_at_rest():
    c = DiffusivePath(0.3).coefficients(0.0)
    assert c.alpha_dot == c.beta_dot == c.gamma == 0 and c.gamma_gamma_dot == pytest.approx(0.3)


def test_diffusion_from_a_single_point_samples_the_conditional_law():
    rng = np.random.default_rng(5)
    X0 = rng.uniform(-2, 2, (4000, 1))
    X1 = X0**2 + 0.3 * rng.standard_normal((4000, 1))
    model = DiffusiveInterpolant(noise=0.2, hidden=(64, 64), batch_size=256, max_steps=500, random_state=0).fit(X0, X1)
    drawn = model.sample(np.array([[-1.5], [0.0], [1.0]]), n_samples=400)
    np.testing.assert_allclose(drawn.mean(axis=(1, 2)), [2.25, 0.0, 1.0], atol=0.25)
    np.testing.assert_allclose(drawn.std(axis=(1, 2)), 0.3, atol=0.15)


def test_independent_rows_lead_every_start_to_the_whole_target(tmp_path):
    rng = np.random.default_rng(6)
    X0, X1 = rng.standard_normal((1000, 1)), rng.choice([-2.0, 2.0], (3000, 1)) + 0.2 * rng.standard_normal((3000, 1))
    options = {"noise": 0.5, "hidden": (64, 64), "batch_size": 256, "max_steps": 300, "random_state": 0}
    model = DiffusiveInterpolant(coupling="independent", **options).fit(X0, X1)
    drawn = model.sample(np.zeros((1, 1)), n_samples=800)[0]
    assert energy_distance(drawn, X1[:800]) < 0.1
    loaded = DiffusiveInterpolant.from_pretrained(model.save_pretrained(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.sample(X0[:3]), model.sample(X0[:3]))


def test_optimal_interpolant_of_gaussians_is_the_schroedinger_bridge():
    truth = GaussianBridge(1.0, 2.0, 0.5)
    path, cost = gaussian_bridge(1.0, 2.0, 0.5, Brownian(0.5))
    assert cost == pytest.approx(truth.cost, rel=0.01)
    linear = SinePath(torch.zeros(1), torch.zeros(1), Brownian(0.5))

    def variance(interpolant, t):
        c = interpolant.coefficients(t)
        return c.alpha**2 + 4 * c.beta**2 + c.gamma**2

    assert variance(linear, 0.5) == pytest.approx(1.375)
    for t in (0.25, 0.5, 0.75):
        assert variance(path, t) == pytest.approx(truth.variance(t), rel=0.01)


@pytest.mark.parametrize("form", ["sine", "network"])
def test_max_min_bridge_widens_the_linear_path_towards_the_truth(form, tmp_path):
    rng = np.random.default_rng(7)
    X0, X1 = rng.standard_normal((4000, 1)), 2 * rng.standard_normal((4000, 1))
    bridge = MaxMinBridge(
        epsilon=0.5,
        gamma_scale=0.5,
        form=form,
        hidden=(32, 32),
        batch_size=256,
        max_steps=1000 if form == "sine" else 500,
        descent_steps=3,
        learning_rate=5e-3,
        path_learning_rate=5e-3,
        random_state=0,
    ).fit(X0, X1)
    paths = bridge.sample_paths(X0, [0.5, 1.0], n_steps=50)
    assert paths[:, 0].var() > 1.8  # linear: 1.375, bridge: 2.281
    assert paths[:, 1].var() == pytest.approx(4.0, rel=0.25)
    assert bridge.drift(X0[:3], 0.5).shape == (3, 1)
    # J tends to minus half the cost, and is no loss that falls to zero.
    assert bridge.losses_[-100:].mean() == pytest.approx(-GaussianBridge(1.0, 2.0, 0.5).cost / 2, abs=0.2)
    if form == "sine":
        assert bridge.interpolant_.coefficients(0.0).alpha == pytest.approx(1)
        c = bridge.interpolant_.coefficients(0.5)
        assert c.alpha**2 + 4 * c.beta**2 + c.gamma**2 > 1.8
    else:
        with pytest.raises(ValueError, match="form"):
            bridge.interpolant_  # noqa: B018
    loaded = MaxMinBridge.from_pretrained(bridge.save_pretrained(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.transport(X0[:3], n_steps=5), bridge.transport(X0[:3], n_steps=5))


def test_bridge_refuses_several_processes(cloud, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="MaxMinBridge trains in one process"):
        MaxMinBridge().fit(cloud, cloud)


@pytest.mark.parametrize("kind", [DiffusiveInterpolant, MaxMinBridge])
def test_fit_that_fails_leaves_the_last_one_whole(kind, cloud, monkeypatch):
    model = kind(hidden=(8,), max_steps=2, sampling_steps=3, random_state=0).fit(cloud, cloud + 1)
    move = model.sample if kind is DiffusiveInterpolant else model.transport
    before = move(cloud[:3])

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{kind.__module__}.train", stopped)
    with pytest.raises(KeyboardInterrupt):
        model.fit(5 * cloud, 5 * cloud)
    np.testing.assert_array_equal(move(cloud[:3]), before)


# --- data ---


def test_checkerboard_is_uniform_on_its_density():
    x = checkerboard(40_000, random_state=0)
    assert (checkerboard_density(x) == 1 / 32).all()
    counts = np.histogram2d(*x.T, bins=[np.arange(-4, 5, 2)] * 2)[0]
    assert (counts[counts > 0] > 4500).all() and (counts > 0).sum() == 8
    grid = np.stack(np.meshgrid(np.linspace(-5, 5, 501), np.linspace(-5, 5, 501)), axis=-1).reshape(-1, 2)
    assert checkerboard_density(grid).mean() * 100 == pytest.approx(1, rel=0.02)


def test_eight_gaussians_and_moons_have_their_places():
    x = eight_gaussians(4000, random_state=0)
    assert np.linalg.norm(x, axis=1).mean() == pytest.approx(5, abs=0.1)
    assert two_moons(1000, random_state=0).mean(0) == pytest.approx([0.5, -0.25], abs=0.2)
    assert scattered_mixture(3, spread=4.0, random_state=0)[1].shape == (5, 3)


# --- bad input ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "lineal"}, "path"),
        ({"gamma": "brown"}, "gamma"),
        ({"gamma": lambda t: 1 - t}, "gamma must be 0"),
        ({"gamma": lambda t: -t * (1 - t)}, "gamma must be positive"),
        ({"gamma_scale": -1.0}, "gamma_scale"),
        ({"path": "trig", "gamma": "brownian", "gamma_scale": 5.0}, "gamma must not exceed 1"),
        ({"path": "encoding-decoding", "gamma": "zero", "learn": ("b",)}, "gamma"),
        ({"path": "mirror", "gamma": "zero"}, "gamma"),
        ({"path": "one-sided-linear", "gamma": "brownian"}, "gamma"),
        ({"path": LinearPath(), "gamma": "quadratic"}, "gamma must be 'auto'"),
        ({"gamma": "zero"}, "learn"),
        ({"learn": ("b", "v")}, "learn"),
        ({"learn": ("w",)}, "learn"),
        ({"learn": ()}, "learn"),
        ({"path": CustomInterpolant(lambda t, x0, x1: x0 + t[:, None]), "learn": ("b",)}, "path must be x1"),
        ({"path": CustomInterpolant(lambda t, x0, x1: x0), "learn": ("eta0", "eta1")}, "learn"),
        ({"epsilon": -0.1}, "epsilon"),
        ({"t_min": 0.6, "t_max": 0.5}, "t_max"),
        ({"t_min": -0.1}, "t_min"),
        ({"t_max": 1.5}, "t_max"),
        ({"t_min": 0.0}, "t_min must be > 0"),
        ({"t_max": 1.0}, "t_max must be .* < 1"),
        ({"path": "mirror", "learn": ("s",), "t_min": 0.0}, "t_min must be > 0"),
        ({"path": "one-sided-sbdm", "learn": ("eta",), "t_max": 1.0}, "t_max must be .* < 1"),
        ({"path": "encoding-decoding", "learn": ("eta0", "eta")}, "learn must not be .* beta"),
        ({"path": "encoding-decoding", "learn": ("eta1", "eta")}, "learn must not be .* alpha"),
        ({"unet_width": 12}, "unet_width must be divisible by 8"),
        ({"batch_size": 0}, "batch_size"),
        ({"hidden": ()}, "hidden"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"sampling_steps": 0}, "sampling_steps"),
        ({"rtol": 0.0}, "rtol"),
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value)),
)
def test_bad_parameters_are_refused_by_name_before_any_work(options, message, cloud):
    with pytest.raises(ValueError, match=message):
        StochasticInterpolant(**{**SMALL, **options}).fit(None, cloud)


def test_bad_samples_are_refused_by_name(cloud):
    model = StochasticInterpolant(**SMALL)
    for X0, X1, message in (
        (cloud[:, :1], cloud, "X1"),
        (np.full_like(cloud, np.nan), cloud, "X0"),
        (cloud, np.full_like(cloud, np.inf), "X1"),
        (None, cloud[:1], "X1"),
        (cloud[:1], cloud, "X0"),
        (GaussianMixture([1.0], [[0.0]], [1.0]), cloud, "X0"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X0, X1)
    paired = StochasticInterpolant(**SMALL, coupling="paired")
    for X0 in (None, cloud[:-1]):
        with pytest.raises(ValueError, match="X0 must have as many rows"):
            paired.fit(X0, cloud)
    one_sided = StochasticInterpolant(**SMALL, path="one-sided-linear")
    for X0 in (cloud, GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], [1.0, 1.0])):
        with pytest.raises(ValueError, match="X0 must be None"):
            one_sided.fit(X0, cloud)
    atom = GaussianMixture([1.0], [[0.0, 0.0]], [0.0])
    with pytest.raises(ValueError, match="X0 must have a covariance that is not singular"):
        one_sided.fit(atom, cloud)
    for shape in ((20, 1, 8, 6), (20, 1, 1, 1)):
        with pytest.raises(ValueError, match="X1 must hold square images"):
            model.fit(None, np.zeros(shape))
    with pytest.raises(ValueError, match="mirror"):
        StochasticInterpolant(**SMALL, path="mirror").fit(cloud + 1, cloud)
    with pytest.raises(ValueError, match="coupling"):
        StochasticInterpolant(**SMALL, path="mirror", coupling="paired").fit(None, cloud)


def test_small_images_get_as_many_levels_as_they_have(cloud):
    for size in (2, 3, 4, 6):
        assert (
            FieldNetwork((1, size, size), unet_width=8)(torch.zeros(2, 1, size, size), torch.rand(2)).shape[2] == size
        )


def test_likelihood_of_a_base_with_an_atom_is_refused_before_any_work(cloud, monkeypatch):
    atom = GaussianMixture([1.0], [[0.0, 0.0]], np.array([[[1.0, 1.0], [1.0, 1.0]]]))
    model = StochasticInterpolant(**{**SMALL, **LOOSE, "max_steps": 2}).fit(atom, cloud)
    assert model.sample(3).shape == (3, 2)
    monkeypatch.setattr(estimator, "ode_log_likelihood", None)
    with pytest.raises(ValueError, match="singular covariance"):
        model.score_samples(cloud[:2])


def test_calls_that_the_fitted_fields_cannot_answer_are_refused(cloud, fitted):
    with pytest.raises(NotFittedError):
        StochasticInterpolant().sample(3)
    velocity_only = StochasticInterpolant(**{**SMALL, "max_steps": 5}, learn=("b",)).fit(None, cloud)
    for call in (
        lambda: velocity_only.sample(3, epsilon=0.1),
        lambda: velocity_only.sample(3, epsilon=lambda t: t),
        lambda: velocity_only.score_function(cloud, 0.5),
        lambda: velocity_only.sample(3, stop=0.9),
    ):
        with pytest.raises(ValueError, match="score"):
            call()
    for call, message in (
        (lambda: fitted.sample(3, epsilon=-1.0), "epsilon"),
        (lambda: fitted.sample(3, epsilon=lambda t: t - 0.5), "epsilon"),
        (lambda: fitted.sample(0), "n must be"),
        (lambda: fitted.sample(3, epsilon=0.1, integrator="dopri5"), "integrator"),
        (lambda: fitted.sample(3, integrator="dopri5", n_steps=-7), "n_steps must be >= 1"),
        (lambda: fitted.sample(3, integrator="dopri5", n_steps=7), "n_steps must be None"),
        (lambda: fitted.sample(3, integrator="denoising"), "one-sided"),
        (lambda: fitted.sample(3, stop=2.0), "stop"),
        (lambda: fitted.transport(cloud, backward=True, stop=0.9), "stop"),
        (lambda: fitted.transport(cloud[:, :1]), "x must have"),
        (lambda: fitted.sample_paths(cloud, [0.5, 0.5]), "times"),
        (lambda: fitted.sample_paths(cloud, [0.5, 1.5]), "times"),
        (lambda: fitted.velocity(cloud, 2.0), "t must be"),
        (lambda: fitted.score_samples_feynman_kac(cloud[:2]), "epsilon must be > 0"),
        (
            lambda: (
                StochasticInterpolant(path="trig", gamma="quadratic", learn=("b",), **{**SMALL, "max_steps": 2})
                .fit(None, cloud)
                .rectify(10)
            ),
            "rectified",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_likelihood_far_from_all_data_is_a_number_or_a_named_failure(fitted):
    try:
        value = fitted.score_samples(np.full((1, 2), 1e6))
    except SolverFailed:
        return
    assert np.isfinite(value).all() and value[0] < -1000


def test_relatives_refuse_bad_input(cloud):
    for model in (
        DiffusiveInterpolant(noise=-1.0),
        DiffusiveInterpolant(t_max=1.0),
        MaxMinBridge(epsilon=0.0),
        MaxMinBridge(t_max=1.0),
    ):
        with pytest.raises(ValueError):
            model.fit(cloud, cloud)
    for kind in (DiffusiveInterpolant, MaxMinBridge, StochasticInterpolant):
        with pytest.raises(ValueError, match="hidden"):
            kind(hidden=()).fit(cloud, cloud)
        with pytest.raises(TypeError, match="hidden must be a sequence"):
            kind().set_params(hidden=5).fit(cloud, cloud)
    with pytest.raises(ValueError, match="as many rows"):
        DiffusiveInterpolant().fit(cloud, cloud[:-1])
    with pytest.raises(ValueError, match="X1"):
        MaxMinBridge().fit(cloud, cloud[:, :1])


# --- runs ---


@pytest.mark.parametrize("kind", ["one file", "two files", "line", "images", "mirror"])
def test_run_on_files(kind, tmp_path):
    rng = np.random.default_rng(8)
    options = {**SMALL, **LOOSE, "max_steps": 3, "sampling_steps": 5}
    arrays = {
        "one file": [rng.standard_normal((60, 3))],
        "two files": [rng.standard_normal((60, 2)), rng.standard_normal((50, 2)) + 3],
        "line": [rng.standard_normal((60, 1))],
        "images": [(255 * digits()[0][:60]).astype(np.uint8)],
        "mirror": [rng.standard_normal((60, 2))],
    }[kind]
    if kind == "mirror":
        options["path"] = "mirror"
    files = []
    for i, array in enumerate(arrays):
        files.append(tmp_path / f"sample{i}.npy")
        np.save(files[-1], array)
    outcome = perform(StochasticInterpolant(**options, unet_width=8), read(files), Context())
    assert all(np.isfinite(value) for value in outcome.metrics.values())
    assert ("log_likelihood_held_out_nats" in outcome.metrics) == (kind in ("one file", "line"))
    for name, picture in outcome.pictures.items():
        assert save_png(picture.figure, tmp_path / f"{name}.png").stat().st_size > 3000


def test_read_names_the_file_that_it_refuses(tmp_path):
    for name, content in (
        ("tensor", np.zeros((30, 2, 2, 2, 2))),
        ("few", np.zeros((39, 2))),
        ("oblong", np.zeros((40, 4, 6))),
    ):
        np.save(tmp_path / f"{name}.npy", content)
        with pytest.raises(ValueError, match=name):
            read([tmp_path / f"{name}.npy"])
    np.save(tmp_path / "other.npy", np.zeros((40, 3)))
    np.save(tmp_path / "plane.npy", np.zeros((40, 2)))
    with pytest.raises(ValueError, match="other"):
        read([tmp_path / "plane.npy", tmp_path / "other.npy"])


def test_smallest_sample_that_is_read_can_be_judged():
    rows = np.random.default_rng(9).standard_normal((MIN_ROWS, 1))
    model = StochasticInterpolant(**{**SMALL, **LOOSE, "max_steps": 2, "sampling_steps": 3})
    outcome = perform(model, Samples(None, rows, ("Gaussian noise", "few")), Context())
    assert np.isfinite(outcome.metrics["energy_distance_two_halves_of_the_sample"])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_whole_numbers_up_to_255_are_scaled_whatever_their_type(dtype, tmp_path):
    images = np.random.default_rng(9).integers(0, 256, (40, 4, 4)).astype(dtype)
    np.save(tmp_path / "images.npy", images)
    rows = read([tmp_path / "images.npy"]).end
    np.testing.assert_allclose(rows, images[:, None] / 127.5 - 1)


def test_paired_samples_of_unequal_length_are_refused_before_training(monkeypatch):
    rows = np.random.default_rng(9).standard_normal((60, 2))
    model = StochasticInterpolant(**SMALL, coupling="paired")
    monkeypatch.setattr(estimator, "train", None)
    for start, end in ((rows, rows[:50]), (rows[:50], rows)):
        with pytest.raises(ValueError, match="two samples of as many rows"):
            perform(model, Samples(start, end, ("a", "b")), Context())


def test_run_says_where_it_starts_and_starts_no_row_twice():
    rng = np.random.default_rng(9)
    rows, options = rng.standard_normal((60, 2)), {**SMALL, **LOOSE, "max_steps": 2, "sampling_steps": 3}
    mirror = perform(
        StochasticInterpolant(**options, path="mirror", learn=("s",)),
        Samples(None, rows, ("Gaussian noise", "a")),
        Context(),
    )
    assert mirror.summary.startswith("From 'a' to 'a'")
    two = perform(StochasticInterpolant(**options), Samples(rows, rows + 3, ("a", "b")), Context())
    assert two.summary.startswith("From 'a' to 'b'")
    assert len(two.arrays["starts"]) == len(np.unique(two.arrays["starts"], axis=0)) == 6


@pytest.mark.parametrize("unit", [0.1, 100.0])
def test_noise_that_is_shown_goes_by_the_lesser_of_data_and_gamma(unit):
    rows = unit * np.random.default_rng(9).standard_normal((60, 2))
    options = {**SMALL, **LOOSE, "max_steps": 2, "sampling_steps": 3}
    outcome = perform(StochasticInterpolant(**options), Samples(None, rows, ("Gaussian noise", "a")), Context())
    # gamma_scale is 1, whatever the data's unit.
    assert outcome.metrics["epsilon_shown"] == pytest.approx(0.1 * min(rows.var(axis=0).mean(), 1.0))


def test_starts_of_a_run_are_not_the_shocks_of_its_sde():
    rows = np.random.default_rng(9).standard_normal((60, 2))
    model = StochasticInterpolant(**{**SMALL, **LOOSE, "max_steps": 2, "sampling_steps": 3})
    starts = perform(model, Samples(None, rows, ("Gaussian noise", "a")), Context()).arrays["starts"]
    shocks = torch.randn(starts.shape, generator=model._generator(None)).numpy()
    assert abs(np.corrcoef(starts[:, 0], shocks[:, 0])[0, 1]) < 0.1
