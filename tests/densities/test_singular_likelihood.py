"""Perturbed maximum likelihood: batched networks, bounds, closed forms, learning, bad input, storage."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

import semigroup.densities.singular_likelihood.estimator as module
from semigroup.data.images import digits
from semigroup.data.singular_laws import circle, line_mixture
from semigroup.densities import PerturbedGenerator, wasserstein
from semigroup.densities.distances import energy_distance, sliced_wasserstein
from semigroup.densities.singular_likelihood import (
    Autoencoders,
    effective_smoothness,
    elbo,
    empirical_rate,
    gan_rate,
    hellinger_rate,
    importance_bound,
    log_importance_weights,
    perturbation_scale,
    quadrature,
    quadrature_log_terms,
    sample_distance,
    stratified_codes,
    w1_rate,
)
from semigroup.densities.singular_likelihood.networks import Convolutions, Linears
from semigroup.jobs import Context
from semigroup.jobs.singular_likelihood import Points, perform, read
from semigroup.report.figures import save_png

SMALL = {"hidden": (32,), "n_importance": 5, "n_steps": 300, "n_restarts": 1, "random_state": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def networks(n_members=2, dim=5, n_latent=1, hidden=(8,), latent="normal", image_shape=None, sigma=0.3):
    return Autoencoders(
        n_members,
        dim,
        n_latent,
        hidden=hidden,
        initial_sigma=sigma,
        latent=latent,
        image_shape=image_shape,
        generator=generator(),
    )


def linear_model(dim=4, sigma=0.5):
    """A linear generator of one latent variable with the exact posterior as its encoder, and its covariance."""
    network = networks(1, dim, 1, hidden=(), sigma=sigma)
    w, b = network.decoder.layers[0].weight[0, 0], network.decoder.layers[0].bias[0, 0]
    precision = 1 + (w.square().sum() / sigma**2).item()
    with torch.no_grad():
        layer = network.encoder.layers[0]
        layer.weight[0, :, 0] = w / (sigma**2 * precision)
        layer.weight[0, :, 1] = 0
        layer.bias[0, 0, 0] = -(w @ b) / (sigma**2 * precision)
        layer.bias[0, 0, 1] = -math.log(precision)
    w, b = w.detach().double().numpy(), b.detach().double().numpy()
    return network, multivariate_normal(b, np.outer(w, w) + sigma**2 * np.eye(dim))


@pytest.fixture(scope="module")
def line():
    return line_mixture(6).sample(300, 0)


@pytest.fixture(scope="module")
def model(line):
    return PerturbedGenerator(n_latent=1, perturbation=0.1, **SMALL).fit(line)


# --- batched networks ---


def test_batched_layers_are_torch_layers_one_by_one():
    layers, x = Linears(3, 4, 5, generator()), torch.randn(3, 7, 4, generator=generator(1))
    for m in range(3):
        expected = nn.functional.linear(x[m], layers.weight[m].T, layers.bias[m, 0])
        torch.testing.assert_close(layers(x)[m], expected)


@pytest.mark.parametrize("transposed", [False, True])
def test_batched_convolutions_are_torch_convolutions_one_by_one(transposed):
    layers, x = Convolutions(3, 2, 5, generator(), transposed=transposed), torch.randn(3, 7, 2, 8, 4)
    convolve = nn.functional.conv_transpose2d if transposed else nn.functional.conv2d
    for m in range(3):
        expected = convolve(x[m], layers.weight[m], layers.bias[m], stride=2, padding=1)
        torch.testing.assert_close(layers(x)[m], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("image_shape", [None, (1, 4, 8)])
def test_gradient_of_a_member_does_not_depend_on_the_others(image_shape):
    network = networks(2, 32, 2, image_shape=image_shape)
    x = torch.randn(2, 6, 32, generator=generator(1))
    eta = torch.randn(2, 6, 3, 2, generator=generator(2))
    importance_bound(network, x, eta).mean(1).sum().backward()
    together = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    x[1] += 5
    importance_bound(network, x, eta).mean(1).sum().backward()
    for before, parameter in zip(together, network.parameters()):
        torch.testing.assert_close(before[0], parameter.grad[0], rtol=1e-4, atol=1e-5)
    assert any(
        (before[1] - parameter.grad[1]).abs().max() > 0.1 for before, parameter in zip(together, network.parameters())
    )


def test_member_taken_out_is_the_same_network():
    network, alone = networks(3), networks(1)
    alone.load_state_dict(network.member(2))
    z = torch.randn(1, 4, 1, generator=generator(1))
    torch.testing.assert_close(alone.decode(z)[0], network.decode(z.expand(3, -1, -1))[2])


# --- the likelihood ---


def test_quadrature_of_a_linear_generator_is_the_gaussian_density():
    network, law = linear_model()
    x = law.rvs(20, random_state=0)
    got = quadrature(network, torch.from_numpy(x)[None].float(), stratified_codes(1, 4096, 1, None))
    np.testing.assert_allclose(got.detach()[0], law.logpdf(x), atol=2e-4)


def test_importance_weights_are_constant_and_exact_when_the_encoder_is_the_posterior():
    network, law = linear_model()
    x = law.rvs(20, random_state=0)
    eta = torch.randn(1, 20, 7, 1, generator=generator())
    logs = log_importance_weights(network, torch.from_numpy(x)[None].float(), eta).detach()[0]
    np.testing.assert_allclose(logs, np.tile(law.logpdf(x)[:, None], 7), rtol=1e-4, atol=1e-4)


def test_elbo_falls_short_of_the_density_by_the_divergence_from_the_posterior():
    network, law = linear_model()
    x = law.rvs(5, random_state=0)
    layer = network.encoder.layers[0]
    variance = layer.bias[0, 0, 1].exp().item()
    with torch.no_grad():
        layer.bias[0, 0, 1] += math.log(2)
        layer.bias[0, 0, 0] += 0.3
    divergence = (2 + 0.3**2 / variance - 1 - math.log(2)) / 2
    eta = torch.randn(1, 200_000, 1, generator=generator())
    for row in x:
        draws = elbo(network, torch.from_numpy(row).float().expand(1, 200_000, -1), eta)[0].detach()
        error = 5 * (draws.std() / math.sqrt(len(draws))).item()
        assert draws.mean().item() == pytest.approx(law.logpdf(row) - divergence, abs=error)


def test_uniform_codes_stay_within_their_cube():
    """A linear f of a code in [-1, 1]^d moves each coordinate by at most the sum of its weights."""
    network = networks(1, 5, 2, hidden=(), latent="uniform")
    layer = network.decoder.layers[0]
    reached = (network.decode(10 * torch.randn(1, 500, 2, generator=generator(1))) - layer.bias).abs()[0].amax(0)
    limit = layer.weight[0].abs().sum(0)
    assert (reached <= limit + 1e-6).all() and (reached > 0.9 * limit).all()


@pytest.mark.parametrize("latent", ["normal", "uniform"])
def test_bounds_rise_with_the_draws_up_to_the_quadrature(latent):
    network = networks(1, 5, 1, hidden=(16,), latent=latent)
    x = network.decode(torch.randn(1, 200, 1, generator=generator(1))).detach()
    x += 0.3 * torch.randn(x.shape, generator=generator(2))
    exact = quadrature(network, x, stratified_codes(1, 2000, 1, None)).mean().item()
    eta = torch.randn(1, 200, 1000, 1, generator=generator(3))
    one, ten, all_ = (
        torch.stack([importance_bound(network, x, part).mean() for part in eta.split(k, dim=2)]).mean().item()
        for k in (1, 10, 1000)
    )
    draws = torch.stack([elbo(network, x, part[:, :, 0]).mean() for part in eta.split(1, dim=2)])
    assert draws.mean().item() == pytest.approx(one, abs=0.05)
    assert one < ten < all_ < exact + 0.01
    assert all_ == pytest.approx(exact, abs=0.03)


def test_likelihood_on_the_set_is_the_law_along_it_plus_the_logarithm_of_the_noise():
    """Laplace: log p(f(z)) -> -(D - d) log(sigma sqrt(2 pi)) + log of the density of f(Z) along the curve, as sigma -> 0."""
    network = networks(1, 5, 1, hidden=(16,), sigma=0.001)
    z = torch.tensor([-1.3, 0.2, 0.9]).view(1, 3, 1)
    speed = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda c: network.decode(c.view(1, 1, 1))[0, 0], c).norm()
            for c in z[0, :, 0]
        ]
    )
    along = -z[0, :, 0].square() / 2 - math.log(math.sqrt(2 * math.pi)) - speed.log()
    expected = along - 4 * (math.log(0.001) + math.log(2 * math.pi) / 2)
    with torch.no_grad():
        got = quadrature(network, network.decode(z), stratified_codes(1, 200_000, 1, None))[0]
    torch.testing.assert_close(got.float(), expected, rtol=0, atol=0.02)


def test_two_dimensional_quadrature_agrees_with_importance_sampling():
    network = networks(1, 5, 2, hidden=(16,), sigma=0.5)
    x = network.decode(torch.randn(1, 50, 2, generator=generator(1))).detach()
    exact = quadrature(network, x, stratified_codes(1, 300, 2, None))
    sampled = importance_bound(network, x, torch.randn(1, 50, 20_000, 2, generator=generator(2)))
    torch.testing.assert_close(sampled.double(), exact, rtol=0, atol=0.05)


def test_stratified_codes_have_one_draw_in_each_cell():
    codes = torch.special.ndtr(stratified_codes(3, 4, 2, generator()).double())
    cells = (codes * 4).floor().long()
    for member in cells:
        assert sorted(map(tuple, member.tolist())) == [(i, j) for i in range(4) for j in range(4)]
    assert (codes[0] - codes[1]).abs().max() > 0.01
    middle = torch.special.ndtr(stratified_codes(1, 4, 1, None).double())[0, :, 0]
    np.testing.assert_allclose(middle, [0.125, 0.375, 0.625, 0.875], atol=1e-6)


def test_m_step_sets_sigma_to_the_weighted_residual(monkeypatch):
    monkeypatch.setattr(module, "EM_RATE", 1.0)
    network = networks(2, 5, 1)
    x, codes = torch.randn(2, 40, 5, generator=generator(1)), stratified_codes(2, 50, 1, generator(2))
    weights = torch.softmax(quadrature_log_terms(network, x, codes), dim=-1)
    squared = torch.cdist(x.double(), network.decode(codes).double()).square()
    expected = (weights * squared).sum(-1).mean(-1) / 5
    (-quadrature(network, x, codes).mean(1).sum()).backward()
    estimator = PerturbedGenerator(sigma_update="em")
    estimator._before_step(network, [p for n, p in network.named_parameters() if n != "log_sigma"], 5)
    torch.testing.assert_close(network.sigma.square().double(), expected.detach(), rtol=1e-4, atol=0)
    assert network.log_sigma.grad is None


def test_gradients_are_shortened_network_by_network():
    network = networks(2)
    weights = [p for n, p in network.named_parameters() if n != "log_sigma"]
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[1] *= 1e-3
    network.log_sigma.grad *= 100
    PerturbedGenerator(max_grad_norm=1.0)._before_step(network, weights, 5)
    norms = torch.stack([p.grad.flatten(1).square().sum(1) for p in weights]).sum(0).sqrt()
    size = math.sqrt(sum(p[0].numel() for p in weights))
    torch.testing.assert_close(norms, torch.tensor([1.0, 1e-3 * size]))
    torch.testing.assert_close(network.log_sigma.grad, torch.tensor([1.0, 0.1]))


# --- rates ---


@pytest.mark.parametrize(("beta", "t"), [(1, 1), (2.5, 1), (0.5, 3), (math.inf, 2)])
def test_perturbation_balances_the_two_terms_of_the_rate(beta, t):
    n = 12_345
    noise = perturbation_scale(n, beta, t)
    assert hellinger_rate(n, beta, t, noise) == pytest.approx(noise, rel=1e-12)
    best = w1_rate(n, beta, t, noise)
    assert best == pytest.approx(2 * noise)
    # The sum is least within a factor of two of there.
    others = [w1_rate(n, beta, t, noise * factor) for factor in np.geomspace(1e-3, 1e3, 61)]
    assert best <= 2 * min(others)
    if beta < math.inf:
        assert noise == pytest.approx(n ** (-beta / (2 * (beta + t))))


def test_too_little_noise_does_not_vanish_and_enough_does():
    beta, t = 1.0, 2.0
    rates = [[hellinger_rate(n, beta, t, n**-alpha) for n in (10**3, 10**6)] for alpha in (0.25, 0.5, 0.75)]
    assert rates[0][1] < 0.5 * rates[0][0]
    assert rates[1] == pytest.approx([1, 1])
    assert rates[2][1] > rates[2][0]


def test_rates_of_the_rivals_are_the_stated_powers():
    assert gan_rate(1000, 2, 1) == pytest.approx(1000 ** (-2 / 5))
    assert gan_rate(1000, 2, 1, noise=0.5) == 0.5
    assert empirical_rate(1000, 1) == empirical_rate(1000, 2) == pytest.approx(1000**-0.5)
    assert empirical_rate(1000, 10) == pytest.approx(1000**-0.1)


def test_effective_smoothness_is_that_of_the_worst_layer_after_the_later_ones():
    # The first layer is dulled by the rough second: 2 * 0.5 = 1 over t = 3.
    assert effective_smoothness([2.0, 0.5], [3, 1]) == (1.0, 3.0)
    assert effective_smoothness([2.0, 3.0], [1, 4]) == (3.0, 4.0)
    # A layer that is infinitely smooth decides nothing, and dulls no other.
    assert (
        effective_smoothness([2.0, math.inf], [1, 4]) == effective_smoothness(np.array([2.0, np.inf]), [1, 4]) == (2, 1)
    )
    assert effective_smoothness([math.inf, 0.5], [3, 1]) == (0.5, 1.0)
    assert effective_smoothness([math.inf], [3]) == (math.inf, 3.0)
    assert perturbation_scale(100, *effective_smoothness([math.inf], [3])) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: perturbation_scale(100, 0.0, 1.0), "beta must be > 0"),
        (lambda: perturbation_scale(100, -1.0, 1.0), "beta must be > 0"),
        (lambda: perturbation_scale(100, 1.0, 0.0), "t must be > 0"),
        (lambda: perturbation_scale(0, 1.0, 1.0), "n must be >= 1"),
        (lambda: perturbation_scale(100, 1.0, 1.0, c=0.0), "c must be > 0"),
        (lambda: w1_rate(100, math.nan, 1.0, 0.1), "beta must be > 0"),
        (lambda: w1_rate(100, 1.0, 1.0, 0.0), "noise must be > 0"),
        (lambda: effective_smoothness([1.0], [1.0, 2.0]), "ts must have one entry"),
        (lambda: effective_smoothness([1.0, -1.0], [1.0, 2.0]), "betas must be > 0"),
        (lambda: effective_smoothness([math.inf, math.nan], [1.0, 2.0]), "betas holds NaN"),
        (lambda: effective_smoothness(1.0, [1.0, 2.0]), "betas must have 1 axes"),
    ],
)
def test_rates_refuse_what_has_no_rate(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- learning ---


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "vae"},
        {"estimator": "iwae"},
        {"estimator": "iwae", "sigma_update": "em"},
        {"estimator": "quadrature", "n_nodes": 128},
        {"estimator": "quadrature", "n_nodes": 128, "sigma_update": "em"},
        {"estimator": "vae", "noise": "once"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_variant_of_a_linear_generator_finds_probabilistic_principal_components(options):
    """The linear model's maximum likelihood is known: sigma^2 is the mean of the variances that are left out."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 1)) @ [[1.0, -1.0, 0.5, 2.0]] + 0.3 * rng.standard_normal((500, 4)) + 7
    settings = {"n_latent": 1, "hidden": (), "learning_rate": 0.03, "n_steps": 400, "n_importance": 5, "n_restarts": 1}
    perturbation = 0.4
    fitted = PerturbedGenerator(perturbation=perturbation, random_state=0, **settings | options).fit(X)
    covariance = np.cov(X.T, bias=True) + perturbation**2 * np.eye(4)
    values, vectors = np.linalg.eigh(covariance)
    sigma2 = values[:-1].mean()
    assert fitted.sigma_ == pytest.approx(math.sqrt(sigma2), rel=0.06)
    assert fitted.sigma_ == pytest.approx(0.5, rel=0.08)
    optimum = multivariate_normal(
        X.mean(0), (values[-1] - sigma2) * np.outer(vectors[:, -1], vectors[:, -1]) + sigma2 * np.eye(4)
    )
    fresh = X + perturbation * rng.standard_normal(X.shape)
    assert fitted.score(fresh) == pytest.approx(optimum.logpdf(fresh).mean(), abs=0.06)
    assert fitted.bound_ == pytest.approx(fitted.score(fresh), abs=0.15)


