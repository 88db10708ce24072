"""PFGM++: the kernel, exact denoisers, losses, samplers, learning, bad input, storage."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import polygamma, psi
from scipy.stats import betaprime, chi2, kstest, multivariate_t
from sklearn.datasets import make_moons
from sklearn.exceptions import NotFittedError

import semigroup.densities.pfgmpp.estimator as estimator_module
from semigroup.data.images import digits
from semigroup.densities import PFGMpp, energy_distance
from semigroup.densities.pfgmpp import (
    Churn,
    FieldDenoiser,
    PointSetDenoiser,
    assess,
    beta_noise,
    field_range,
    field_target,
    noise_levels,
    posterior_mean,
    quantize_weights,
    sample_heun,
    sample_scaled,
    stable_target,
    student_noise,
    sweep_dimensions,
)
from semigroup.densities.pfgmpp.losses import loss_weight, tail_weight
from semigroup.jobs import Context
from semigroup.jobs.pfgmpp import Samples, perform, read
from semigroup.nn.unet import ImageUNet
from semigroup.report.figures import save_png
from semigroup.schedules import VP, Preconditioning, karras_sigmas

INF = math.inf
# Enough to learn the small cases below.
QUICK = {"batch_size": 128, "learning_rate": 5e-3, "ema_decay": 0.99, "device": "cpu", "random_state": 0}
# So short that nothing is learnt, for what does not depend on it.
SHORT = {"hidden": (16,), "n_steps": 2, "n_levels": 3, "device": "cpu", "random_state": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def atoms():
    rng = np.random.default_rng(0)
    return rng.standard_normal((5, 8)), np.array([0.1, 0.15, 0.2, 0.25, 0.3])


@pytest.fixture(scope="module")
def labelled():
    """Two clusters, one a label."""
    rng = np.random.default_rng(1)
    y = np.repeat(["left", "right"], 150)
    return rng.standard_normal((300, 2)) * 0.1 + np.where(y == "left", -1.0, 1.0)[:, None], y


@pytest.fixture(scope="module")
def conditional(labelled):
    return PFGMpp(D=16.0, hidden=(48, 48), n_steps=250, **QUICK).fit(*labelled)


# --- the kernel ---


@pytest.mark.parametrize(
    ("draw", "n_features", "D"),
    [(draw, n, D) for draw in (student_noise, beta_noise) for n, D in ((64, 1.0), (64, 16.0), (200, 128.0))]
    + [(student_noise, 5, 0.3)],
)
def test_squared_radius_of_the_noise_is_beta_prime(draw, n_features, D):
    noise = draw(20_000, n_features, D, generator(2), dtype=torch.float64)
    ratio = noise.square().sum(1).numpy() / D
    assert kstest(ratio, betaprime(n_features / 2, D / 2).cdf).pvalue > 1e-3
    log_ratio = np.log(ratio)
    assert log_ratio.mean() == pytest.approx(psi(n_features / 2) - psi(D / 2), abs=5 * log_ratio.std() / 141)
    variance = polygamma(1, n_features / 2) + polygamma(1, D / 2)
    assert log_ratio.var() == pytest.approx(variance, rel=0.12)


def test_clipped_beta_radii_are_not_beta_prime():
    """What the reference training does."""
    noise = beta_noise(20_000, 64, 1.0, generator(2), clip=1e-3)
    assert kstest(noise.square().sum(1).numpy(), betaprime(32, 0.5).cdf).pvalue < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_beta_route_overflows_where_the_student_form_does_not(dtype):
    assert not torch.isfinite(beta_noise(20_000, 64, 0.3, generator(3), dtype=dtype)).all()
    assert torch.isfinite(student_noise(20_000, 64, 0.3, generator(3))).all()


def test_direction_of_the_noise_is_uniform_and_independent_of_its_length():
    noise = student_noise(20_000, 3, 4.0, generator(4), dtype=torch.float64)
    length = noise.norm(dim=1)
    direction = noise / length[:, None]
    assert direction.mean(0).abs().max() < 5 / math.sqrt(3 * 20_000)
    long = length > length.median()
    gap = direction[long].square().mean(0) - direction[~long].square().mean(0)
    assert gap.abs().max() < 5 * math.sqrt(2 * 4 / 45 / 10_000)


def test_one_multiplier_a_sample_and_the_same_gaussian_for_every_dimension():
    gaussian = student_noise(50, 7, INF, generator(5), dtype=torch.float64)
    ratio = student_noise(50, 7, 2.5, generator(5), dtype=torch.float64) / gaussian
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio))
    assert ratio[:, 0].unique().numel() == 50


def test_noise_of_the_least_dimension_has_finite_squares_and_loses_three_per_cent_of_its_tail():
    noise = student_noise(20_000, 5, 0.1, generator(7))
    assert torch.isfinite(noise.square().sum(1)).all()
    # P(D / chi > 1e30), of which so many draws must be found in the float64 draws of the sampler too
    share = chi2(0.1).cdf(0.1e-30)
    for dtype in (torch.float32, torch.float64):
        noise = student_noise(20_000, 1, 0.1, generator(7), dtype=dtype)
        ratio = noise / student_noise(20_000, 1, INF, generator(7), dtype=dtype)
        assert (ratio > 0.999e15).double().mean().item() == pytest.approx(share, rel=0.15)
        assert ratio.max() < 1.001e15


def test_noise_of_very_many_dimensions_is_gaussian_noise():
    gaps = student_noise(500, 7, 1e8, generator(6)) / student_noise(500, 7, INF, generator(6)) - 1
    assert 0 < gaps.abs().max() < 5e-4


# --- exact denoiser ---


@pytest.mark.parametrize("D", [1, 2, 5])
def test_denoiser_is_the_electric_field_of_charges_in_the_augmented_space(D, atoms):
    """sqrt(D) E_x / E_r of point charges in N + D dimensions by Coulomb's law, the augmented vector in any direction."""
    points, weights = atoms
    x, sigma = np.random.default_rng(7).standard_normal((4, 8)), 0.8
    radius = sigma * math.sqrt(D)
    direction = np.random.default_rng(8).standard_normal(D)
    z = radius * direction / np.linalg.norm(direction)
    place = np.concatenate([x, np.tile(z, (4, 1))], axis=1)
    charges = np.concatenate([points, np.zeros((5, D))], axis=1)
    gaps = place[:, None] - charges
    field = (weights[:, None] * gaps / np.linalg.norm(gaps, axis=2, keepdims=True) ** (8 + D)).sum(1)
    slope = math.sqrt(D) * field[:, :8] / (field[:, 8:] @ z / radius)[:, None]
    denoised = PointSetDenoiser(points, weights, D=D)(torch.from_numpy(x), sigma)
    np.testing.assert_allclose((x - denoised.numpy()) / sigma, slope, rtol=1e-10)


