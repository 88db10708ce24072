"""Minority guidance: its scores and samplers against mixtures that are known exactly, and the estimator on small data."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from torch import nn

from semigroup.base import torch_generator
from semigroup.data.images import digits, rows_with_a_rare_class
from semigroup.densities import GaussianMixture, MinorityGuidance
from semigroup.densities.distances import precision_recall
from semigroup.densities.minority_guidance import (
    Guide,
    NoisyImageClassifier,
    assess_rarity,
    average_knn_distance,
    choose_noise_step,
    class_log_prob,
    euclidean,
    guidance_gradient,
    level_edges,
    levels_of,
    local_outlier_factor,
    lpips_distance,
    minority_score,
    rarity_score,
    sample_ddim,
    sample_ddpm,
    sample_ode,
)
from semigroup.densities.minority_guidance import estimator as estimator_module
from semigroup.densities.minority_guidance.estimator import _hold_out
from semigroup.jobs import Context
from semigroup.jobs import minority_guidance as job
from semigroup.nn.batches import rows_together
from semigroup.nn.unet import ImageUNet
from semigroup.schedules import VP, DDPMSchedule
from semigroup.sde import SolverFailed

SCHEDULE = DDPMSchedule.linear(100)
LONG_TAILED = GaussianMixture([0.9, 0.05, 0.05], [[0.0, 0.0], [3.0, 0.0], [0.0, -3.0]], [0.25, 0.25, 0.25])


def exact_model(mixture: GaussianMixture, schedule: DDPMSchedule = SCHEDULE):
    """The posterior mean as a model of the estimator's: one step for the whole batch."""

    def model(x, t):
        step = int(t[0])
        return mixture.denoise(x.double(), schedule.scale(step), schedule.std(step)).to(x)

    return model


def exact_noise(mixture: GaussianMixture, schedule: DDPMSchedule = SCHEDULE):
    def noise(x, t):
        return schedule.noise_between(x, t, mixture.denoise(x, schedule.scale(t), schedule.std(t)))

    return noise


def tailed(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x, component = LONG_TAILED.sample_with_components(n, torch_generator(seed))
    return x.numpy(), component.numpy()


QUICK = {
    "n_noise_steps": 100,
    "noise_step": 0.3,
    "n_training_steps": 300,
    "hidden": (32, 32),
    "classifier_steps": 300,
    "classifier_width": 32,
    "device": "cpu",
    "random_state": 0,
}


@pytest.fixture(scope="module")
def on_exact_model() -> MinorityGuidance:
    X, _ = tailed(1500)
    return MinorityGuidance(**{**QUICK, "classifier_steps": 600}).fit(
        X, model=exact_model(LONG_TAILED), prediction="denoised"
    )


# --- the mathematics -----------------------------------------------------------------------------------------------


def test_score_of_an_atom_is_the_expected_distance_to_the_posterior_mean():
    """Two atoms at -1 and 1: E|x0 - tanh(scale x_t / std^2 ...)| by quadrature."""
    p = 0.9
    atoms = GaussianMixture([p, 1 - p], [[-1.0], [1.0]], [0.0, 0.0])
    t = 40
    a, s = SCHEDULE.scale(t).item(), SCHEDULE.std(t).item()

    def denoise(x, t):
        return atoms.denoise(x, SCHEDULE.scale(t), SCHEDULE.std(t))

    z = np.linspace(-8, 8, 20_001)
    weight = norm.pdf(z) * (z[1] - z[0])
    for x0 in (-1.0, 1.0):
        x = a * x0 + s * z
        odds = np.exp(norm.logpdf(x, a, s) - norm.logpdf(x, -a, s)) * (1 - p) / p
        mean = (odds - 1) / (odds + 1)
        expected = (weight * np.abs(x0 - mean)).sum()
        rows = torch.full((20_000, 1), x0, dtype=torch.float64)
        found = minority_score(rows, denoise, SCHEDULE, t, n_draws=5, generator=torch_generator(0))
        assert found.mean().item() == pytest.approx(expected, rel=0.02)


def test_score_ranks_the_rare_components_of_the_exact_mixture_and_none_of_equal_ones():
    x, component = LONG_TAILED.sample_with_components(4000, torch_generator(0))
    noise = exact_noise(LONG_TAILED)
    scores = minority_score(
        x, lambda x, t: SCHEDULE.denoised(x, t, noise(x, t)), SCHEDULE, 30, generator=torch_generator(1)
    )
    assert roc_auc_score(component > 0, scores) > 0.9
    equal = GaussianMixture([1, 1, 1], [[3.0, 0.0], [-1.5, 2.598076], [-1.5, -2.598076]], [0.25, 0.25, 0.25])
    x, component = equal.sample_with_components(4000, torch_generator(0))
    noise = exact_noise(equal)
    scores = minority_score(
        x, lambda x, t: SCHEDULE.denoised(x, t, noise(x, t)), SCHEDULE, 30, generator=torch_generator(1)
    )
    assert abs(roc_auc_score(component == 0, scores) - 0.5) < 0.03


def test_score_does_not_depend_on_how_rows_are_cut_into_pieces(monkeypatch):
    """With a denoiser that ignores its input the noise does not matter, and rows must come back in order."""
    x = torch.arange(10.0)[:, None]
    zero = lambda x, t: torch.zeros_like(x)  # noqa: E731
    monkeypatch.setattr("semigroup.nn.batches.PIECE_NUMBERS", 4)
    found = minority_score(x, zero, SCHEDULE, 5, n_draws=3, distance=lambda x, y: (x - y)[:, 0])
    assert torch.equal(found, x[:, 0])


@pytest.mark.parametrize("n", [100, 101, 756])
@pytest.mark.parametrize("n_levels", [2, 7, 10])
def test_quantile_levels_are_equally_large_and_ordered_by_score(n, n_levels):
    scores = np.random.default_rng(n).gamma(2.0, size=n)
    levels = levels_of(scores, level_edges(scores, n_levels))
    sizes = np.bincount(levels, minlength=n_levels)
    assert sizes.max() - sizes.min() <= 1 and len(sizes) == n_levels
    assert (np.diff(levels[np.argsort(scores)]) >= 0).all()
    assert levels[scores.argmax()] == n_levels - 1 and levels[scores.argmin()] == 0


def test_levels_of_equal_width_starve_the_tail():
    scores = np.random.default_rng(0).exponential(size=5000)
    sizes = np.bincount(levels_of(scores, level_edges(scores, 10, width=True)), minlength=10)
    assert sizes[-1] < 0.01 * len(scores) < sizes[0]


def test_guidance_gradient_is_the_score_of_a_posterior():
    """log p(component | x_t) of the exact mixture: its gradient is the difference of the component's and the mixture's score."""
    t = 30
    noisy = LONG_TAILED.diffuse(SCHEDULE.scale(t), SCHEDULE.std(t))
    component = GaussianMixture([1.0], [[3.0, 0.0]], [0.25]).diffuse(SCHEDULE.scale(t), SCHEDULE.std(t))
    classifier = lambda x, t: noisy.responsibilities(x).log()  # noqa: E731
    x = torch.randn(50, 2, dtype=torch.float64, generator=torch_generator(0))
    found = guidance_gradient([Guide(class_log_prob(classifier, 1), 2.0)], x, t)
    np.testing.assert_allclose(found, 2 * (component.score(x) - noisy.score(x)), atol=1e-10)


def test_guides_add_up():
    x = torch.randn(5, 3)
    guides = [Guide(lambda x, t: x.sum(1), 2.0), Guide(lambda x, t: (x**2).sum(1) / 2, -1.0)]
    np.testing.assert_allclose(guidance_gradient(guides, x, 1), 2 - x, atol=1e-6)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "ode"])