def test_perturbation_repairs_samples_and_lowers_likelihood():
    law = line_mixture(8)
    X, fresh = law.sample(400, 0), law.sample(800, 1)
    options = {"estimator": "quadrature", "n_nodes": 128, "learning_rate": 5e-3, "n_steps": 400, "n_restarts": 1}
    with pytest.warns(UserWarning, match="n_nodes=128 over a range"):
        plain, perturbed = PerturbedGenerator(n_latent=1, random_state=0, **options).fit_path(X, [0.0, 0.1])
    distances = [wasserstein(fitted.sample(800), fresh) for fitted in (plain, perturbed)]
    assert distances[0] > 2 * distances[1]
    assert plain.bound_ > perturbed.bound_ + 10
    assert plain.sigma_ < 0.01 and perturbed.sigma_ == pytest.approx(0.1, rel=0.1)


def test_noise_level_learnt_adds_the_noise_of_the_data():
    X = line_mixture(10).sample(500, 0, noise=0.1)
    fitted = PerturbedGenerator(
        n_latent=1, perturbation=0.1, estimator="vae", n_restarts=1, n_steps=400, learning_rate=5e-3, random_state=0
    )
    assert fitted.fit(X).sigma_ == pytest.approx(math.sqrt(0.02), rel=0.08)