@pytest.mark.parametrize("D", [0.7, 3.0, 40.0, INF])
def test_density_of_the_noisy_points_is_the_mixture_of_students(D, atoms):
    points, weights = atoms
    x, sigma = np.random.default_rng(9).standard_normal((6, 8)), 0.6
    df = 1e15 if D == INF else D
    expected = sum(
        w * multivariate_t(mean, sigma**2 * np.eye(8), df=np.inf if D == INF else df).pdf(x)
        for w, mean in zip(weights, points)
    )
    found = PointSetDenoiser(points, weights, D=D).log_prob(torch.from_numpy(x), sigma)
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-9)


@pytest.mark.parametrize("D", [1e6, 1e9, 1e15])
def test_density_of_very_many_dimensions_is_the_gaussian_one(D, atoms):
    x = torch.randn(6, 8, generator=generator(9), dtype=torch.float64)
    gap = PointSetDenoiser(*atoms, D=D).log_prob(x, 0.6) - PointSetDenoiser(*atoms).log_prob(x, 0.6)
    assert gap.abs().max() < 500 / D + 1e-12


def test_gaussian_denoiser_obeys_tweedies_formula(atoms):
    denoise = PointSetDenoiser(*atoms)
    x = torch.randn(5, 8, generator=generator(10), dtype=torch.float64).requires_grad_()
    (score,) = torch.autograd.grad(denoise.log_prob(x, 0.7).sum(), x)
    np.testing.assert_allclose(denoise(x.detach(), 0.7), (x + 0.7**2 * score).detach(), rtol=1e-10)


def test_denoiser_stays_exact_far_from_the_origin_and_at_extreme_noise(atoms):
    points, weights = atoms
    near = PointSetDenoiser(points, weights, D=4.0)
    far = PointSetDenoiser(points + 1e4, weights, D=4.0)
    x = torch.from_numpy(points[:3] + 0.01)
    np.testing.assert_allclose(far(x + 1e4, 0.05) - 1e4, near(x, 0.05), atol=1e-6)
    np.testing.assert_allclose(near(x, 1e-8), points[:3], atol=1e-9)
    np.testing.assert_allclose(near(x, 1e12), np.tile(weights @ points, (3, 1)), atol=1e-9)


def test_denoiser_takes_one_level_a_row_and_images(atoms):
    points, weights = atoms
    denoise = PointSetDenoiser(points.reshape(5, 1, 2, 4), weights, D=4.0)
    x = torch.randn(3, 1, 2, 4, generator=generator(11))
    sigma = torch.tensor([0.1, 1.0, 10.0])
    found = denoise(x, sigma)
    assert found.shape == x.shape and found.dtype == x.dtype
    for i in range(3):
        torch.testing.assert_close(found[i : i + 1], denoise(x[i : i + 1], float(sigma[i])))


# --- losses ---


def test_noise_levels_follow_their_laws():
    n = 40_000
    log_sigma = noise_levels("edm", n, generator(12), log_sigma_mean=-0.4, log_sigma_std=0.9).log().numpy()
    assert kstest(log_sigma, "norm", (-0.4, 0.9)).pvalue > 1e-3
    uniform = (noise_levels("ve", n, generator(13)) / 0.02).log() / math.log(5000)
    assert kstest(uniform.numpy(), "uniform").pvalue > 1e-3
    sigma = noise_levels("vp", n, generator(14)).double()
    # The published formula, solved for t.
    t = (-0.1 + (0.01 + 4 * 9.95 * torch.log1p(sigma**2)).sqrt()) / (2 * 9.95)
    assert kstest(t.numpy(), "uniform").pvalue > 1e-3