def test_samplers_with_the_exact_noise_draw_the_mixture(sampler):
    schedule = DDPMSchedule.linear(300)
    noise = exact_noise(LONG_TAILED, schedule)
    generator = torch_generator(0)
    x = torch.randn(4000, 2, dtype=torch.float64, generator=generator)
    grid = schedule.grid(300 if sampler != "ode" else 100)
    if sampler == "ddpm":
        found = sample_ddpm(noise, x, schedule, grid, generator=generator)
    else:
        found = (sample_ddim if sampler == "ddim" else sample_ode)(noise, x, schedule, grid)
    shares = LONG_TAILED.responsibilities(found).mean(0)
    np.testing.assert_allclose(shares, [0.9, 0.05, 0.05], atol=0.02)
    np.testing.assert_allclose(found.var(0), LONG_TAILED.sample(100_000, generator).var(0), rtol=0.12)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "ode"])
def test_guidance_by_the_exact_posterior_at_unit_strength_draws_the_component(sampler):
    """score + grad log p(component | x_t) is the component's own score, so that the samples are the component's."""
    schedule = DDPMSchedule.linear(200)

    def classifier(x, t):
        noisy = LONG_TAILED.diffuse(schedule.scale(int(t[0])), schedule.std(int(t[0])))
        return noisy.responsibilities(x).log()

    guides = [Guide(class_log_prob(classifier, 1), 1.0)]
    gradient = lambda x, t: guidance_gradient(guides, x, t)  # noqa: E731
    generator = torch_generator(1)
    x = torch.randn(1000, 2, dtype=torch.float64, generator=generator)
    noise, grid = exact_noise(LONG_TAILED, schedule), schedule.grid(200 if sampler != "ode" else 80)
    if sampler == "ddpm":
        found = sample_ddpm(noise, x, schedule, grid, generator=generator, gradient=gradient)
    else:
        found = (sample_ddim if sampler == "ddim" else sample_ode)(noise, x, schedule, grid, gradient=gradient)
    np.testing.assert_allclose(found.mean(0), [3.0, 0.0], atol=0.08)
    np.testing.assert_allclose(found.var(0), [0.25, 0.25], rtol=0.2)


def test_heun_needs_fewer_steps_than_ddim_for_the_same_end():
    """The flow carries N(0, 1) to N(1, 0.04) by the monotone map."""
    noise = exact_noise(GaussianMixture([1.0], [[1.0]], [0.04]))
    x = torch.randn(200, 1, dtype=torch.float64, generator=torch_generator(0))
    errors = [
        (f(noise, x, SCHEDULE, SCHEDULE.grid(50)) - (1 + 0.2 * x)).abs().mean() for f in (sample_ddim, sample_ode)
    ]
    assert errors[1] < errors[0] / 2 < 0.02