def test_density_of_a_fitted_model_integrates_to_one():
    X = circle(2).sample(400, 0)
    fitted = PerturbedGenerator(n_latent=1, perturbation=0.2, **SMALL).fit(X)
    axis = np.linspace(-2.4, 2.4, 41)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(fitted.score_samples(grid, n_draws=200)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=0.05)
    exact = clone(fitted).set_params(estimator="quadrature")
    exact._adopt(fitted)
    mass = np.exp(exact.score_samples(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=0.01)


def test_samples_with_noise_follow_the_density_and_those_without_lie_higher(model):
    noisy, clean = model.sample(800, with_noise=True), model.sample(800)
    d = model.n_features_in_ * (np.log(model.sigma_ * math.sqrt(2 * math.pi)) + 0.5)
    scores = model.score_samples(noisy)
    # The entropy of f(Z) + sigma e is at least that of the noise alone.
    assert -scores.mean() > d - 0.1
    added = noisy - clean
    assert added.std() == pytest.approx(model.sigma_, rel=0.03)
    assert model.score(clean) > scores.mean() + 1


def test_codes_lead_back_to_their_points(model, line):
    codes = model.transform(line)
    assert codes.shape == (300, 1)
    gaps = np.linalg.norm(model.inverse_transform(codes) - line, axis=1)
    assert np.median(gaps) < 0.1
    exact = clone(model).set_params(estimator="quadrature")
    exact._adopt(model)
    assert np.corrcoef(exact.transform(line)[:, 0], codes[:, 0])[0, 1] > 0.99


def test_initial_weights_noise_and_judging_draw_from_streams_of_their_own(line, monkeypatch):
    seeds = []

    def spy(seed, *device):
        seeds.append(seed)
        return generator(seed % 2**31)

    monkeypatch.setattr(module, "torch_generator", spy)
    PerturbedGenerator(n_latent=1, noise="once", **{**SMALL, "n_steps": 1}).fit_path(line, [0.1])
    drawn = [seed for seed in seeds if seed]  # the model that takes over a network builds one from seed 0 first
    assert len(drawn) == len(set(drawn)) == 3


def test_best_bound_of_the_restarts_stays(line):
    fitted = PerturbedGenerator(n_latent=1, perturbation=0.1, **{**SMALL, "n_restarts": 3, "n_steps": 60}).fit(line)
    assert fitted.restart_bounds_.shape == (3,)
    assert fitted.bound_ == fitted.restart_bounds_.max() > fitted.restart_bounds_.min()


def test_network_that_stays_is_the_one_with_the_best_bound(line, monkeypatch):
    trained = []

    def judge(self, bound, x, added, seed):
        trained.append(bound.network)
        return np.array([0.0, 2.0, 1.0])

    monkeypatch.setattr(PerturbedGenerator, "_judge", judge)
    fitted = PerturbedGenerator(n_latent=1, perturbation=0.1, **{**SMALL, "n_restarts": 3, "n_steps": 2}).fit(line)
    for name, value in trained[0].member(1).items():
        torch.testing.assert_close(fitted.network_.state_dict()[name], value)


def test_noise_drawn_once_comes_back_and_fresh_noise_does_not(line, monkeypatch):
    seen = []

    def spy(network, x, eta):
        seen.append(x.detach()[0])
        return elbo(network, x, eta)

    monkeypatch.setattr(module, "elbo", spy)
    monkeypatch.setattr(PerturbedGenerator, "_judge", lambda self, bound, x, added, seed: np.zeros(len(added)))
    for noise, n_different in (("once", 10), ("fresh", 100)):
        seen.clear()
        options = {**SMALL, "n_steps": 20, "batch_size": 5, "estimator": "vae", "noise": noise}
        PerturbedGenerator(n_latent=1, perturbation=0.1, **options).fit(line[:10])
        assert len(torch.cat(seen).unique(dim=0)) == n_different


def test_sigma_stays_above_its_floor(line):
    fitted = PerturbedGenerator(n_latent=1, perturbation=0.0, min_sigma=0.2, **{**SMALL, "n_steps": 200}).fit(line)
    assert fitted.sigma_ == pytest.approx(0.2 * fitted.scale_)


def test_quadrature_trains_no_parameter_that_gets_no_gradient(line, monkeypatch):
    """Several processes would wait for the gradients of such a parameter."""
    idle = []
    step = PerturbedGenerator._before_step

    def spy(self, network, *rest):
        idle.extend(name for name, p in network.named_parameters() if p.requires_grad and p.grad is None)
        return step(self, network, *rest)

    monkeypatch.setattr(PerturbedGenerator, "_before_step", spy)
    options = {**SMALL, "n_steps": 2, "estimator": "quadrature", "n_nodes": 16}
    PerturbedGenerator(n_latent=1, perturbation=0.5, **options).fit(line)
    assert idle == []


def test_auto_takes_the_level_whose_samples_are_nearest(line):
    fitted = PerturbedGenerator(n_latent=1, grid=(0.0, 0.3, 2.0), **{**SMALL, "n_steps": 300}).fit(line)
    levels, sigmas, bounds, distances = fitted.path_.T
    assert fitted.perturbation_ == levels[distances.argmin()] == levels[1]
    assert (np.diff(bounds) < 0).all() and (np.diff(sigmas) > 0).all()
    assert 0 < fitted.floor_ < distances.min() + 0.1


@pytest.mark.parametrize("criterion", ["wasserstein", "sliced", "energy"])
def test_every_criterion_sees_a_shift(criterion):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((200, 3)), rng.standard_normal((200, 3))
    assert sample_distance(X, Y + 3, criterion, 0) > 3 * abs(sample_distance(X, Y, criterion, 0))


def test_distance_is_that_of_the_criterion(model, line):
    for criterion, expected in (
        ("wasserstein", wasserstein),
        ("sliced", lambda X, Y: sliced_wasserstein(X, Y, random_state=0)),
        ("energy", energy_distance),
    ):
        other = clone(model).set_params(criterion=criterion)
        other._adopt(model)
        assert sample_distance(line[:50], line[50:] + 1, criterion, 0) == expected(line[:50], line[50:] + 1)
        rng = np.random.default_rng(3)
        rows = line[rng.permutation(300)[:100]]
        samples = model.sample(100, random_state=int(rng.integers(2**31)))
        got = other.distance(line, n_points=100, random_state=3)
        assert got == pytest.approx(expected(samples, rows), rel=0.1 if criterion == "sliced" else 1e-9)


def test_result_follows_the_origin_and_the_unit_of_the_data(line, model):
    moved = PerturbedGenerator(n_latent=1, perturbation=100.0, **SMALL).fit(1e3 * line + 1e4)
    np.testing.assert_allclose((moved.sample(50) - 1e4) / 1e3, model.sample(50), atol=2e-2)
    assert moved.bound_ + 6 * math.log(1e3) == pytest.approx(model.bound_, abs=0.1)


def test_uniform_codes_and_images_train():
    images = digits()[0].reshape(-1, 64)[:200]
    options = {
        "n_latent": 3,
        "perturbation": 0.1,
        "estimator": "vae",
        "batch_size": 50,
        "n_restarts": 2,
        "random_state": 0,
    }
    fitted = PerturbedGenerator(hidden=(32,), image_shape=(1, 8, 8), n_steps=60, **options).fit(images)
    first, last = -fitted.losses_[:5].mean(), -fitted.losses_[-5:].mean()
    assert fitted.sample(4).shape == (4, 64) and last > first + 20
    uniform = PerturbedGenerator(hidden=(32,), latent="uniform", n_steps=60, **options).fit(images)
    assert np.isfinite(uniform.score_samples(images[:5], n_draws=10)).all()


def test_same_seed_gives_the_same_model_and_another_seed_another(line):
    options = {**SMALL, "n_steps": 20}
    first, second = (PerturbedGenerator(n_latent=1, perturbation=0.1, **options).fit(line) for _ in range(2))
    other = PerturbedGenerator(n_latent=1, perturbation=0.1, **{**options, "random_state": 1}).fit(line)
    np.testing.assert_array_equal(first.sample(10), second.sample(10))
    assert np.abs(first.sample(10, random_state=5) - other.sample(10, random_state=5)).max() > 1e-3


def test_samples_far_from_the_origin_keep_their_digits(line):
    far = PerturbedGenerator(n_latent=1, perturbation=0.1, **{**SMALL, "n_steps": 50}).fit(line + 1e7)
    near = PerturbedGenerator(n_latent=1, perturbation=0.1, **{**SMALL, "n_steps": 50}).fit(line)
    np.testing.assert_allclose(far.sample(50) - 1e7, near.sample(50), atol=1e-3)


def test_torch_in_torch_out(model, line):
    rows = torch.from_numpy(line[:20]).float()
    for result in (model.transform(rows), model.score_samples(rows, n_draws=20)):
        assert isinstance(result, torch.Tensor) and result.dtype == torch.float32
    assert isinstance(model.score(rows), float)
    exact = clone(model).set_params(estimator="quadrature", n_nodes=32)
    exact._adopt(model)
    for fitted in (model, exact):
        codes = fitted.transform(line[:20])
        assert (
            codes.dtype == fitted.inverse_transform(codes).dtype == fitted.score_samples(line[:20]).dtype == np.float64
        )
        assert fitted.transform(rows).dtype == torch.float32
    fitted = PerturbedGenerator(n_latent=1, perturbation=0.1, **{**SMALL, "n_steps": 5}).fit(rows)
    assert fitted.sample(2).dtype == np.float64


def test_blocks_do_not_change_results(model, line, monkeypatch):
    whole = model.transform(line), model.inverse_transform(np.zeros((30, 1)))
    monkeypatch.setattr(module, "BLOCK_SIZE", 64)
    for one, other in zip((model.transform(line), model.inverse_transform(np.zeros((30, 1)))), whole):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_blocks_count_the_widest_layer():
    for options, width in (
        ({}, 784),
        ({"hidden": (32, 2000)}, 2000),
        ({"image_shape": (1, 28, 28)}, 32 * 14 * 14),
        ({"image_shape": (4, 14, 14)}, 32 * 7 * 7),
    ):
        estimator = PerturbedGenerator(**options)
        estimator.n_features_in_ = 784
        assert estimator._width() == width


def test_going_on_without_a_seed_is_refused_where_rows_or_noise_depend_on_it(line, tmp_path):
    options = {**SMALL, "n_steps": 2, "random_state": None}
    for more in ({"perturbation": "auto"}, {"perturbation": 0.1, "noise": "once"}):
        with pytest.raises(ValueError, match="random_state must be given to resume"):
            PerturbedGenerator(n_latent=1, **more, **options).fit(line, checkpoint_dir=tmp_path, resume=True)
    PerturbedGenerator(n_latent=1, perturbation=0.1, **options).fit(line, checkpoint_dir=tmp_path, resume=True)


def test_stopped_fit_goes_on_to_the_same_end(line, tmp_path, monkeypatch):
    options = {**SMALL, "n_steps": 30}
    whole = PerturbedGenerator(n_latent=1, perturbation=0.1, **options).fit(line)
    monkeypatch.setattr(module, "CHECKPOINT_EVERY", 10)
    calls = []
    step = PerturbedGenerator._before_step

    def stop(self, *args):
        calls.append(1)
        if len(calls) == 15:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(PerturbedGenerator, "_before_step", stop)
    with pytest.raises(KeyboardInterrupt):
        PerturbedGenerator(n_latent=1, perturbation=0.1, **options).fit(line, checkpoint_dir=tmp_path)
    again = PerturbedGenerator(n_latent=1, perturbation=0.1, **options)
    again.fit(line, checkpoint_dir=tmp_path, resume=True)
    assert len(calls) == 15 + 20
    np.testing.assert_allclose(again.sample(10), whole.sample(10), rtol=1e-5)


# --- bad input ---


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_latent": 0}, "n_latent must be >= 1"),
        ({"perturbation": -0.1}, "perturbation must be >= 0"),
        ({"perturbation": math.nan}, "perturbation must be >= 0"),
        ({"perturbation": "Auto"}, "perturbation must be one of 'auto'"),
        ({"estimator": "gan"}, "estimator must be one of"),
        ({"estimator": "quadrature", "n_latent": 3}, "n_latent must be at most 2"),
        ({"n_importance": 0}, "n_importance must be >= 1"),
        ({"n_nodes": 1}, "n_nodes must be >= 2"),
        ({"noise": "never"}, "noise must be one of"),
        ({"sigma_update": "guess"}, "sigma_update must be one of"),
        ({"latent": "cauchy"}, "latent must be one of"),
        ({"hidden": (0,)}, "hidden must be >= 1"),
        ({"image_shape": (1, 2, 3)}, "image_shape must have sides"),
        ({"image_shape": (2, 3)}, r"image_shape must be \(channels, height, width\), got \(2, 3\)"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"sigma_learning_rate": 0.0}, "sigma_learning_rate must be > 0"),
        ({"min_sigma": 0.3}, "min_sigma must be < initial_sigma"),
        ({"min_sigma": 0.0}, "min_sigma must be > 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be > 0"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"n_steps": 0}, "n_steps must be >= 1"),
        ({"n_restarts": 0}, "n_restarts must be >= 1"),
        ({"grid": ()}, "grid must hold"),
        ({"grid": (0.1, -0.1)}, "grid must be >= 0"),
        ({"validation_fraction": 0.0}, "validation_fraction must be"),
        ({"validation_fraction": 0.001}, "validation_fraction must leave a row"),
        ({"validation_fraction": 0.004, "criterion": "energy"}, "validation_fraction must leave two rows"),
        ({"criterion": "likelihood"}, "criterion must be one of"),
        ({"device": "tpu"}, "device must be one of"),
    ],
)
def test_bad_parameters_are_refused_by_name(line, options, words):
    estimator = PerturbedGenerator()
    for name, value in options.items():
        setattr(estimator, name, value)
    with pytest.raises(ValueError, match=words):
        estimator.fit(line)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"perturbation": [0.1, 0.2]}, "perturbation must be a number"),
        ({"perturbation": np.array([0.1, 0.2])}, "perturbation must be a number"),
        ({"hidden": 64}, "hidden must be a tuple or list"),
        ({"grid": 0.1}, "grid must be a tuple or list"),
        ({"grid": np.geomspace(0.1, 1, 3)}, "grid must be a tuple or list"),
        ({"image_shape": 8}, "image_shape must be a tuple or list"),
    ],
    ids=str,
)
def test_parameters_of_a_wrong_kind_are_refused_by_name(line, options, words):
    with pytest.raises(TypeError, match=words):
        PerturbedGenerator().set_params(**options).fit(line)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.full((5, 3), np.nan), "X holds NaN or infinity"),
        (np.array([[1.0, np.inf], [0.0, 1.0]]), "X holds NaN or infinity"),
        (np.ones((1, 3)), "X must have at least 2 rows"),
        (np.empty((5, 0)), "X is empty"),
        (np.ones(5), "X must have 2 axes"),
        (np.ones((5, 3)), "X must hold different rows"),
        (np.full((5, 3), 0.1), "X must hold different rows"),
    ],
)
def test_bad_data_are_refused_by_name(X, words):
    with pytest.raises(ValueError, match=words):
        PerturbedGenerator().fit(X)