def test_weights_are_edms_and_the_papers():
    sigma = torch.tensor([0.1, 1.0])
    weight = loss_weight("edm", sigma, Preconditioning(0.5))
    torch.testing.assert_close(weight, (sigma**2 + 0.25) / (0.25 * sigma**2))
    # The paper's loss |f - (x - y) / sigma|^2 with f = (x - m) / sigma is |m - y|^2 / sigma^2.
    torch.testing.assert_close(loss_weight("ve", sigma, Preconditioning(0.5)), 1 / sigma**2)


@pytest.mark.parametrize("D", [3.0, INF])
def test_stable_target_over_all_data_is_the_exact_denoiser(D, atoms):
    points = torch.from_numpy(atoms[0])
    x, sigma = points + 0.3, torch.full((5,), 0.5)
    torch.testing.assert_close(stable_target(x, sigma, points, D), PointSetDenoiser(points, D=D)(x, 0.5))


def test_stable_target_keeps_to_a_rows_own_label(atoms):
    points, label = torch.from_numpy(atoms[0]), torch.tensor([0, 0, 1, 1, 1])
    x, sigma = points + 0.3, torch.full((5,), 2.0)
    found = stable_target(x, sigma, points, 3.0, label=label, reference_label=label)
    torch.testing.assert_close(found[:2], posterior_mean(x[:2], sigma[:2], points[:2], 3.0))
    torch.testing.assert_close(found[2:], posterior_mean(x[2:], sigma[2:], points[2:], 3.0))


def test_field_of_the_exact_target_leads_back_to_the_posterior_mean(atoms):
    """x - sigma f_x / f_r of the normalised field is the mean, whatever the normalisation."""
    mean = torch.from_numpy(atoms[0])
    sigma = torch.tensor([1e-4, 0.5, 1.0, 2.0, 10.0], dtype=torch.float64)
    x = mean + sigma[:, None]
    target = field_target(x, sigma, mean, 6.0)

    class Known(torch.nn.Module):
        def forward(self, x, t, label=None):
            return target

    torch.testing.assert_close(FieldDenoiser(Known(), 0.5)(x, sigma), mean)
    v = torch.cat([mean - x, -sigma[:, None] * math.sqrt(6)], dim=1)
    expected = math.sqrt(14) * v / (v.norm(dim=1, keepdim=True) + 5)
    torch.testing.assert_close(target[:, :8], expected[:, :8])
    torch.testing.assert_close(target[:, 8], expected[:, 8] / math.sqrt(6))
    # A radial part of the wrong sign throws x no farther than the data lie.
    target[:, 8] *= -1
    thrown = (FieldDenoiser(Known(), 0.5)(x, sigma) - x).norm(dim=1)
    assert (thrown <= 1.001 * (x.norm(dim=1) + 5 * math.sqrt(8))).all()


def test_range_of_field_regression_is_the_published_one_where_it_is_defined():
    low, high = field_range(64, 19.0, 0.002, 80.0)
    assert low * math.sqrt(19) == pytest.approx(0.55 / 2) and high * math.sqrt(19) == pytest.approx(2500 / 2)
    assert field_range(64, 3.0, 0.002, 80.0) == (0.002, 80.0)


# --- samplers ---


def atom_counts(points, weights, D, prior_D, scale=1.0, n=4000):
    """How often sampling with the exact denoiser ends in each atom."""
    exact, prior = PointSetDenoiser(points, weights, D=D), PointSetDenoiser(points, weights, D=prior_D)
    start = prior.prior(n, 80.0 * scale, generator(15))
    ends = sample_heun(exact, start, karras_sigmas(64, 0.002, 80.0))
    gaps = torch.cdist(ends, torch.from_numpy(points))
    return torch.bincount(gaps.argmin(1), minlength=5).numpy(), gaps.amin(1)


def statistic(counts, weights):
    expected = counts.sum() * weights
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("D", [1.0, 2.0, 16.0, INF])
def test_sampling_with_the_exact_denoiser_reaches_the_atoms_with_their_weights(D, atoms):
    counts, gaps = atom_counts(*atoms, D, D)
    assert statistic(counts, atoms[1]) < chi2(4).ppf(0.999)
    assert (gaps < 1e-3).double().mean() >= (0.98 if D == 1 else 1.0)


def test_sampling_from_the_wrong_prior_misses_the_weights(atoms):
    """On a line; in many dimensions the direction decides, which every prior has right."""
    line = np.linspace(-2, 2, 5)[:, None]
    assert statistic(atom_counts(line, atoms[1], 2.0, 2.0)[0], atoms[1]) < chi2(4).ppf(0.999)
    assert statistic(atom_counts(line, atoms[1], 2.0, INF)[0], atoms[1]) > 50


def test_second_order_of_the_sampler(atoms):
    """Against a ten times finer grid, in sigma from 2 to 0.5."""
    exact = PointSetDenoiser(*atoms, D=5.0)
    start = torch.from_numpy(atoms[0][:2] + 1.0)

    def end(n):
        return sample_heun(exact, start, np.linspace(2.0, 0.5, n + 1))

    truth = end(400)
    errors = [(end(n) - truth).norm().item() for n in (10, 20, 40)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.3)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.3)


def test_sampler_evaluates_the_denoiser_2n_minus_1_times_in_double_precision():
    seen = []

    def denoise(x, sigma):
        seen.append((sigma, x.dtype))
        return x / 2

    sample_heun(denoise, torch.ones(2, 3, dtype=torch.float64), karras_sigmas(5, 0.002, 80.0))
    assert len(seen) == 9
    assert {dtype for _, dtype in seen} == {torch.float64}