def test_clamping_keeps_samples_within_their_range():
    x = torch.randn(50, 1, dtype=torch.float64, generator=torch_generator(0))
    push = lambda x, t: torch.full_like(x, 50.0)  # noqa: E731
    noise = exact_noise(GaussianMixture([1.0], [[0.0]], [0.1]))
    clamp = lambda x: x.clamp(-1, 1)  # noqa: E731
    for sampler in (sample_ddim, sample_ode):
        wild = sampler(noise, x, SCHEDULE, SCHEDULE.grid(50), gradient=push)
        tame = sampler(noise, x, SCHEDULE, SCHEDULE.grid(50), gradient=push, clamp=clamp)
        assert wild.max() > 1.5 and tame.abs().max() <= 1 + 1e-9


def test_choice_of_the_step_avoids_noise_and_collapse():
    """Axes of very different spread, so that instances differ in how much of them the noise hides."""
    means = torch.zeros(3, 20)
    means[1, 0], means[2, 1] = 3.0, -3.0
    law = GaussianMixture([0.9, 0.05, 0.05], means, torch.diag(torch.logspace(-2, 1, 20)).expand(3, 20, 20))
    x = law.sample(1000, torch_generator(0))
    noise = exact_noise(law)
    denoise = lambda x, t: SCHEDULE.denoised(x, t, noise(x, t))  # noqa: E731
    choice = choose_noise_step(x, denoise, SCHEDULE, generator=torch_generator(1))
    i = choice.steps.tolist().index(choice.step)
    assert choice.clear and choice.correlations[i] >= 0.8 and (choice.spreads[: i + 1] > 0.5).all()
    assert ((choice.correlations[i + 1 :] < 0.8) | (choice.spreads[i + 1 :] <= 0.5)).all()
    assert choice.correlations[0] < 0.5 and choice.spreads[-1] < 0.1


@pytest.mark.parametrize(("sampler", "step"), [("ddpm", 40), ("ddim", 40), ("ode", 50)])
def test_samplers_say_at_which_step_a_state_is_not_finite(sampler, step):
    """The model fails at step 50, which Heun's method asks for at the end of the interval before."""

    def noise(x, t):
        return x * float("nan") if t == 50 else 0.1 * x

    x, grid = torch.randn(4, 1, generator=torch_generator(0)), SCHEDULE.grid(10)
    draw = {"ddpm": partial(sample_ddpm, generator=torch_generator(0)), "ddim": sample_ddim, "ode": sample_ode}[sampler]
    with pytest.raises(SolverFailed, match=rf"100.0% .* step {step}$"):
        draw(noise, x, SCHEDULE, grid)


def test_rows_that_go_together_hold_so_many_numbers():
    rows = [rows_together(torch.empty(1, *shape), 1024) for shape in ((2,), (1, 28, 28), (3, 32, 32), (3, 1024, 1024))]
    assert rows == [1024, 2**19 // 784, 2**19 // 3072, 1]


def test_distance_with_weights_leaves_no_graph_and_its_shape_is_checked():
    x, layer = torch.randn(6, 3, generator=torch_generator(0)), nn.Linear(3, 1)
    one = lambda x, t: torch.zeros_like(x)  # noqa: E731
    assert not minority_score(x, one, SCHEDULE, 5, distance=lambda x, y: layer(x - y)[:, 0]).requires_grad
    choose_noise_step(x, one, SCHEDULE, distance=lambda x, y: layer(x - y)[:, 0])
    for wrong, got in ((lambda x, y: layer(x - y), r"\(6, 1\)"), (lambda x, y: 1.0, "float")):
        with pytest.raises(ValueError, match=f"distance must give .*{got}"):
            minority_score(x, one, SCHEDULE, 5, distance=wrong)


# --- metrics -------------------------------------------------------------------------------------------------------


def test_metrics_agree_with_their_definitions_row_by_row():
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(80, 3)), 1.5 * rng.normal(size=(30, 3))
    between, within = cdist(generated, real), np.sort(cdist(real, real), axis=1)
    radii = within[:, 5]  # the row itself comes first
    found = rarity_score(real, generated, k=5)
    for g in range(30):
        holding = radii[between[g] <= radii]
        assert np.isnan(found[g]) if not len(holding) else found[g] == pytest.approx(holding.min())
    np.testing.assert_allclose(average_knn_distance(real, generated), np.sort(between, axis=1)[:, :5].mean(1))
    whole = assess_rarity(real, generated)
    assert (whole.in_manifold, whole.recall) == precision_recall(real, generated, k=5)
    assert whole.nearest == pytest.approx(np.median(between.min(1)))


def test_local_outlier_factor_agrees_with_its_definition():
    rng = np.random.default_rng(1)
    real, generated, k = rng.normal(size=(60, 2)), rng.normal(size=(10, 2)) * 2, 7
    D = cdist(real, real)
    np.fill_diagonal(D, np.inf)
    reach_of = np.sort(D, axis=1)[:, k - 1]

    def density(distances):
        near = np.argsort(distances)[:k]
        return 1 / np.maximum(reach_of[near], distances[near]).mean(), near

    local = np.array([density(row)[0] for row in D])
    expected = []
    for row in cdist(generated, real):
        own, near = density(row)
        expected.append(local[near].mean() / own)
    np.testing.assert_allclose(local_outlier_factor(real, generated, k=k), expected, rtol=1e-6)


# --- the estimator -------------------------------------------------------------------------------------------------


def test_scores_with_an_exact_model_find_the_rare_components(on_exact_model):
    _, component = tailed(1500)
    assert roc_auc_score(component > 0, on_exact_model.scores_) > 0.9
    assert on_exact_model.scale_ == 1 and on_exact_model.bounds_ is None
    np.testing.assert_array_equal(np.bincount(on_exact_model.levels_), 150)


