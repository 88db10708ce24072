"""The measurements behind the claims of minority guidance: right on known cases, and able to fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import semigroup.claims.minority_guidance as claims
from semigroup.base import torch_generator
from semigroup.claims import ScaleUnavailable
from semigroup.densities import GaussianMixture
from semigroup.densities.minority_guidance import Guide, guidance_gradient
from semigroup.schedules import DDPMSchedule


@pytest.fixture(scope="module")
def small() -> claims.MinorityGuidance:
    """A model of the digits after a tenth of its training."""
    case = claims.digits_study(0)
    return claims.new_estimator("cpu", 0, n_training_steps=400, classifier_steps=200, n_sampling_steps=20).fit(case.X)


@pytest.fixture
def few_seeds(small, monkeypatch):
    """Claims 2 to 6 on the small model, twice, and on few samples; `study` finds rare images wherever it is told to."""
    monkeypatch.setattr(claims, "fitted", lambda scale: [small, small])
    monkeypatch.setattr(claims, "_seeds", lambda scale: range(2))
    monkeypatch.setattr(claims, "side_by_side", lambda function, cases, device: [function(*case) for case in cases])
    monkeypatch.setattr(claims, "SHARES", (0.2, 0.6))
    monkeypatch.setattr(claims, "CASES", ((0.0, -1), (1.0, -1), (3.5, -1), (3.5, 0)))
    plain = claims.new_estimator
    quick = {"n_training_steps": 100, "classifier_steps": 100, "n_sampling_steps": 20}
    monkeypatch.setattr(claims, "new_estimator", lambda scale, seed, **more: plain(scale, seed, **quick, **more))
    claims.guided_samples.cache_clear()
    yield
    claims.guided_samples.cache_clear()


def test_separation_of_scores_that_know_and_of_scores_that_do_not():
    minor = np.arange(2000) < 200
    knows, does_not = 1.0 + minor, np.random.default_rng(0).random(2000) + 1
    found = claims.separation(np.stack([knows, does_not]), minor)
    np.testing.assert_allclose(found[0], [2, 1])
    np.testing.assert_allclose(found[1], [1, 0.5], atol=0.05)


def test_exact_scores_of_one_gaussian_are_those_of_linear_shrinkage():
    """x_0 - E[x_0 | x_t] = (1 - g) x_0 - g (1 - abar)^(1/2) / abar^(1/2) z with g = abar for a standard Gaussian."""
    alpha_bar = 0.6
    scores, _ = claims.exact_scores(GaussianMixture([1.0], [[0.0]], [1.0]), (alpha_bar,), 0, n=20_000)
    generator = np.random.default_rng(1)
    x0, z = generator.standard_normal((2, 200_000))
    expected = np.abs((1 - alpha_bar) * x0 - np.sqrt(alpha_bar * (1 - alpha_bar)) * z).mean()
    assert scores.mean() == pytest.approx(expected, rel=0.02)


def test_first_claim_fails_where_nothing_is_rare(monkeypatch):
    found = claims.tweedie_favours_the_majority("cpu")
    off = np.array([abs(row["auroc"] - row["auroc_expected"]) for row in found.table])
    assert found.holds == (off <= 0.02).all()
    assert f"at {(off > 0.02).sum()} of the 6 noises, by at most {off.max() - 0.02:.3f}, " in found.note
    monkeypatch.setattr(claims, "EXPECTED", np.array([(row["ratio"], row["auroc"] + 0.019) for row in found.table]))
    assert claims.tweedie_favours_the_majority("cpu").holds
    monkeypatch.setattr(claims, "long_tailed_mixture", claims.balanced_mixture)
    assert not claims.tweedie_favours_the_majority("cpu").holds


def test_protocol_of_the_digits_is_the_sheets():
    case = claims.digits_study(3)
    assert case.X.shape == (756, 1, 8, 8) and case.rare.sum() == 36 and len(case.held_out) == 138
    assert case.X.min() == -1 and case.X.max() == 1
    known = np.isin(case.judge(case.X), (*claims.COMMON, claims.RARE))
    assert known.mean() > 0.99
    seen = {image.tobytes() for image in case.X[case.rare]}
    assert not any(image.tobytes() in seen for image in case.held_out)


def test_judge_gives_the_data_itself_full_marks_and_noise_none():
    case = claims.digits_study(0)
    itself = claims.judge_sample(case, case.X)
    noise = claims.judge_sample(case, np.random.default_rng(0).uniform(-1, 1, case.X.shape))
    assert itself.in_manifold == 1 and itself.nearest == 0 and itself.rare_share == pytest.approx(36 / 756, abs=0.005)
    assert noise.in_manifold == 0 and np.isnan(noise.rarity) and noise.avg_knn > 2 * itself.avg_knn


def test_copies_of_the_data_are_told_from_new_instances():
    case = claims.digits_study(0)
    seen, held_out, apart = claims.copying(case, case.X[case.rare])
    assert seen == 0 and held_out > 0.8 * apart > 0
    seen, *_ = claims.copying(case, case.held_out)
    assert seen == pytest.approx(apart, rel=0.05)


def test_push_away_from_the_mean_is_the_negative_score_of_the_noisy_gaussian():
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((500, 3)) @ rng.standard_normal((3, 3)) + 1).reshape(500, 3, 1, 1)
    schedule = DDPMSchedule.linear(50)
    rows = torch.from_numpy(X.reshape(500, 3))
    law = GaussianMixture([1.0], rows.mean(0, keepdim=True), torch.cov(rows.T)[None])
    x = torch.randn(4, 3, 1, 1, dtype=torch.float64, generator=torch_generator(0))
    push = guidance_gradient([Guide(claims.away_from_the_mean(X, schedule))], x, 20)
    score = law.diffuse(schedule.scale(20), schedule.std(20)).score(x.flatten(1))
    np.testing.assert_allclose(push.flatten(1), -score, rtol=1e-6, atol=1e-9)


def test_discriminator_tells_real_from_generated_where_there_is_little_noise():
    rng = np.random.default_rng(0)
    real, generated = rng.normal(-1, 0.3, (300, 1, 4, 4)), rng.normal(1, 0.3, (300, 1, 4, 4))
    schedule = DDPMSchedule.linear(50)
    critic = claims.train_discriminator(real, generated, schedule, 0, "cpu", n_steps=200)
    steps = torch.ones(300, dtype=torch.long)
    for images, label in ((real, 1), (generated, 0)):
        logits = critic(torch.as_tensor(images, dtype=torch.float32), steps)
        assert (logits.argmax(1) == label).float().mean() > 0.95


def test_ranking_claim_measures_and_fails_for_scores_at_the_wrong_step(few_seeds, small, monkeypatch):
    found = claims.score_ranks_rarity_at_the_right_noise("cpu")
    assert found.n_seeds == 2 and len(found.table) == len(claims.SHARES) + 10
    assert found.figure > 0.7
    assert sum(row["rare_share"] for row in found.table if "level" in row) == pytest.approx(10 * 36 / 756, abs=0.02)
    plain = small.minority_score
    monkeypatch.setattr(small, "minority_score", lambda X, noise_step=None: plain(X, noise_step=0.7))
    assert not claims.score_ranks_rarity_at_the_right_noise("cpu").holds


def test_guidance_claims_measure_and_fail_without_guidance(few_seeds, small, monkeypatch):
    density, shares = (
        claims.guidance_moves_samples_to_low_density("cpu"),
        claims.guidance_makes_more_minority_instances("cpu"),
    )
    assert density.figure > 1 and len(density.table) == len(claims.CASES)
    assert shares.baseline >= 0 and shares.table == density.table
    claims.guided_samples.cache_clear()
    plain = small.sample
    monkeypatch.setattr(small, "sample", lambda n, guidance=None, **more: plain(n, guidance=0.0, **more))
    assert claims.guidance_moves_samples_to_low_density("cpu").figure == pytest.approx(1)
    assert not claims.guidance_moves_samples_to_low_density("cpu").holds
    assert not claims.guidance_makes_more_minority_instances("cpu").holds


def test_comparison_of_classes_holds_only_where_the_tail_is_starved_and_less_is_found(few_seeds, monkeypatch):
    found = claims.quantile_classes_beat_equal_width_classes("cpu")
    by_kind = {row["classes"]: row for row in found.table}
    assert by_kind["width"]["top_share"] < 0.05 < by_kind["quantile"]["top_share"]
    plain = claims.compare_classes

    def measured(top_share, rare_share):
        def compare(*arguments):
            runs = plain(*arguments)
            runs["width"] |= {"top_share": top_share, "rare_share": rare_share * runs["quantile"]["rare_share"]}
            return runs

        return compare

    monkeypatch.setattr(claims.MinorityGuidance, "sample", lambda model, n: claims.digits_study(0).X[-100:])
    for top_share, rare_share, holds in ((0.01, 0.5, True), (0.01, 2.0, False), (0.1, 0.5, False)):
        monkeypatch.setattr(claims, "compare_classes", measured(top_share, rare_share))
        assert claims.quantile_classes_beat_equal_width_classes("cpu").holds == holds


def test_baselines_are_compared_at_their_cost_and_with_the_rarest_held_out_images(few_seeds, monkeypatch):
    monkeypatch.setattr(claims, "AWAY", (0.1,))
    monkeypatch.setattr(claims, "TEMPERATURES", (1.2,))
    plain = claims.train_discriminator
    monkeypatch.setattr(claims, "train_discriminator", lambda *arguments: plain(*arguments, n_steps=20))
    tail = claims.digits_study(0).held_out[:30]
    monkeypatch.setattr(claims, "study", lambda scale, seed: replace(claims.digits_study(seed), tail=tail))
    found = claims.guidance_is_cheaper_than_its_baselines("cpu")
    cost = {row["method"]: row["evaluations"] for row in found.table}
    assert cost["no guidance"] == 20 and cost[claims.GUIDED] == 40
    # The push away from the mean is no network, the discriminator is one.
    assert cost["away from the mean, 0.1"] == 40
    assert cost["best tenth of ten times as many"] == 10 * (20 + 10)
    assert found.figure == pytest.approx(1000 * found.table[1]["rare_share"] / 40)
    assert all(0 <= row[name] <= 1 for row in found.table for name in ("tail_precision", "tail_recall"))


@pytest.mark.parametrize(
    ("known_share", "rival", "holds"), [(0.95, 0.1, True), (0.95, 0.3, False), (0.5, 0.1, False), (0.5, 0.3, False)]
)
def test_guidance_must_be_above_a_rival_in_the_classes_of_the_data(few_seeds, monkeypatch, known_share, rival, holds):
    same = dict.fromkeys(claims.Judged.__dataclass_fields__, 1.0) | {"known_share": known_share}

    def compare(*arguments):
        shares = {claims.GUIDED: (0.4, 40.0), "no guidance": (rival, 20.0)}
        judged = {name: (claims.Judged(**same | {"rare_share": share}), cost) for name, (share, cost) in shares.items()}
        return {name: claims.Compared(*pair, tail=None) for name, pair in judged.items()}

    monkeypatch.setattr(claims, "compare_baselines", compare)
    found = claims.guidance_is_cheaper_than_its_baselines("cpu")
    assert found.holds is holds and not any("tail_recall" in row for row in found.table)
    assert (found.baseline is None) == ("none keeps" in found.baseline_name) == (known_share < 0.9)


def test_study_of_mnist_holds_images_out_and_keeps_the_rarest_of_them(monkeypatch):
    """With pixels for features and random images, whose labels are their place modulo ten."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (3000, 28, 28)).astype(np.uint8), (np.arange(3000) % 10).astype(np.uint8)

    class Judge(torch.nn.Linear):
        def features(self, images):
            return images.flatten(1)

    monkeypatch.setattr(claims, "mnist", lambda: (images, labels))
    monkeypatch.setattr(claims, "train_classifier", lambda *arguments, **options: Judge(1, 1))
    case = claims.mnist_study(0)
    assert len(case.X) == 0.75 * (4 * 300 + 128) and case.rare.sum() == 96 and len(case.held_out) == 300 - 96
    assert len(case.tail) == round(0.1 * 0.25 * (4 * 300 + 128))
    seen = {image.tobytes() for image in case.X}
    assert not any(image.tobytes() in seen for image in (*case.tail, *case.held_out))


def test_rarest_images_are_those_with_the_largest_distances():
    images = np.arange(20.0)
    np.testing.assert_array_equal(claims.rarest(images, images % 10), [9.0, 19.0])


@pytest.mark.parametrize(
    "measure",
    [
        claims.score_ranks_rarity_at_the_right_noise,
        claims.guidance_moves_samples_to_low_density,
        claims.guidance_makes_more_minority_instances,
        claims.quantile_classes_beat_equal_width_classes,
        claims.guidance_is_cheaper_than_its_baselines,
    ],
)
def test_scale_that_cannot_be_had_says_why(measure):
    with pytest.raises(ScaleUnavailable, match="not redistributed"):
        measure("paper")