def test_scaled_sampler_ends_where_the_unscaled_one_does(atoms):
    exact = PointSetDenoiser(*atoms, D=4.0)
    noise = student_noise(200, 8, 4.0, generator(16), dtype=torch.float64)
    schedule = VP()
    top = (schedule.std(1.0) / schedule.scale(1.0)).item()
    scaled = sample_scaled(exact, noise, schedule, 150)
    plain = sample_heun(exact, top * noise, karras_sigmas(150, 0.002, top))
    assert ((scaled - plain).norm(dim=1) < 1e-2).double().mean() > 0.98


def test_disturbance_is_added_before_every_step_the_first_too():
    """With a denoiser that always says 0 the state shrinks in proportion to sigma, and the shocks add up in closed form."""
    sigmas = [4.0, 2.0, 1.0, 0.5, 0.0]
    x = sample_heun(lambda x, s: torch.zeros_like(x), torch.zeros(40_000, 1, dtype=torch.float64), sigmas[:4],
                    generator=generator(17), disturbance=0.3)  # fmt: skip
    # Each of the three shocks, of size 0.3 sigma, is 0.3 * 0.5 at the end.
    assert x.std().item() == pytest.approx(0.3 * 0.5 * math.sqrt(3), rel=0.02)


def test_churn_keeps_the_law_of_gaussian_data():
    """Data N(0, 1): stochastic sampling at D = infinity still ends with variance 1; twice the noise does not."""

    def denoise(x, sigma):
        return x / (1 + sigma**2)

    start = 80.0 * torch.randn(20_000, 1, generator=generator(18), dtype=torch.float64)
    sigmas = karras_sigmas(64, 0.002, 80.0)
    ends = [
        sample_heun(denoise, start, sigmas, generator=generator(19), churn=Churn(40.0, noise=noise)).var().item()
        for noise in (1.0, 2.0)
    ]
    assert ends[0] == pytest.approx(1, abs=0.05)
    assert ends[1] > 1.2


def test_quantised_weights_are_on_the_published_grid_and_the_rest_is_untouched():
    network = ImageUNet(1, 8, width=8, multipliers=(1, 2), n_classes=3)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, generator=generator(20))
    example = torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.long)
    rounded = dict(quantize_weights(network, 5, example=example).named_parameters())
    changed = {name for name, value in network.named_parameters() if not torch.equal(value, rounded[name])}
    assert changed and all(name.endswith("weight") for name in changed)
    assert not {
        name for name in changed if any(word in name for word in ("embedding", "classes", "modulation", "norm"))
    }
    assert "unet.middle.0.before.2.weight" in changed
    assert "unet.lift.weight" not in changed and "unet.end.2.weight" not in changed
    for name in changed:
        before, after = network.get_parameter(name), rounded[name]
        step = (before.max() - before.min()) / 31
        assert after.unique().numel() <= 32
        # The grid's zero point is truncated, so that one end is cut by up to a step.
        assert (after - before).abs().max() <= 1.01 * step
        np.testing.assert_allclose((after / step).detach(), (after / step).round().detach(), atol=1e-3)


# --- learning ---


@pytest.mark.parametrize(
    ("loss", "D", "n_steps"),
    [
        ("edm", 5.0, 300),
        ("ve", 5.0, 400),
        ("vp", 5.0, 550),
        ("stf", 5.0, 400),
        ("field", 3.0, 900),
        ("edm", INF, 300),
        ("edm", 1.0, 900),
    ],
)
def test_every_loss_learns_the_posterior_mean(loss, D, n_steps):
    points = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.5]])
    X = np.repeat(points, 40, axis=0)
    model = PFGMpp(D=D, loss=loss, hidden=(48, 48), n_steps=n_steps, **QUICK).fit(X)
    exact = PointSetDenoiser(points, D=D)
    for sigma in (0.2, 0.6):
        noise = student_noise(300, 2, D, generator(21)).double().numpy()
        x = points[np.arange(300) % 3] + sigma * noise
        truth = exact(torch.from_numpy(x), sigma).numpy()
        error = np.median(np.abs(model.denoise(x, sigma) - truth))
        assert error < 0.3 * np.median(np.abs(points.mean(0) - truth))
    gaps = np.linalg.norm(model.sample(300)[:, None] - points, axis=2).min(1)
    assert np.median(gaps) < 0.2


def test_bounded_tails_keep_the_minimiser_and_bound_the_loss():
    scalings, sigma = Preconditioning(0.5), torch.full((4,), 2.0)
    x = torch.tensor([0.1, 2.0, 1e3, 1e9])[:, None] * torch.ones(4, 6)
    weight = tail_weight(x, sigma, scalings)
    assert weight[:2].tolist() == [1.0, 1.0]
    assert (weight * x.square().mean(1)).max() <= 4 * (4 + 0.25) * 1.001


def test_conditional_samples_have_their_label(conditional):
    for label, sign in (("left", -1), ("right", 1)):
        samples = conditional.sample(100, label)
        assert np.mean(np.sign(samples) == sign) > 0.97
    mixed = conditional.sample(4, ["left", "right", "right", "left"])
    assert np.sign(mixed[:, 0]).tolist() == [-1, 1, 1, -1]