def test_levels_and_strength_move_samples_to_and_from_the_rare_components(on_exact_model):
    def share(**options):
        samples = torch.from_numpy(on_exact_model.sample(500, n_steps=50, **options)).double()
        return 1 - LONG_TAILED.responsibilities(samples)[:, 0].mean().item()

    unguided, weak, strong = share(guidance=0.0), share(guidance=0.5), share(guidance=3.5)
    assert unguided == pytest.approx(0.1, abs=0.04)
    assert unguided + 0.1 < weak < strong and strong > 0.8
    assert share(level=0) < 0.02
    assert share(guidance=3.5, sampler="ddim") > 0.8 and share(guidance=3.5, sampler="ode") > 0.8


def test_predict_gives_levels_of_new_data_and_probabilities_know_them(on_exact_model):
    X, component = tailed(400, seed=5)
    levels = on_exact_model.predict(X)
    assert levels[component > 0].mean() > 7 and set(levels) <= set(range(10))
    likely = on_exact_model.predict_proba(X)
    np.testing.assert_allclose(likely.sum(1), 1, rtol=1e-5)
    assert roc_auc_score(component > 0, likely[:, 9]) > 0.9


def test_level_may_be_drawn_from_a_range_or_given_for_each(on_exact_model):
    each = np.repeat([0, 9], 100)
    samples = torch.from_numpy(on_exact_model.sample(200, level=each, n_steps=50)).double()
    rare = 1 - LONG_TAILED.responsibilities(samples)[:, 0]
    assert rare[:100].mean() < 0.05 and rare[100:].mean() > 0.7
    ranged = torch.from_numpy(on_exact_model.sample(200, level=(5, 10), n_steps=50)).double()
    share = 1 - LONG_TAILED.responsibilities(ranged)[:, 0].mean()
    assert 0.1 < share < 0.6


def test_guidance_range_limits_where_it_acts(on_exact_model):
    X, _ = tailed(1500)
    never = MinorityGuidance(**QUICK, guidance_range=(0.0, 0.005))
    never.fit(X, model=exact_model(LONG_TAILED), prediction="denoised", classifier=on_exact_model._classify)
    np.testing.assert_array_equal(never.sample(20, n_steps=50), never.sample(20, n_steps=50, guidance=0.0))
    assert not np.array_equal(
        on_exact_model.sample(20, n_steps=50), on_exact_model.sample(20, n_steps=50, guidance=0.0)
    )


def test_another_classifier_joins_by_its_gradient(on_exact_model):
    """Rare, and on the right: only the component at (3, 0) is both."""
    right = lambda x, t: torch.stack([-4 * x[:, 0], 4 * x[:, 0]], dim=1)  # noqa: E731
    samples = on_exact_model.sample(300, n_steps=50, also=[Guide(class_log_prob(right, 1), 1.0)])
    plain = on_exact_model.sample(300, n_steps=50)
    assert (samples[:, 0] > 1.5).mean() > (plain[:, 0] > 1.5).mean() + 0.2
    with pytest.raises(ValueError, match="label must be"):
        on_exact_model.sample(3, n_steps=5, also=[Guide(class_log_prob(right, 2))])


@pytest.mark.parametrize("prediction", ["noise", "score", "denoised"])
def test_models_may_predict_noise_score_or_data(prediction):
    X, _ = tailed(200)
    clean = exact_model(LONG_TAILED)

    def model(x, t):
        scale, std = SCHEDULE.scale(t).to(x)[:, None], SCHEDULE.std(t).to(x)[:, None]
        noise = (x - scale * clean(x, t)) / std
        return {"noise": noise, "score": -noise / std, "denoised": clean(x, t)}[prediction]

    found = MinorityGuidance(**QUICK).fit_scores(X, model=model, prediction=prediction)
    expected = MinorityGuidance(**QUICK).fit_scores(X, model=clean, prediction="denoised")
    np.testing.assert_allclose(found.scores_, expected.scores_, rtol=1e-3, atol=1e-4)


def test_scores_do_not_depend_on_the_units_and_origins_of_columns():
    X, _ = tailed(200)
    options = {**QUICK, "n_training_steps": 100, "n_sampling_steps": 20}
    units = np.array([1000.0, 0.01])
    one = MinorityGuidance(**options).fit_scores(X)
    other = MinorityGuidance(**options).fit_scores(units * X + 7)
    np.testing.assert_allclose(one.scale_ * units, other.scale_)
    np.testing.assert_allclose(one.scores_, other.scores_, rtol=1e-2, atol=1e-3)
    samples = other.sample(5, guidance=0.0)
    np.testing.assert_allclose(one.sample(5, guidance=0.0), (samples - 7) / units, rtol=1e-2, atol=0.02)


def test_constant_columns_stay_constant_in_samples_and_a_change_in_one_is_seen():
    X = np.column_stack([tailed(60)[0], np.full(60, 0.1)])
    model = MinorityGuidance(**{**QUICK, "n_levels": 3, "n_training_steps": 2, "n_sampling_steps": 3}).fit_scores(X)
    assert model.scale_[2] == 0
    np.testing.assert_array_equal(model.sample(5, guidance=0.0)[:, 2], np.float32(0.1))
    assert model.minority_score(X + np.array([0, 0, 9.0])).min() > model.minority_score(X).max()