def test_a_code_as_large_as_the_space_is_warned_of(line):
    with pytest.warns(UserWarning, match="no longer taken for singular"):
        PerturbedGenerator(n_latent=2, perturbation=0.1, **{**SMALL, "n_steps": 2}).fit(line[:, :2])


def test_a_grid_that_limits_sigma_is_warned_of(line):
    options = {**SMALL, "estimator": "quadrature", "n_steps": 100}
    with pytest.warns(UserWarning, match="n_nodes=8 over a range"):
        PerturbedGenerator(n_latent=1, perturbation=0.0, n_nodes=8, **options).fit(line)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PerturbedGenerator(n_latent=1, perturbation=0.3, n_nodes=128, **options).fit(line)


def test_blur_that_beats_the_data_is_warned_of(monkeypatch):
    X = np.random.default_rng(0).standard_normal((60, 60))
    monkeypatch.setattr(PerturbedGenerator, "distance", lambda self, *args, **kwargs: 0.0)
    options = {**SMALL, "n_steps": 2, "grid": (0.1,)}
    with pytest.warns(UserWarning, match="favours blur"):
        PerturbedGenerator(n_latent=2, **options).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PerturbedGenerator(n_latent=2, criterion="energy", **options).fit(X)


def test_a_grid_that_ends_at_its_best_level_is_warned_of(line, monkeypatch):
    monkeypatch.setattr(PerturbedGenerator, "distance", lambda self, *args, **kwargs: 1 / (1 + self.perturbation_))
    options = {**SMALL, "n_steps": 2}
    with pytest.warns(UserWarning, match=r"largest of grid, 0\.5 times the spread of the data: extend grid"):
        PerturbedGenerator(n_latent=1, grid=(0.1, 0.5, 0.2), **options).fit(line)
    monkeypatch.setattr(PerturbedGenerator, "distance", lambda self, *args, **kwargs: self.perturbation_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PerturbedGenerator(n_latent=1, grid=(0.1, 0.5, 0.2), **options).fit(line)


@pytest.mark.parametrize("perturbation", ["auto", 0.1])
def test_warnings_come_once(line, perturbation):
    options = {**SMALL, "n_steps": 2, "grid": (0.1,), "estimator": "quadrature", "n_nodes": 2}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PerturbedGenerator(n_latent=2, perturbation=perturbation, **options).fit(line[:, :2])
    assert len(caught) == 2


def test_use_before_fit_and_bad_calls_are_refused(model, line):
    for call in (PerturbedGenerator().sample, lambda: PerturbedGenerator().transform(line)):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(ValueError, match="X must have 6 columns"):
        model.score_samples(np.ones((3, 5)))
    with pytest.raises(ValueError, match="n_samples must be >= 1"):
        model.sample(0)
    with pytest.raises(ValueError, match="n_points must be"):
        model.distance(line, n_points=10_001)
    with pytest.raises(ValueError, match="criterion must be one of"):
        sample_distance(line, line, "typo")
    with pytest.raises(ValueError, match="estimator must be one of"):
        module.Bound(model.network_, "gan", 1, 1)
    other = clone(model).set_params(criterion="energy")
    other._adopt(model)
    with pytest.raises(ValueError, match="X must have at least 2 rows"):
        other.distance(line[:1])
    with pytest.raises(ValueError, match="perturbations must be >= 0"):
        model.fit_path(line, [0.1, -0.1])


# --- storage and the job ---


@pytest.mark.parametrize("options", [{}, {"estimator": "quadrature", "latent": "uniform", "n_nodes": 32}], ids=str)
def test_saved_model_gives_the_same_results_after_loading(options, line, tmp_path):
    fitted = PerturbedGenerator(n_latent=1, perturbation=0.3, **{**SMALL, "n_steps": 10, **options}).fit(line)
    loaded = PerturbedGenerator.from_pretrained(fitted.save_pretrained(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.sample(20), fitted.sample(20))
    np.testing.assert_array_equal(loaded.score_samples(line[:5]), fitted.score_samples(line[:5]))
    np.testing.assert_array_equal(loaded.transform(line), fitted.transform(line))
    assert loaded.sigma_ == fitted.sigma_


def test_job_reads_points_and_refuses_too_few_by_name(tmp_path):
    rows = np.random.default_rng(0).random((12, 2))
    np.savetxt(tmp_path / "points.csv", rows, delimiter=",", header="a,b", comments="")
    data = read([tmp_path / "points.csv"])
    np.testing.assert_allclose(data.rows, rows)
    assert data.features == ("a", "b")
    np.save(tmp_path / "few.npy", rows[:5])
    with pytest.raises(ValueError, match=r"few\.npy: needs at least 10 points"):
        read([tmp_path / "few.npy"])
    with pytest.raises(ValueError, match="one file is wanted"):
        read([tmp_path / "points.csv", tmp_path / "few.npy"])


@pytest.fixture
def fitted_rows(monkeypatch):
    """Numbers of rows and levels of every training."""
    seen = []
    train = PerturbedGenerator._train

    def spy(self, x, added, seed, **options):
        seen.append((len(x), len(added)))
        return train(self, x, added, seed, **options)

    monkeypatch.setattr(PerturbedGenerator, "_train", spy)
    return seen


def test_job_fits_the_chosen_level_again_on_the_rows_of_the_plain_model(line, fitted_rows):
    data = Points(1e-4 * line, tuple("abcdef"))
    options = {**SMALL, "n_steps": 3, "grid": (0.3, 0.5), "criterion": "energy"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = perform(PerturbedGenerator(n_latent=1, **options), data, Context())
    assert fitted_rows == [(192, 2), (240, 1), (240, 1)]
    assert outcome.model.perturbation == "auto" and outcome.model.path_.shape == (2, 4)
    assert outcome.metrics["perturbation"] == outcome.model.perturbation_ in outcome.model.path_[:, 0]
    assert {name for name in outcome.metrics if "_of_" in name} == {
        "energy_of_samples",
        "energy_of_samples_plain",
        "energy_of_training_rows",
    }
    assert " of 60 held-out rows" in outcome.summary
    titles = [ax.get_title() for ax in outcome.pictures["samples"].figure.axes]
    assert len(titles) == 3 and not any(title.endswith(" 0.00") for title in titles)
    gain = outcome.metrics["bound_plain_nats"] - outcome.metrics["bound_nats"]
    assert f"{abs(gain):.3g} nats {'higher' if gain >= 0 else 'lower'}" in outcome.summary


def test_job_without_perturbation_trains_one_model_and_says_so(line, fitted_rows):
    estimator = PerturbedGenerator(n_latent=1, perturbation=0.0, **{**SMALL, "n_steps": 3})
    outcome = perform(estimator, Points(line, tuple("abcdef")), Context())
    assert fitted_rows == [(240, 1)]
    assert outcome.summary.startswith("By plain likelihood") and "nats" not in outcome.summary
    assert len(outcome.pictures["samples"].figure.axes) == 2


@pytest.mark.parametrize("dim", [1, 3])
def test_job_with_a_given_perturbation_draws_points_of_any_dimension(dim, tmp_path):
    np.save(tmp_path / "points.npy", np.random.default_rng(0).standard_normal((60, dim)))
    estimator = PerturbedGenerator(n_latent=1, perturbation=0.3, **{**SMALL, "n_steps": 30})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = perform(estimator, read([tmp_path / "points.npy"]), Context())
    assert outcome.metrics["perturbation"] == 0.3 and outcome.arrays["samples"].shape[1] == dim
    for picture in outcome.pictures.values():
        save_png(picture.figure, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 8000