def test_units_and_origin_of_the_data_do_not_matter(labelled):
    X, _ = labelled
    plain = PFGMpp(**SHORT).fit(X)
    moved = PFGMpp(**SHORT).fit(1000 * X + 500)
    np.testing.assert_allclose((moved.sample(20) - 500) / 1000, plain.sample(20), atol=2e-3)
    far = PFGMpp(**SHORT).fit(X + 1e9).sample(20) - 1e9
    np.testing.assert_allclose(far, plain.sample(20), atol=2e-3)
    np.testing.assert_allclose(
        (moved.denoise(1000 * X[:5] + 500, 300.0) - 500) / 1000, plain.denoise(X[:5], 0.3), atol=1e-4
    )


@pytest.mark.parametrize("loss", ["edm", "field"])
def test_images_are_sampled_by_a_u_net(loss):
    images, labels = digits()
    model = PFGMpp(loss=loss, width=8, multipliers=(1, 2), batch_size=32, **SHORT).fit(images[:64, None], labels[:64])
    samples = model.sample(6, labels[:6])
    assert samples.shape == (6, 1, 8, 8) and np.isfinite(samples).all()
    assert model.sample(2, 3, bits=5, schedule=VP(), n_levels=4).shape == (2, 1, 8, 8)


def test_samples_of_moons_are_closer_to_them_than_those_of_a_gaussian():
    X, _ = make_moons(2000, noise=0.05, random_state=23)
    model = PFGMpp(D=64.0, hidden=(64, 64), n_steps=500, **QUICK).fit(X[:1000])
    gaussian = np.random.default_rng(23).multivariate_normal(X[:1000].mean(0), np.cov(X[:1000].T), 1000)
    assert energy_distance(X[1000:], model.sample(1000)) < 0.5 * energy_distance(X[1000:], gaussian)