def test_tensors_come_back_as_tensors_of_their_type(on_exact_model):
    X, _ = tailed(20)
    for dtype in (torch.float32, torch.float64):
        rows = torch.as_tensor(X, dtype=dtype)
        scores, likely = on_exact_model.minority_score(rows), on_exact_model.predict_proba(rows)
        assert isinstance(scores, torch.Tensor) and scores.dtype == likely.dtype == dtype
        np.testing.assert_allclose(scores, on_exact_model.minority_score(X), rtol=1e-5)
        np.testing.assert_allclose(likely, on_exact_model.predict_proba(X), atol=1e-5)
        levels = on_exact_model.predict(rows)
        assert levels.dtype == torch.long and (levels.numpy() == on_exact_model.predict(X)).all()
    assert on_exact_model.minority_score(X).dtype == np.float64


def test_no_batch_is_larger_than_what_goes_together(monkeypatch):
    """Of 20 numbers, 10 rows of two columns: in the choice of the step, scores, the judge of the classifier, and samples."""
    monkeypatch.setattr("semigroup.nn.batches.PIECE_NUMBERS", 20)
    X, _ = tailed(60)
    sizes, model = {"model": [], "features": []}, exact_model(LONG_TAILED)

    def seen(name, function):
        def call(x, t):
            sizes[name].append(len(x))
            return function(x, t)

        return call

    options = {**QUICK, "noise_step": "auto", "n_levels": 3, "batch_size": 8, "classifier_steps": 2}
    found = MinorityGuidance(**options, validation_fraction=0.5).fit(
        X, model=seen("model", model), prediction="denoised", features=seen("features", lambda x, t: 2 * x)
    )
    found.sample(25, n_steps=3)
    found.predict_proba(X)
    assert max(sizes["model"]) == max(sizes["features"]) == 10


def test_order_of_the_batches_is_not_seeded_as_the_noise_is(monkeypatch):
    seeds = []
    sampler, loop = estimator_module.EpochSampler, estimator_module.train

    def new_sampler(n, batch_size, seed):
        seeds.append(seed)
        return sampler(n, batch_size, seed)

    def new_loop(*arguments, seed, **options):
        seeds.append(seed)
        return loop(*arguments, seed=seed, **options)

    monkeypatch.setattr(estimator_module, "EpochSampler", new_sampler)
    monkeypatch.setattr(estimator_module, "train", new_loop)
    MinorityGuidance(**{**QUICK, "n_levels": 3, "n_training_steps": 2, "classifier_steps": 2}).fit(tailed(60)[0])
    assert len(seeds) == len(set(seeds)) == 4


@pytest.fixture(scope="module")
def on_digits() -> tuple[MinorityGuidance, np.ndarray, np.ndarray]:
    images, labels = digits()
    rows = rows_with_a_rare_class(labels)
    options = {
        **QUICK,
        "noise_step": 0.2,
        "hidden": (256, 256),
        "n_training_steps": 1000,
        "learning_rate": 5e-3,
        "classifier_width": 128,
    }
    X = images[rows, None]
    return MinorityGuidance(**{**options, "classifier_steps": 1000}, n_sampling_steps=50).fit(X), X, labels[rows] == 8


def test_digits_of_a_rare_class_score_high_and_guidance_leaves_the_crowd(on_digits):
    model, X, rare = on_digits
    assert roc_auc_score(rare, model.scores_) > 0.75
    assert model.bounds_ == [-1.0, 1.0] and model.scale_ == 0.5
    reference = X.reshape(len(X), -1)
    far = {
        name: average_knn_distance(reference, model.sample(150, **options).reshape(150, -1)).mean()
        for name, options in (("guided", {}), ("plain", {"guidance": 0.0}), ("typical", {"level": 0}))
    }
    assert far["guided"] > 1.05 * far["plain"] and far["typical"] < 0.9 * far["plain"]


def test_samples_of_images_keep_to_the_range(on_digits):
    model, *_ = on_digits
    samples = model.sample(20)
    assert samples.shape == (20, 1, 8, 8) and samples.dtype == np.float32
    assert samples.min() >= -1e-5 and samples.max() <= 1 + 1e-5


def test_saved_estimator_samples_and_scores_the_same(on_digits, tmp_path):
    model, X, _ = on_digits
    model.save_pretrained(tmp_path / "model")
    loaded = MinorityGuidance.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.sample(5), model.sample(5))
    np.testing.assert_array_equal(loaded.minority_score(X[:9]), model.minority_score(X[:9]))


def test_functions_of_the_users_are_attached_after_loading(on_exact_model, tmp_path):
    on_exact_model.save_pretrained(tmp_path / "model")
    loaded = MinorityGuidance.from_pretrained(tmp_path / "model")
    with pytest.raises(NotFittedError, match="attach"):
        loaded.sample(3)
    loaded.attach(model=exact_model(LONG_TAILED))
    np.testing.assert_array_equal(loaded.sample(5, n_steps=10), on_exact_model.sample(5, n_steps=10))
    with pytest.raises(ValueError, match="features must be left out"):
        loaded.attach(features=lambda x, t: x)
    with pytest.raises(Exception, match="model") as caught:
        loaded.attach(model=3)
    assert isinstance(caught.value, TypeError) or "type-check" in str(caught.value).lower()


def test_stopped_training_resumes_to_the_same_result(tmp_path):
    X, _ = tailed(200)
    options = {**QUICK, "n_training_steps": 60, "classifier_steps": 40}
    whole = MinorityGuidance(**options).fit(X)
    MinorityGuidance(**options).fit_scores(X, checkpoint_dir=tmp_path)
    resumed = MinorityGuidance(**options).fit(X, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(whole.sample(4, n_steps=10), resumed.sample(4, n_steps=10))


def test_features_of_vectors_and_of_maps_carry_the_classifier_and_the_distance():
    X, component = tailed(400)
    features = lambda x, t: torch.cat([x, x**2], dim=1)  # noqa: E731
    model = MinorityGuidance(**{**QUICK, "n_levels": 5}, distance="features")
    model.fit(X, model=exact_model(LONG_TAILED), prediction="denoised", features=features)
    assert model.classifier_shape_ == [4] and roc_auc_score(component > 0, model.scores_) > 0.85
    moved = torch.from_numpy(model.sample(100, n_steps=30)).double()
    assert 1 - LONG_TAILED.responsibilities(moved)[:, 0].mean() > 0.3

    images, _ = digits()
    convolution = nn.Conv2d(1, 3, 3, padding=1)
    options = {**QUICK, "n_training_steps": 5, "classifier_steps": 5, "n_sampling_steps": 3, "classifier_width": 8}
    maps = MinorityGuidance(**options).fit(images[:60, None], features=lambda x, t: convolution(x))
    assert maps.classifier_shape_ == [3, 8, 8] and isinstance(maps.classifier_, NoisyImageClassifier)
    assert maps.sample(2).shape == (2, 1, 8, 8) and convolution.weight.grad is None


def test_large_images_get_a_unet_and_an_encoder():
    X = np.random.default_rng(0).random((24, 1, 16, 16))
    options = {**QUICK, "n_levels": 3, "n_training_steps": 2, "classifier_steps": 2, "classifier_width": 8}
    model = MinorityGuidance(**options, width=8, multipliers=(1, 2), n_sampling_steps=2).fit(X)
    assert isinstance(model.denoiser_.network, ImageUNet) and isinstance(model.classifier_, NoisyImageClassifier)
    assert model.sample(2).shape == (2, 1, 16, 16)


def test_distance_may_be_any_function():
    X, _ = tailed(100)
    squared = MinorityGuidance(**{**QUICK, "n_levels": 4}, distance=lambda x, y: ((x - y) ** 2).sum(1))
    squared.fit_scores(X, model=exact_model(LONG_TAILED), prediction="denoised")
    plain = MinorityGuidance(**{**QUICK, "n_levels": 4}).fit_scores(
        X, model=exact_model(LONG_TAILED), prediction="denoised"
    )
    # E d^2 >= (E d)^2
    assert (squared.scores_ >= plain.scores_**2 - 1e-6).all()
    with pytest.raises(TypeError, match="cannot store"):
        squared.save_pretrained("never")


def test_lpips_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lpips", None)
    with pytest.raises(ImportError, match=r"semigroup\[lpips\]"):
        lpips_distance()


def test_lpips_sees_grey_images_in_colour_and_scores_them(monkeypatch):
    class Module:
        class LPIPS(nn.Module):
            def __init__(self, net, verbose):
                super().__init__()
                self.layer = nn.Conv2d(3, 1, 1, bias=False)
                nn.init.ones_(self.layer.weight)

            def forward(self, x, y):
                assert x.shape[1] == y.shape[1] == 3
                return self.layer((x - y).abs()).mean((1, 2, 3), keepdim=True)

    monkeypatch.setitem(__import__("sys").modules, "lpips", Module)
    found = lpips_distance()(torch.ones(4, 1, 8, 8), torch.zeros(4, 1, 8, 8))
    torch.testing.assert_close(found.detach(), torch.full((4,), 3.0))
    images = digits()[0][:20, None]
    options = {**QUICK, "n_levels": 3, "data_range": (0.0, 1.0)}
    model = MinorityGuidance(**options, distance="lpips").fit_scores(
        images, model=lambda x, t: 0 * x, prediction="denoised"
    )
    np.testing.assert_allclose(model.scores_, 3 * np.abs(2 * images - 1).mean((1, 2, 3)), rtol=1e-5)
    with pytest.raises(ValueError, match='distance must not be "lpips"'):
        fit_with(distance="lpips")()


def test_held_out_rows_are_the_same_share_of_every_level():
    levels = np.repeat([0, 1, 2, 3], [100, 40, 2, 1])
    held = _hold_out(levels, 0.05, np.random.default_rng(0))
    assert np.bincount(levels[held], minlength=4).tolist() == [5, 2, 1, 0]
    assert not _hold_out(levels, 0.0, np.random.default_rng(0)).any()


def test_auto_step_warns_where_nothing_can_be_told_apart():
    X = np.random.default_rng(0).normal(size=(60, 2))
    options = {**QUICK, "noise_step": "auto", "n_levels": 3}
    # A model that returns the mean whatever it is given has collapsed at every step.
    with pytest.warns(UserWarning, match="noise_step"):
        MinorityGuidance(**options).fit_scores(X, model=lambda x, t: 0 * x, prediction="denoised")


# --- the job ---


def test_job_ranks_a_table_under_its_column_names_and_draws_single_columns(tmp_path):
    rng = np.random.default_rng(0)
    pd.DataFrame({"height": np.r_[rng.normal(size=57), 8.0, 9.0, 10.0]}).to_csv(tmp_path / "people.csv", index=False)
    data = job.read([tmp_path / "people.csv"])
    assert data.X.shape == (60, 1) and data.columns == ["height"]
    outcome = job.perform(MinorityGuidance(**{**QUICK, "n_levels": 3}, n_sampling_steps=5), data, Context())
    ranking = outcome.tables["ranking"]
    assert list(ranking.columns) == ["row", "minority_score", "level", "height"]
    assert (np.diff(ranking["minority_score"]) <= 0).all() and set(ranking["row"]) == set(range(60))
    np.testing.assert_array_equal(ranking["height"], data.X[ranking["row"], 0])
    assert set(outcome.pictures) == {"samples", "scores"}


def test_job_names_columns_without_numbers_and_weighs_the_others_alike(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"mm": 1e4 * rng.normal(size=60), "name": ["x"] * 60, "km": rng.normal(size=60)})
    table.to_csv(tmp_path / "people.csv", index=False)
    data = job.read([tmp_path / "people.csv"])
    assert data.columns == ["mm", "km"] and data.left_out == ["name"]
    options = {**QUICK, "n_levels": 3, "n_training_steps": 2, "classifier_steps": 2, "n_sampling_steps": 3}
    outcome = job.perform(MinorityGuidance(**options), data, Context())
    assert "left out: name." in outcome.summary and outcome.summary.startswith("Guided to level 2 of 2")
    rows = data.X / data.X.std(0)
    apart = np.sort(cdist(rows, rows), axis=1)[:, 1]
    assert outcome.metrics["nearest_within_data"] == pytest.approx(np.median(apart))
    guided = outcome.arrays["guided"] / data.X.std(0)
    assert outcome.metrics["avg_knn_guided"] == pytest.approx(average_knn_distance(rows, guided).mean())