def test_resumed_training_gives_the_same_model(labelled, tmp_path):
    X, y = labelled
    whole = PFGMpp(**{**SHORT, "n_steps": 8}).fit(X, y)
    PFGMpp(**{**SHORT, "n_steps": 4}).fit(X, y, checkpoint_dir=tmp_path)
    resumed = PFGMpp(**{**SHORT, "n_steps": 8}).fit(X, y, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(whole.sample(5, "left"), resumed.sample(5, "left"))
    assert len(resumed.losses_) == 8


@pytest.mark.parametrize("loss", ["edm", "ve", "vp", "stf"])
def test_heaviest_tails_are_learnt_from_without_overflow(loss, labelled):
    model = PFGMpp(**{**SHORT, "n_steps": 30, "loss": loss, "D": 0.1}).fit(labelled[0])
    assert np.isfinite(model.losses_).all() and np.isfinite(model.sample(50)).all()


def test_every_use_of_the_seed_has_a_stream_of_its_own(labelled, monkeypatch):
    seeds = []

    def seen(module, name):
        inner = getattr(module, name)

        def outer(*arguments, **options):
            seeds.append(options.get("seed", arguments[-1] if arguments else None))
            return inner(*arguments, **options)

        monkeypatch.setattr(module, name, outer)

    seen(estimator_module, "EpochSampler")
    seen(estimator_module, "train")
    seen(estimator_module, "numpy_generator")
    model = PFGMpp(**SHORT).fit(labelled[0])
    model.sample(2)
    assert len(seeds) == 3 == len({*seeds, model._seed(0)} - {model._seed(0)})


def test_dropout_is_seeded_too():
    images, _ = digits()
    options = {**SHORT, "width": 8, "multipliers": (1,), "batch_size": 8, "dropout": 0.5}
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        losses.append(PFGMpp(**options).fit(images[:16, None]).losses_)
    np.testing.assert_array_equal(*losses)


def test_one_seed_gives_one_model_and_other_seeds_others(labelled):
    X, _ = labelled
    one, same, other = (PFGMpp(**{**SHORT, "random_state": seed}).fit(X).sample(5) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_fit_that_is_stopped_leaves_the_estimator_as_it_was(labelled, monkeypatch):
    X, y = labelled
    model = PFGMpp(**SHORT).fit(X, y)
    before = model.sample(3, "left")

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(estimator_module, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(np.ones((9, 4)) * np.arange(9)[:, None])
    np.testing.assert_array_equal(model.sample(3, "left"), before)


def test_words_of_a_table_are_labels(labelled):
    X, y = labelled
    model = PFGMpp(**SHORT).fit(X, pd.Series(y))
    assert model.classes_.tolist() == ["left", "right"]
    np.testing.assert_array_equal(
        model.sample(2, pd.Series(["left", "right"])), model.sample(2, np.array(["left", "right"], dtype=object))
    )


@pytest.mark.parametrize("unet", [False, True])
def test_denoised_rows_do_not_depend_on_how_many_go_through_the_network_together(unet, labelled, monkeypatch):
    X = digits()[0][:20, None] if unet else labelled[0][:20]
    model = PFGMpp(**SHORT, width=8, multipliers=(1,), batch_size=8).fit(X)
    sigma = np.linspace(0.1, 2, 20)
    whole = model.denoise(X, sigma)
    monkeypatch.setattr("semigroup.nn.batches.PIECE_NUMBERS", 7 * X[0].size)
    np.testing.assert_allclose(model.denoise(X, sigma), whole, atol=1e-5)


def test_results_come_in_kind(conditional, labelled):
    x = torch.from_numpy(labelled[0][:4]).float()
    clean = conditional.denoise(x, 0.2, ["left"] * 4)
    assert isinstance(clean, torch.Tensor) and clean.dtype == torch.float32
    np.testing.assert_allclose(clean, conditional.denoise(x.numpy(), 0.2, "left"), rtol=1e-5)


def test_samples_do_not_depend_on_how_many_are_drawn_at_once(conditional, monkeypatch):
    before = conditional.sample(12, "left")
    monkeypatch.setattr("semigroup.densities.pfgmpp.estimator.PIECE", 12)
    more = conditional.sample(20, "left")
    np.testing.assert_allclose(before, more[:12], atol=1e-5)


def test_one_seed_starts_every_dimension_from_the_same_gaussian_numbers_in_every_piece(labelled, monkeypatch):
    """Seen through a denoiser that keeps the direction of the noise."""
    monkeypatch.setattr("semigroup.densities.pfgmpp.estimator.PIECE", 8)

    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, t, label=None):
            return x

    directions = []
    for D in (2.0, INF):
        model = PFGMpp(**SHORT, D=D).fit(labelled[0])
        model.denoiser_.network = Same()
        rows = model.sample(20) - model.shift_
        directions.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    np.testing.assert_allclose(*directions, atol=1e-4)


def test_sweep_fits_every_dimension_with_the_other_parameters_kept(labelled):
    X, y = labelled
    found = sweep_dimensions(
        PFGMpp(**SHORT),
        X[::2],
        X[1::2],
        dimensions=(2.0, INF),
        y=y[::2],
        labels=y[1::2],
        disturbances=(0.0, 0.3),
        n_samples=40,
    )
    assert [(q.D, q.disturbance) for q in found] == [(2.0, 0.0), (2.0, 0.3), (INF, 0.0), (INF, 0.3)]
    assert all(np.isfinite([q.frechet, q.energy]).all() for q in found)


def test_held_out_labels_are_spread_over_the_samples(conditional, labelled):
    X, y = labelled
    asked = []

    def seen(n, labels=None, **options):
        asked.append(labels)
        return X[:n]

    conditional = copy.copy(conditional)
    conditional.sample = seen
    assess(conditional, X, labels=y, n_samples=10)
    assert asked[0].tolist() == ["left"] * 5 + ["right"] * 5


def test_assessment_refuses_what_it_cannot_compare(conditional, labelled):
    X, y = labelled
    for options, words in (
        ({"labels": None}, "labels must be given"),
        ({"labels": y[:-1]}, "labels must hold 300"),
        ({"labels": np.where(y == "left", "up", y)}, "labels must be among"),
        ({"held_out": X[:, :1]}, r"held_out must hold at least 2 samples of shape \(2,\)"),
        ({"held_out": X[:1], "labels": y[:1]}, "held_out must hold at least 2"),
        ({"n_samples": 1}, "n_samples must be >= 2"),
    ):
        with pytest.raises(ValueError, match=words):
            assess(conditional, **{"held_out": X, "labels": y, **options})
    assert np.isfinite(assess(conditional, torch.from_numpy(X), labels=y, n_samples=20).frechet)


def test_sweep_refuses_before_it_trains(labelled, monkeypatch):
    X, y = labelled
    monkeypatch.setattr(PFGMpp, "fit", lambda *a, **k: pytest.fail("trained"))
    given = {"X": X, "held_out": X, "y": y, "labels": y}
    for options, words in (
        ({"labels": None}, "labels must be given"),
        ({"y": None}, "labels must be left out"),
        ({"dimensions": (4.0, 0.0)}, "D must be > 0"),
        ({"disturbances": (-1.0,)}, "disturbances must be >= 0"),
        ({"held_out": X[:, :1]}, "held_out must hold"),
        ({"n_samples": 1}, "n_samples must be >= 2"),
    ):
        with pytest.raises(ValueError, match=words):
            sweep_dimensions(PFGMpp(**SHORT), **{**given, **options})


# --- bad input ---


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("D", 0.0, "D must be > 0"),
        ("D", -INF, "D must be > 0"),
        ("D", math.nan, "D must be > 0"),
        ("D", 0.05, "D must be at least 0.1"),
        ("D", "many", "D must be a number"),
        ("sigma_min", 0.0, "sigma_min must be > 0"),
        ("sigma_min", 90.0, "sigma_max must be > 90"),
        ("n_levels", 1, "n_levels must be >= 2"),
        ("loss", "l2", "loss must be one of"),
        ("network", "unet", "network must be 'mlp' or 'auto' for vectors"),
        ("hidden", (), "hidden must hold"),
        ("hidden", 64, "hidden must be a sequence"),
        ("width", 12, "width must be divisible by 8"),
        ("log_sigma_std", 0.0, "log_sigma_std must be > 0"),
        ("ema_decay", 1.0, "ema_decay must be"),
        ("batch_size", 0, "batch_size must be >= 1"),
        ("device", "abacus", "device must be one of"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(parameter, value, words):
    with pytest.raises((ValueError, TypeError), match=words):
        PFGMpp(**SHORT).set_params(**{parameter: value}).fit(np.eye(4))


def test_field_regression_of_infinitely_many_dimensions_is_refused():
    with pytest.raises(ValueError, match="D must be finite for loss='field'"):
        PFGMpp(D=INF, loss="field").fit(np.eye(4))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.full((5, 2), 3.0), "X must vary"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "X holds NaN"),
        (np.array([[1.0, np.inf], [0.0, 1.0]]), "X holds NaN or infinity"),
        (np.empty((5, 0)), "X is empty"),
        (np.empty((0, 3)), "X must have at least 1 rows"),
        (np.zeros((5, 8, 8)), "channel axis"),
        (np.zeros((5, 1, 8, 6)), "square images"),
        (np.zeros(5), "X must have 2 or 4 axes"),
        (
            np.random.default_rng(0).random((5, 1, 10, 10)),
            "X must hold images whose size is a multiple of 4 .* multipliers",
        ),
    ],
)
def test_data_it_cannot_learn_from_are_refused(X, words):
    with pytest.raises(ValueError, match=words):
        PFGMpp(**SHORT).fit(X)