@pytest.mark.parametrize("images", [False, True])
def test_job_without_guidance_speaks_of_none(images):
    X = digits()[0][:20, None] if images else tailed(40)[0]
    options = {**QUICK, "n_levels": 3, "n_training_steps": 2, "classifier_steps": 2, "n_sampling_steps": 3}
    outcome = job.perform(MinorityGuidance(**options, guidance=0.0), job.Instances(X, None, []), Context())
    assert "guidance=0" in outcome.summary and "Guided" not in outcome.summary
    assert "guided" not in outcome.arrays and not any("guided" in n.split("_") for n in outcome.metrics)
    titles = [ax.get_title() for ax in outcome.pictures["samples"].figure.axes]
    assert not any("uided" in title for title in titles) and any("ithout guidance" in title for title in titles)


def test_job_takes_images_without_a_channel_axis_and_refuses_several_files(tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((20, 6, 6)))
    assert job.read([tmp_path / "images.npy"]).X.shape == (20, 1, 6, 6)
    with pytest.raises(ValueError, match="one file"):
        job.read([tmp_path / "images.npy"] * 2)
    np.save(tmp_path / "oblong.npy", np.random.default_rng(0).random((20, 1, 6, 7)))
    with pytest.raises(ValueError, match=r"oblong\.npy"):
        job.read([tmp_path / "oblong.npy"])


# --- bad input -----------------------------------------------------------------------------------------------------


def fit_with(**options):
    X, _ = tailed(60)
    return lambda: MinorityGuidance(**{**QUICK, "n_levels": 3, "n_training_steps": 2, **options}).fit(X)


def given(X=None, noise_step=0.3, network="auto", **arguments):
    X = tailed(60)[0] if X is None else X
    options = {**QUICK, "n_levels": 3, "n_training_steps": 2, "noise_step": noise_step, "network": network}
    return lambda: MinorityGuidance(**options).fit(X, **arguments)


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (fit_with(n_levels=1), ValueError, "n_levels"),
        (fit_with(n_levels=31), ValueError, "2 n_levels"),
        (fit_with(noise_step=0), ValueError, "noise_step"),
        (fit_with(noise_step=101), ValueError, "noise_step"),
        (fit_with(noise_step=1.5), ValueError, "noise_step"),
        (fit_with(n_draws=0), ValueError, "n_draws"),
        (fit_with(guidance=-1.0), ValueError, "guidance"),
        (fit_with(guidance=float("nan")), ValueError, "guidance"),
        (fit_with(guidance_range=(0.5, 0.5)), ValueError, "guidance_range"),
        (fit_with(distance="features"), ValueError, "features"),
        (fit_with(network="unet"), ValueError, "network"),
        (fit_with(data_range=(-1.0, 1.0)), ValueError, "data_range"),
        (fit_with(data_range=(1.0, -1.0)), ValueError, "data_range"),
        (fit_with(n_noise_steps=20), ValueError, "n_noise_steps must be >= 21"),
        (fit_with(noise_step="foo"), ValueError, "noise_step"),
        (fit_with(n_sampling_steps=0), ValueError, "n_sampling_steps must be"),
        (fit_with(n_sampling_steps=101), ValueError, "n_sampling_steps must be"),
        (fit_with(hidden=64), TypeError, "hidden"),
        (fit_with(hidden=()), ValueError, "hidden"),
        (fit_with(hidden=(0,)), ValueError, "hidden"),
        (fit_with(width=12), ValueError, "width"),
        (fit_with(device="tpu"), ValueError, "device"),
        (fit_with(distance=lambda x, y: (x - y).norm(dim=1, keepdim=True)), ValueError, "distance must give"),
        (fit_with(validation_fraction=0.9), ValueError, "validation_fraction"),
        (given(np.ones((20, 2))), ValueError, "vary"),
        (given(np.full((20, 2), np.nan)), ValueError, "X holds NaN"),
        (given(np.zeros((20, 1, 8, 9))), ValueError, "square"),
        (given(np.zeros(20)), ValueError, "X must have"),
        (given(model=3), TypeError, "model"),
        (given(model=lambda x, t: x[:, :1]), ValueError, "model must give"),
        (given(model=lambda x, t: [x]), ValueError, "model must give"),
        (given(model=lambda x, t: x * float("nan")), ValueError, "NaN"),
        (given(model=lambda x, t: x, prediction="velocity"), ValueError, "prediction"),
        (given(prediction="score"), ValueError, "prediction must be left out"),
        (given(schedule=VP()), TypeError, "schedule"),
        (given(schedule=DDPMSchedule.linear(25), noise_step=50), ValueError, "noise_step"),
        (given(model=lambda x, t: x, network="unet"), ValueError, "network"),
        (given(features=lambda x, t: x.detach()), ValueError, "differentiable"),
        (given(features=lambda x, t: x.sum()), ValueError, "features must give"),
        (given(classifier=lambda x, t: x), ValueError, "n_levels = 3 logits"),
        (given(classifier="yes"), TypeError, "classifier"),
    ],
)
def test_bad_input_is_refused_by_name_before_training(call, error, name, monkeypatch):
    monkeypatch.setattr(estimator_module, "train", lambda *arguments, **options: pytest.fail("trained"))
    with pytest.raises(Exception, match=name) as caught:
        call()
    # The shape checker of the tests may speak before the library does, where a type is wrong.
    assert isinstance(caught.value, error) or "type-check" in str(caught.value).lower()


def test_distance_whose_package_is_missing_is_refused_before_training(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lpips", None)
    monkeypatch.setattr(estimator_module, "train", lambda *arguments, **options: pytest.fail("trained"))
    with pytest.raises(ImportError, match="lpips"):
        MinorityGuidance(**{**QUICK, "n_levels": 3}, distance="lpips").fit(digits()[0][:20, None])


def test_what_is_refused_leaves_the_fit_of_before():
    X, _ = tailed(60)
    model = MinorityGuidance(**{**QUICK, "n_levels": 3, "n_training_steps": 2, "classifier_steps": 2}).fit(X)
    before = model.sample(4, n_steps=3)
    for wrong in ({"classifier": lambda x, t: x}, {"model": lambda x, t: x[:, :1]}, {"features": lambda x, t: x.sum()}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.fit(X[:30], **wrong)
        np.testing.assert_array_equal(model.sample(4, n_steps=3), before)
    assert len(model.scores_) == 60 and model.external_ == []


def test_equal_scores_have_no_quantiles():
    with pytest.raises(ValueError, match="must differ"):
        level_edges(np.ones(10), 2)
    with pytest.raises(ValueError, match="ties"):
        level_edges(np.repeat([0.0, 1.0], [95, 5]), 10)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"level": 10}, "level"),
        ({"level": -1}, "level"),
        ({"level": (9, 11)}, "level"),
        ({"level": np.array([1, 2])}, "level must be 3"),
        ({"guidance": -0.1}, "guidance"),
        ({"n_steps": 101}, "n_steps must be"),
        ({"n_steps": 0}, "n_steps must be"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": 1.2, "sampler": "ddim"}, "temperature must be 1"),
        ({"temperature": 1.2, "sampler": "ode"}, "temperature must be 1"),
    ],
)
def test_bad_requests_for_samples_are_refused_by_name(on_exact_model, options, name):
    with pytest.raises(ValueError, match=name):
        on_exact_model.sample(3, **options)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "ode"])
def test_samples_that_are_not_finite_are_refused_with_the_step_and_the_strength(on_exact_model, sampler):
    wild = Guide(lambda x, t: x.sum(1) * float("nan"))
    with pytest.raises(SolverFailed, match=rf"guidance=3\.5 with sampler='{sampler}': .* at .*step \d+"):
        on_exact_model.sample(3, n_steps=10, sampler=sampler, also=[wild])


def test_guidance_needs_the_classifier_and_sampling_a_fit(on_digits):
    X, _ = tailed(60)
    scored = MinorityGuidance(**{**QUICK, "n_levels": 3, "n_training_steps": 2}).fit_scores(X)
    assert scored.sample(2, guidance=0.0).shape == (2, 2)
    for call in (lambda: scored.sample(2), lambda: scored.predict_proba(X)):
        with pytest.raises(NotFittedError, match="classifier"):
            call()
    with pytest.raises(NotFittedError):
        MinorityGuidance().sample(2)
    model, images, _ = on_digits
    with pytest.raises(ValueError, match="data_range"):
        model.minority_score(images + 1)
    with pytest.raises(ValueError, match="instances of shape"):
        model.minority_score(X)


def test_refitting_forgets_the_classifier_of_before():
    X, _ = tailed(60)
    model = MinorityGuidance(**{**QUICK, "n_levels": 3, "n_training_steps": 2, "classifier_steps": 2}).fit(X)
    model.fit_scores(np.hstack([X, X]))
    assert not hasattr(model, "classifier_") and model.shape_ == [4]


def test_euclidean_distance_of_images_is_over_all_pixels():
    x = torch.ones(2, 3, 4, 4)
    assert torch.allclose(euclidean(x, 0 * x), torch.full((2,), 48.0).sqrt())