def test_bad_labels_are_refused(conditional, labelled):
    X, y = labelled
    with pytest.raises(ValueError, match="y must hold 300 labels"):
        PFGMpp(**SHORT).fit(X, y[:-1])
    with pytest.raises(ValueError, match="y must hold labels"):
        PFGMpp(**SHORT).fit(X, np.full(300, np.nan))
    with pytest.raises(ValueError, match="y must hold labels, whole numbers or words, got fractions"):
        PFGMpp(**SHORT).fit(X, np.linspace(0, 1, 300))
    with pytest.raises(ValueError, match="y must hold labels"):
        PFGMpp(**SHORT).fit(X, np.array([{}] * 300))
    with pytest.raises(ValueError, match=r"labels must be among \['left', 'right'\], got \[1\]"):
        conditional.sample(2, 1)
    with pytest.raises(ValueError, match="labels must be given"):
        conditional.sample(3)
    with pytest.raises(ValueError, match=r"labels must be among \['left', 'right'\], got \['up'\]"):
        conditional.sample(2, np.array(["left", "up"]))
    with pytest.raises(ValueError, match="labels must be one label, or 3"):
        conditional.sample(3, np.array(["left", "right"]))
    with pytest.raises(ValueError, match="labels must be left out"):
        PFGMpp(**SHORT).fit(X).sample(3, "left")


def test_bad_requests_of_samples_are_refused(conditional):
    for options, words in (
        ({"disturbance": -0.1}, "disturbance must be >= 0"),
        ({"bits": 1}, "bits must be >= 2"),
        ({"n_levels": 1}, "n_levels must be >= 2"),
        ({"schedule": VP(), "churn": Churn(1.0)}, "churn must be left out"),
    ):
        with pytest.raises(ValueError, match=words):
            conditional.sample(3, "left", **options)
    with pytest.raises(ValueError, match="n must be >= 1"):
        conditional.sample(0, "left")
    with pytest.raises(ValueError, match="amount must be >= 0"):
        Churn(-1.0)
    with pytest.raises(ValueError, match="sigma_max must be > sigma_min"):
        Churn(1.0, sigma_min=2.0, sigma_max=1.0)


def test_bad_requests_of_denoising_are_refused(conditional):
    with pytest.raises(ValueError, match=r"x must hold samples of shape \(2,\)"):
        conditional.denoise(np.zeros((3, 4)), 1.0, "left")
    with pytest.raises(ValueError, match="sigma must be one positive number, or 3"):
        conditional.denoise(np.zeros((3, 2)), 0.0, "left")
    with pytest.raises(ValueError, match="sigma must be one positive number, or 3"):
        conditional.denoise(np.zeros((3, 2)), np.ones(2), "left")


def test_use_before_fit_is_refused():
    with pytest.raises(NotFittedError):
        PFGMpp().sample(3)
    with pytest.raises(NotFittedError):
        PFGMpp().denoise(np.zeros((3, 4)), 1.0)


def test_bad_point_sets_are_refused(atoms):
    points, weights = atoms
    for arguments, words in (
        ((points, -weights), "weights must be 5 positive numbers"),
        ((points, weights[:4]), "weights must be 5 positive numbers"),
        ((np.full((2, 2), np.nan),), "points holds NaN"),
        ((np.zeros(3),), "points must have at least 2 axes"),
    ):
        with pytest.raises(ValueError, match=words):
            PointSetDenoiser(*arguments)
    with pytest.raises(ValueError, match="D must be > 0"):
        PointSetDenoiser(points, D=-1.0)
    with pytest.raises(ValueError, match="x must have 8 numbers a row"):
        PointSetDenoiser(points)(torch.zeros(2, 3), 1.0)


# --- storage ---


@pytest.mark.parametrize("loss", ["edm", "field"])
def test_saved_model_gives_the_same_samples_after_loading(loss, labelled, tmp_path):
    X, y = labelled
    model = PFGMpp(**SHORT, D=12.5, loss=loss).fit(X, y)
    state = torch.get_rng_state()
    loaded = PFGMpp.from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(loaded.sample(7, "right"), model.sample(7, "right"))
    assert loaded.classes_.tolist() == ["left", "right"] and loaded.D == 12.5


def test_diffusion_and_images_survive_storage(tmp_path):
    images, _ = digits()
    model = PFGMpp(**SHORT, D=INF, width=8, multipliers=(1, 2), batch_size=8).fit(images[:16, None])
    loaded = PFGMpp.from_pretrained(model.save_pretrained(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.sample(2), model.sample(2))
    assert loaded.D == INF and loaded.classes_ is None


# --- the job ---


def test_job_reads_tables_with_labels_and_arrays_of_images(tmp_path):
    rng = np.random.default_rng(24)
    table = tmp_path / "points.csv"
    rows = "\n".join(f"{a},{b},{kind}" for (a, b), kind in zip(rng.standard_normal((20, 2)), ["cat", "dog"] * 10))
    table.write_text(f"a,b,label\n{rows}\n")
    data = read([table])
    assert data.samples.shape == (20, 2) and set(data.labels) == {"cat", "dog"}
    np.savez(tmp_path / "images.npz", images=rng.random((12, 1, 8, 8)), labels=np.arange(12) % 3)
    data = read([tmp_path / "images.npz"])
    assert data.samples.shape == (12, 1, 8, 8) and data.labels.tolist() == [0, 1, 2] * 4
    np.save(tmp_path / "plain.npy", rng.random((12, 3)))
    assert read([tmp_path / "plain.npy"]).labels is None


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv.gz", ".parquet"])
def test_job_takes_a_column_for_labels_only_if_it_can_be(ending, tmp_path):
    rng = np.random.default_rng(27)
    numbers, whole = rng.standard_normal((20, 2)), np.arange(20) % 4
    columns = {
        "x,y": ({"x": numbers[:, 0], "y": numbers[:, 1]}, 2, None),
        "x,y whole": ({"X": numbers[:, 0], "Y": whole}, 2, None),
        "a,y": ({"a": numbers[:, 0], "y": numbers[:, 1]}, 2, None),
        "a,y whole": ({"a": numbers[:, 0], "y": whole}, 1, whole.tolist()),
        "a,y whole decimals": ({"a": numbers[:, 0], "y": whole + 0.0}, 1, whole.tolist()),
        "x,y,label": ({"x": numbers[:, 0], "y": numbers[:, 1], "label": whole}, 2, whole.tolist()),
        "words": (
            {"a": numbers[:, 0], "class": np.where(whole > 1, "up", "down")},
            1,
            ["down", "down", "up", "up"] * 5,
        ),
    }
    path = tmp_path / f"points{ending}"
    for name, (content, n_features, labels) in columns.items():
        table = pd.DataFrame(content)
        if ending == ".parquet":
            table.to_parquet(path)
        else:
            table.to_csv(path, index=False, sep="\t" if "tsv" in ending else ",")
        data = read([path])
        assert data.samples.shape == (20, n_features), name
        assert (None if data.labels is None else data.labels.tolist()) == labels, name


def test_job_refuses_what_it_cannot_learn_from_by_name(tmp_path):
    rng = np.random.default_rng(25)
    arrays = {
        "grey": ({"images": rng.random((12, 8, 8))}, "channel axis"),
        "few": ({"X": rng.random((5, 3))}, "at least 10 samples"),
        "odd": ({"X": rng.random((12, 3)), "labels": np.arange(11)}, "holds 11 labels for 12 samples"),
        "two": ({"a": rng.random((12, 3)), "b": rng.random((12, 3))}, "samples are the array"),
        "flat": ({"X": np.ones((12, 3))}, "all samples are equal"),
        "target": ({"X": rng.random((12, 3)), "y": rng.random(12)}, "labels 'y' must be whole numbers or words"),
    }
    for name, (content, words) in arrays.items():
        np.savez(tmp_path / f"{name}.npz", **content)
        with pytest.raises(ValueError, match=rf"{name}\.npz: .*{words}"):
            read([tmp_path / f"{name}.npz"])
    with pytest.raises(ValueError, match="data must be one file"):
        read([tmp_path / "grey.npz", tmp_path / "few.npz"])


def test_job_refuses_labels_of_which_none_is_left_to_compare(monkeypatch):
    monkeypatch.setattr(PFGMpp, "fit", lambda *a, **k: pytest.fail("trained"))
    samples = np.random.default_rng(28).random((20, 3))
    with pytest.raises(ValueError, match="labels that occur more often"):
        perform(PFGMpp(**SHORT), Samples(samples, np.arange(20), "each its own"), Context())


@pytest.mark.parametrize("shape", [(1,), (3,), (3, 4, 4)])
def test_job_draws_vectors_and_images_of_any_size(shape, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(26).random((60, *shape)))
    outcome = perform(PFGMpp(**SHORT, network="mlp"), read([tmp_path / "x.npy"]), Context())
    assert outcome.arrays["samples"].shape[1:] == shape
    assert len(outcome.arrays["samples"]) == 48  # as many as it learns from
    assert np.isfinite(list(outcome.metrics.values())).all()
    robustness = outcome.tables["robustness"]
    assert robustness["disturbance"].tolist() == [0.0, 0.1, 0.2, 0.3, 0, 0, 0, 0]
    assert robustness["frechet"][0] == outcome.metrics["frechet_distance_samples"]
    for picture in outcome.pictures.values():
        save_png(picture.figure, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 5_000
