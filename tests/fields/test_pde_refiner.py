"""PDE-Refiner: its noise processes, networks, metrics and steppers."""

import math
import signal

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from torch import nn

from semigroup.data.pde import advection_diffusion, kolmogorov_flow, kuramoto_sivashinsky
from semigroup.fields.pde_refiner import (
    CosineDiffusionStepper,
    Diffusion,
    DilatedCNN,
    ModernUNet,
    NoiseRefinement,
    OneStepStepper,
    PDERefiner,
    RescaledStepper,
    correlation,
    cosine_variances,
    ensemble_correlation,
    error_spectrum,
    high_correlation_time,
    refinement_variances,
    sobolev_norm,
    spectrum,
    steps_above,
)
from semigroup.jobs import Context
from semigroup.jobs import pde_refiner as job

ALL_STEPPERS = {
    "refiner": PDERefiner(width=8, n_steps=6, random_state=0),
    "refiner v": PDERefiner(formulation="v", width=8, n_steps=6, random_state=0),
    "cosine": CosineDiffusionStepper(n_levels=4, width=8, n_steps=6, random_state=0),
    "rescaled": RescaledStepper(width=8, n_steps=6, random_state=0),
    **{
        objective: OneStepStepper(objective=objective, width=8, n_steps=6, random_state=0)
        for objective in ("mse", "sobolev", "unrolled", "pushforward", "noisy")
    },
}
every_stepper = pytest.mark.parametrize("name", ALL_STEPPERS)


@pytest.fixture(scope="module")
def waves():
    """Exact trajectories of advection-diffusion."""
    return advection_diffusion(12, n_frames=10, n_points=32, viscosity=1e-3, random_state=0)


@pytest.fixture(scope="module")
def refiner(waves):
    return PDERefiner(width=8, n_steps=30, random_state=0).fit(waves.states, times=waves.times)


# --- the noise processes -----------------------------------------------------------------------------------------


def processes(n_refinements: int, variance: float) -> list[NoiseRefinement | Diffusion]:
    return [NoiseRefinement(n_refinements, variance), Diffusion(refinement_variances(n_refinements, variance))]


def oracle(process: NoiseRefinement | Diffusion, target: torch.Tensor):
    """The answer of a perfect network; the first prediction of the noise formulation is wrong on purpose."""

    def predict(candidate: torch.Tensor, k: int) -> torch.Tensor:
        std = process.noise_std(k)
        if isinstance(process, NoiseRefinement):
            return (
                target + 3.0 if k == 0 and process.n_refinements else target if k == 0 else (candidate - target) / std
            )
        noise = (candidate - process.signal(k) * target) / std
        return process.signal(k) * noise - std * target

    return predict


@settings(max_examples=30, deadline=None)
@given(n_refinements=st.integers(0, 8), log_variance=st.floats(-7, -0.5), seed=st.integers(0, 2**31))
def test_with_a_perfect_network_the_sample_is_the_target(n_refinements, log_variance, seed):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(3, 2, 8, dtype=torch.float64, generator=generator)
    for process in processes(n_refinements, 10**log_variance):
        result = process.sample(oracle(process, target), target, generator)
        torch.testing.assert_close(result, target, rtol=0, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(n_levels=st.integers(2, 60), seed=st.integers(0, 2**31))
def test_standard_diffusion_with_a_perfect_network_samples_the_target(n_levels, seed):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(2, 1, 8, dtype=torch.float64, generator=generator)
    process = Diffusion(cosine_variances(n_levels))
    torch.testing.assert_close(process.sample(oracle(process, target), target, generator), target, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "process", [*processes(3, 4e-7), Diffusion(cosine_variances(20))], ids=["noise", "v", "cosine"]
)
def test_training_asks_for_what_the_sampler_uses(process):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(process.n_levels, 2, 16, dtype=torch.float64, generator=generator)
    noise = torch.randn(target.shape, dtype=torch.float64, generator=generator)
    index = torch.arange(process.n_levels)
    candidate, answer = process.training_pair(target, index, noise)
    for k in range(process.n_levels):
        if isinstance(process, NoiseRefinement) and k == 0:
            assert torch.equal(candidate[k], torch.zeros_like(target[k])) and torch.equal(answer[k], target[k])
        else:
            torch.testing.assert_close(oracle(process, target[k])(candidate[k], k), answer[k], rtol=1e-6, atol=1e-8)


def test_noise_levels_are_those_of_the_paper_and_of_its_code():
    paper, code = processes(3, 4e-7)
    assert [paper.noise_std(k) for k in (1, 2, 3)] == pytest.approx([8.58e-2, 7.37e-3, 6.32e-4], rel=1e-3)
    assert [code.noise_std(i) for i in range(4)] == pytest.approx([6.32e-4, 7.40e-3, 8.62e-2, 1.0], rel=2e-3)
    assert [code.posterior(i)[2] ** 2 for i in (3, 2, 1)] == pytest.approx([7.42e-3, 5.43e-5, 3.97e-7], rel=2e-3)


@settings(max_examples=30, deadline=None)
@given(n_refinements=st.integers(1, 6), log_variance=st.floats(-6, -1), data=st.data())
def test_a_step_of_the_sampler_is_bayes_rule(n_refinements, log_variance, data):
    process = Diffusion(refinement_variances(n_refinements, 10**log_variance))
    i = data.draw(st.integers(1, n_refinements))
    beta = process.variances[i]
    below = process.noise_std(i - 1) ** 2
    to_estimate, to_candidate, std = process.posterior(i)
    # Prior of x_(i-1) given y, times the likelihood of x_i given x_(i-1): precisions add up.
    precision = 1 / below + (1 - beta) / beta
    assert std**2 == pytest.approx(1 / precision, rel=1e-6)
    assert to_estimate == pytest.approx(process.signal(i - 1) / below / precision, rel=1e-6)
    assert to_candidate == pytest.approx(math.sqrt(1 - beta) / beta / precision, rel=1e-6)


def test_diffusion_with_the_best_linear_network_samples_gaussian_data_with_their_variance():
    variance, n = 0.3, 40_000
    process = Diffusion(cosine_variances(200))

    def predict(candidate: torch.Tensor, i: int) -> torch.Tensor:
        signal, std = process.signal(i), process.noise_std(i)
        estimate = signal * variance / (signal**2 * variance + std**2) * candidate
        return (signal * candidate - estimate) / std

    like = torch.empty(n, 1, 1, dtype=torch.float64)
    sample = process.sample(predict, like, torch.Generator().manual_seed(0))
    # The standard error of a variance is sqrt(2 / n) of it; the discretisation adds about a percent.
    assert sample.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / n) + 0.02)


def test_the_cosine_schedule_multiplies_to_its_curve():
    betas = np.array(cosine_variances(50))
    fraction = np.arange(1, 50) / 50
    curve = np.cos((fraction + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(np.cumprod(1 - betas[:-1]), curve, rtol=1e-10)


def test_the_least_noise_level_survives_single_precision():
    process = Diffusion(refinement_variances(3, 1e-9))
    assert process.noise_std(0) ** 2 == pytest.approx(1e-9, rel=1e-9)
    # 1 - alpha in float32, as the reference code has it, is 0 here.
    assert 1 - np.float32(1 - 1e-9) == 0


@pytest.mark.parametrize("process", processes(3, 1e-4), ids=["noise", "v"])
def test_stopping_early_leaves_out_the_last_passes(process):
    calls: list[int] = []

    def predict(candidate: torch.Tensor, k: int) -> torch.Tensor:
        calls.append(k)
        return torch.zeros_like(candidate)

    for n in range(4):
        calls.clear()
        process.sample(predict, torch.zeros(1, 1, 8), None, n)
        assert calls == ([0, 1, 2, 3] if isinstance(process, NoiseRefinement) else [3, 2, 1, 0])[: n + 1]


# --- metrics -----------------------------------------------------------------------------------------------------

fields = st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).normal(size=(2, 2, 3, 2, 8)))


@settings(max_examples=25, deadline=None)
@given(pair=fields, slope=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_correlation_is_that_of_numpy_and_does_not_see_scale_or_shift(pair, slope, shift):
    a, b = pair
    expected = [
        [np.mean([np.corrcoef(a[i, t, c], b[i, t, c])[0, 1] for c in range(2)]) for t in range(3)] for i in range(2)
    ]
    np.testing.assert_allclose(correlation(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(correlation(slope * a + shift, b), expected, atol=1e-6)


def test_correlation_of_constant_or_exploded_fields_is_zero():
    wave = np.sin(np.arange(8.0)).reshape(1, 1, 1, 8)
    for bad in (np.ones_like(wave), np.full_like(wave, np.nan), np.full_like(wave, np.inf), 1e200 * wave):
        assert correlation(bad, wave) == 0


@settings(max_examples=50, deadline=None)
@given(curve=st.lists(st.floats(-1, 1), min_size=1, max_size=30), threshold=st.floats(0.05, 0.95))
def test_high_correlation_time_is_the_first_crossing_and_never_more_than_the_time_above(curve, threshold):
    expected = next((i for i, value in enumerate(curve) if value < threshold), len(curve))
    time = high_correlation_time(curve, threshold, 0.5)
    assert time == 0.5 * expected
    at_threshold = sum(value == threshold for value in curve)
    assert time <= steps_above(curve, threshold, 0.5) + 0.5 * at_threshold


@settings(max_examples=20, deadline=None)
@given(pair=fields)
def test_the_spectrum_adds_up_to_the_mean_square(pair):
    power = spectrum(pair, 1)
    assert power[0] + 2 * power[1:-1].sum() + power[-1] == pytest.approx((pair**2).mean())


def test_the_ring_spectrum_of_a_plane_wave_is_at_its_wavenumber():
    axis = 2 * np.pi * np.arange(16) / 16
    power = spectrum(np.cos(3 * axis[:, None] + 4 * axis[None]), 2)
    assert power[5] == pytest.approx(0.5) and power.sum() == pytest.approx(0.5)


def test_error_spectrum_names_the_wrong_mode():
    x = 2 * np.pi * np.arange(32) / 32
    truth = np.cos(3 * x) + 0.5 * np.cos(7 * x)
    relative = error_spectrum(truth + 0.05 * np.sin(7 * x), truth, 1)
    assert relative[7] == pytest.approx(0.1) and relative[3] < 1e-12 and np.isnan(relative[5])


def test_members_that_differ_by_scale_alone_agree():
    wave = np.sin(np.arange(8.0)).reshape(1, 1, 1, 8)
    np.testing.assert_allclose(ensemble_correlation([wave, 2 * wave, 3 * wave]), 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: high_correlation_time([1.0], 1.0), "threshold must be > 0 and < 1"),
        (lambda: high_correlation_time([1.0], 0.0), "threshold must be > 0 and < 1"),
        (lambda: high_correlation_time([1.0], 0.5, 0.0), "time_step must be > 0"),
        (lambda: high_correlation_time([np.nan], 0.5), "correlations holds NaN"),
        (
            lambda: correlation(np.zeros((1, 1, 1, 8)), np.zeros((1, 1, 1, 9))),
            "prediction must have the shape of truth",
        ),
        (lambda: correlation(np.zeros(8), np.zeros(8)), "prediction must have axes"),
        (lambda: ensemble_correlation([np.zeros((1, 1, 1, 8))]), "at least 2 members"),
    ],
)
def test_bad_input_of_a_metric_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- networks ----------------------------------------------------------------------------------------------------


def awake(network: nn.Module) -> nn.Module:
    """The network with its zero layers filled, in float64."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2, generator=generator)
    return network.double()


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize(
    ("build", "shift"),
    [
        (lambda n_dims: DilatedCNN(2, 1, n_dims=n_dims, width=8), 3),
        (lambda n_dims: ModernUNet(2, 1, n_dims=n_dims, width=8), 8),
        (lambda n_dims: ModernUNet(2, 1, n_dims=n_dims, width=8, film=False, attention=True), 8),
    ],
)
def test_networks_have_no_seam_at_the_boundary(build, shift, n_dims):
    network = awake(build(n_dims))
    x = torch.randn(2, 2, *(16,) * n_dims, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    index, nothing = torch.tensor([0.0, 500.0], dtype=torch.float64), torch.zeros(2, 0, dtype=torch.float64)
    axes = tuple(range(2, 2 + n_dims))
    plain = network(x, index, nothing)
    shifted = network(x.roll((shift,) * n_dims, axes), index, nothing)
    assert plain.std() > 0.01
    torch.testing.assert_close(plain.roll((shift,) * n_dims, axes), shifted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backbone", [DilatedCNN, ModernUNet])
def test_networks_see_the_index_and_each_parameter(backbone):
    network = awake(backbone(1, 1, n_dims=1, width=8, n_parameters=2))
    x = torch.randn(1, 1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    settings_ = [(0.0, 1.0, 1.0), (333.0, 1.0, 1.0), (0.0, 2.0, 1.0), (0.0, 1.0, 2.0)]
    outputs = [
        network(x, torch.tensor([k], dtype=torch.float64), torch.tensor([[a, b]], dtype=torch.float64))
        for k, a, b in settings_
    ]
    for i in range(4):
        for j in range(i):
            assert (outputs[i] - outputs[j]).abs().max() > 1e-4


def test_widths_of_the_unet_multiply_from_level_to_level():
    network = ModernUNet(2, 1, n_dims=1, width=16)
    widths = sorted({module.weight.shape[0] for module in network.down.modules() if isinstance(module, nn.Conv1d)})
    assert widths == [16, 32, 64, 256]


def test_an_untrained_one_step_stepper_predicts_no_change(waves):
    model = OneStepStepper(width=8, n_steps=1, learning_rate=1e-12, random_state=0).fit(waves.states)
    np.testing.assert_allclose(model.predict(waves.states[:, 0]), waves.states[:, 0], atol=1e-6)


# --- objectives --------------------------------------------------------------------------------------------------


def loss_of(objective: str, waves, **options) -> float:
    """The loss of a fixed, untrained network on fixed windows."""
    model = OneStepStepper(objective=objective, width=8, n_steps=1, learning_rate=1e-12, random_state=0, **options)
    model.fit(waves.states)
    network = model.network_
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    n_window = 1 + model._n_future
    window = model._normalise(torch.as_tensor(waves.states[:, :n_window], dtype=torch.float32))
    return model._loss(network, window, torch.zeros(len(window), 0), generator).item()


def test_unrolling_one_step_is_the_plain_objective(waves):
    plain = loss_of("mse", waves)
    assert loss_of("unrolled", waves, n_unroll=1) == pytest.approx(plain)
    assert loss_of("pushforward", waves, n_unroll=1) == pytest.approx(plain)
    assert loss_of("noisy", waves, input_noise=0.0) == pytest.approx(plain)


def test_pushforward_is_the_last_term_of_unrolling(waves):
    first, both = loss_of("mse", waves), loss_of("unrolled", waves, n_unroll=2)
    assert loss_of("pushforward", waves, n_unroll=2) == pytest.approx(2 * both - first, rel=1e-4)


def test_pushforward_sends_no_gradient_through_the_steps_before_the_last(waves):
    model = OneStepStepper(objective="pushforward", n_unroll=2, width=8, n_steps=1, random_state=0).fit(waves.states)
    window = model._normalise(torch.as_tensor(waves.states[:, :3], dtype=torch.float32)).requires_grad_()
    model._loss(model.network_, window, torch.zeros(12, 0), torch.Generator()).backward()
    assert not window.grad[:, 0].any() and window.grad[:, 2].any()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_sobolev_norm_weighs_modes_by_one_plus_their_number_squared(seed):
    error = np.random.default_rng(seed).normal(size=(2, 1, 8, 6))
    k = np.add.outer(np.fft.fftfreq(8, 1 / 8) ** 2, np.fft.fftfreq(6, 1 / 6) ** 2)
    power = abs(np.fft.fft2(error) / 48) ** 2
    expected = ((1 + k) * power).sum((-2, -1)).mean() / (1 + k).mean()
    assert sobolev_norm(torch.as_tensor(error), 2).item() == pytest.approx(expected)


# --- the steppers ------------------------------------------------------------------------------------------------


@every_stepper
def test_every_stepper_predicts_rolls_out_and_comes_back_from_disk_the_same(name, waves, tmp_path):
    model = ALL_STEPPERS[name].fit(waves.states, times=waves.times)
    state = waves.states[:2, 0]
    rollout = model.rollout(state, 3)
    assert rollout.shape == (2, 3, 1, 32) and np.isfinite(rollout).all()
    assert len(model.losses_) == 6 and model.time_step_ == pytest.approx(0.02)
    loaded = type(model).from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert np.array_equal(loaded.rollout(state, 3), rollout)
    assert loaded.get_params() == model.get_params()


@every_stepper
def test_the_same_seed_gives_the_same_rollout(name, waves):
    rollouts = [ALL_STEPPERS[name].fit(waves.states).rollout(waves.states[:2, 0], 2) for _ in range(2)]
    assert np.array_equal(*rollouts)


def test_a_rollout_is_repeated_prediction_for_a_stepper_without_noise(waves):
    model = OneStepStepper(width=8, n_steps=20, random_state=0).fit(waves.states)
    state = waves.states[:2, 0]
    rollout = model.rollout(state, 3)
    for step in range(3):
        state = model.predict(state)
        assert np.array_equal(state, rollout[:, step])


def test_units_of_the_field_do_not_matter(waves):
    states = waves.states[:2, 0]
    one = PDERefiner(width=8, n_steps=20, random_state=0).fit(waves.states).rollout(states, 3)
    other = PDERefiner(width=8, n_steps=20, random_state=0).fit(1000 * waves.states + 50).rollout(1000 * states + 50, 3)
    np.testing.assert_allclose((other - 50) / 1000, one, atol=2e-4)


def test_history_two_dimensions_and_channels(waves):
    flow = kolmogorov_flow(3, n_frames=5, n_points=16, burn_in=0.1, random_state=0)
    states = np.concatenate([flow.states, flow.states**2], axis=2)
    model = PDERefiner(backbone="unet", history=2, width=8, n_steps=2, random_state=0).fit(states)
    assert model.rollout(states[:, :2], 2).shape == (3, 2, 2, 16, 16)
    with pytest.raises(ValueError, match=r"states must have shape \(n, 2, n_channels"):
        model.rollout(states[:, 0], 2)


@pytest.mark.parametrize("formulation", ["noise", "v"])
def test_without_refinements_it_is_a_single_prediction(waves, formulation):
    model = PDERefiner(n_refinements=0, formulation=formulation, width=8, n_steps=3, random_state=0).fit(waves.states)
    assert model.predict(waves.states[:, 0]).shape == (12, 1, 32)


def test_predicting_the_frame_itself_learns_too(waves):
    model = OneStepStepper(
        predict_difference=False, width=8, n_steps=150, learning_rate=1e-2, ema_decay=0.9, random_state=0
    ).fit(waves.states)
    now, following = waves.states[:, 3], waves.states[:, 4]
    assert ((model.predict(now) - following) ** 2).mean() < 0.3 * ((now - following) ** 2).mean()


def test_torch_in_gives_torch_out_and_xarray_in_gives_xarray_out(waves, refiner):
    state = waves.states[:2, 0]
    plain = refiner.rollout(state, 2)
    tensor = refiner.rollout(torch.as_tensor(state), 2)
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64
    np.testing.assert_allclose(tensor.numpy(), plain, atol=1e-6)
    labelled = xr.DataArray(state, dims=("run", "field", "x"), coords={"x": np.arange(32) / 32})
    rollout = refiner.rollout(labelled, 2)
    assert rollout.dims == ("run", "step", "field", "x") and np.array_equal(rollout.to_numpy(), plain)
    np.testing.assert_array_equal(rollout.x, labelled.x)
    assert refiner.predict(labelled).dims == ("run", "field", "x")


def test_times_are_read_from_a_labelled_array(waves):
    labelled = xr.DataArray(waves.states, dims=("run", "time", "field", "x"), coords={"time": waves.times})
    model = OneStepStepper(width=8, n_steps=1, random_state=0).fit(labelled)
    assert model.time_step_ == pytest.approx(0.02)


def test_ensemble_members_differ_and_their_agreement_gives_the_loss_time(waves, refiner):
    state = waves.states[:3, 0]
    members = refiner.ensemble(state, 4, n_members=3)
    assert members.shape == (3, 3, 4, 1, 32)
    assert not np.array_equal(members[0], members[1])
    found = refiner.estimate_loss_time(state, 4, n_members=3)
    np.testing.assert_allclose(found.correlations, ensemble_correlation(members))
    np.testing.assert_allclose(found.times, high_correlation_time(found.correlations, 0.8, refiner.time_step_))
    assert found.saturated.tolist() == (found.correlations >= 0.8).all(-1).tolist()


def test_a_model_that_knows_the_parameter_beats_one_that_does_not():
    data = advection_diffusion(
        200, n_frames=2, n_points=32, time_step=0.05, velocity=np.linspace(-1, 1, 200), random_state=0
    )
    train, test = slice(0, None, 2), slice(1, None, 2)
    velocities = data.parameters[:, :1]
    errors = []
    for seen, asked in ((None, None), (velocities[train], velocities[test])):
        model = OneStepStepper(width=8, n_steps=100, learning_rate=1e-2, ema_decay=0.9, random_state=0)
        model.fit(data.states[train], seen)
        errors.append(((model.predict(data.states[test, 0], asked) - data.states[test, 1]) ** 2).mean())
    assert errors[1] < 0.1 * errors[0]


def test_training_stopped_by_ctrl_c_resumes_to_the_same_model(waves, tmp_path):
    whole = PDERefiner(width=8, n_steps=30, random_state=0).fit(waves.states)

    class Stopped(PDERefiner):
        def _loss(self, network, window, parameters, generator):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 17:
                signal.raise_signal(signal.SIGINT)
            return super()._loss(network, window, parameters, generator)

    with pytest.raises(KeyboardInterrupt, match="stopped at step 17"):
        Stopped(**whole.get_params()).fit(waves.states, checkpoint_dir=tmp_path)
    resumed = PDERefiner(width=8, n_steps=30, random_state=0).fit(waves.states, checkpoint_dir=tmp_path, resume=True)
    assert resumed.losses_ == whole.losses_
    for name, value in whole.network_.state_dict().items():
        assert torch.equal(resumed.network_.state_dict()[name], value)


def test_rescaling_keeps_the_mean_and_the_range_of_deviations_of_an_unstable_stepper():
    data = kuramoto_sivashinsky(6, n_frames=6, n_points=64, length=22.0, burn_in=20, random_state=0)
    state, rollouts = data.states[:, 0], []
    for stepper in (RescaledStepper, OneStepStepper):
        model = stepper(width=8, n_steps=5, random_state=0).fit(data.states)
        for parameter in model.network_.project.parameters():
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
        rollouts.append(model.rollout(state, 5))
    rescaled, free = rollouts
    low, high = data.states.std(-1).min(), data.states.std(-1).max()
    assert ((free.std(-1) < low) | (free.std(-1) > high)).any() and abs(free.mean(-1)).max() > 0.1
    assert rescaled.std(-1).min() > low - 1e-4 and rescaled.std(-1).max() < high + 1e-4
    np.testing.assert_allclose(rescaled.mean(-1), np.broadcast_to(state.mean(-1)[:, None], (6, 5, 1)), atol=1e-5)


def test_the_refiner_resolves_the_weak_frequencies_better_than_the_mean_squared_error_does():
    states = kuramoto_sivashinsky(32, n_frames=16, random_state=0).states[..., ::2]
    train, test = states[:26], states[26:]
    now, following = test[:, :-1].reshape(-1, 1, 64), test[:, 1:].reshape(-1, 1, 64)
    options = {"width": 16, "n_steps": 250, "learning_rate": 1e-2, "ema_decay": 0.95, "random_state": 0}
    plain, refined, by_diffusion = (
        error_spectrum(stepper.set_params(**options).fit(train).predict(now), following, 1)
        for stepper in (OneStepStepper(), PDERefiner(), PDERefiner(formulation="v"))
    )
    weak = slice(28, 32)
    assert refined[weak].mean() < 0.5 * plain[weak].mean()
    # Diffusion starts from noise that the network first has to learn to ignore: it is slower.
    assert by_diffusion[weak].mean() < 0.75 * plain[weak].mean()
    no_change = error_spectrum(now, following, 1)
    assert np.all(refined[1:] < 0.5 * no_change[1:])


# --- bad input ---------------------------------------------------------------------------------------------------

GOOD = np.random.default_rng(0).normal(size=(3, 4, 1, 32))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_refinements": -1}, "n_refinements must be >= 0"),
        ({"n_refinements": 1.5}, "n_refinements must be an integer"),
        ({"min_noise_variance": 0.0}, "min_noise_variance must be > 0 and < 1"),
        ({"min_noise_variance": 1.0}, "min_noise_variance must be > 0 and < 1"),
        ({"formulation": "x"}, "formulation must be one of"),
        ({"history": 0}, "history must be >= 1"),
        ({"predict_difference": 1}, "predict_difference must be True or False"),
        ({"difference_weight": 0.0}, "difference_weight must be > 0"),
        ({"difference_weight": -0.3}, "difference_weight must be > 0"),
        ({"backbone": "fno"}, "backbone must be one of"),
        ({"backbone": "unet", "width": 12}, "width must be divisible by 8"),
        ({"width": 9}, "width must be even"),
        ({"n_steps": 0}, "n_steps must be >= 1"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"ema_decay": 1.0}, "ema_decay must be >= 0 and < 1"),
        ({"device": "gpu"}, "device must be one of"),
    ],
)
def test_a_bad_hyper_parameter_is_refused_by_name(parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        PDERefiner().set_params(**parameters).fit(GOOD)


@pytest.mark.parametrize(
    ("stepper", "message"),
    [
        (OneStepStepper().set_params(objective="l1"), "objective must be one of"),
        (OneStepStepper(n_unroll=0), "n_unroll must be >= 1"),
        (OneStepStepper(objective="unrolled", n_unroll=4), "at least 5 frames"),
        (OneStepStepper(input_noise=-1.0), "input_noise must be >= 0"),
        (CosineDiffusionStepper(n_levels=1), "n_levels must be >= 2"),
    ],
)
def test_a_bad_hyper_parameter_of_a_baseline_is_refused_by_name(stepper, message):
    with pytest.raises(ValueError, match=message):
        stepper.fit(GOOD)


def with_entry(value: float) -> np.ndarray:
    bad = GOOD.copy()
    bad[1, 2, 0, 3] = value
    return bad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GOOD[:, :1],), "trajectories must have at least 2 frames"),
        ((GOOD[0],), "trajectories must have 4 or 5 axes"),
        ((np.empty((0, 4, 1, 32)),), "trajectories"),
        ((with_entry(np.nan),), "trajectories holds NaN"),
        ((with_entry(np.inf),), "trajectories holds NaN or infinity"),
        ((GOOD + 1j,), "trajectories must hold real numbers"),
        ((np.full((3, 4, 1, 32), "a"),), "trajectories must hold real numbers"),
        ((np.ones((3, 4, 1, 32)),), "trajectories must vary"),
        ((GOOD[..., :10],), "at least 16 points"),
        ((GOOD, np.ones((2, 1))), "parameters must have 3 rows"),
        ((GOOD, np.ones(3)), "parameters must have 2 axes"),
        ((GOOD, np.full((3, 1), np.nan)), "parameters holds NaN"),
    ],
)
def test_bad_trajectories_are_refused_by_name(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        PDERefiner(width=8, n_steps=1).fit(*arguments)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0, 1, 2], r"times must have shape \(4,\) or \(3, 4\)"),
        ([0, 1, 2, 4], "times must be equally spaced"),
        ([3, 2, 1, 0], "times must increase"),
        (np.outer([1, 2, 3], np.arange(4)), "time step as a column of parameters"),
    ],
)
def test_bad_times_are_refused_by_name(times, message):
    with pytest.raises(ValueError, match=message):
        PDERefiner(width=8, n_steps=1).fit(GOOD, times=times)


def test_swapped_axes_are_noticed_where_times_are_given():
    with pytest.raises(ValueError, match="axes \\(n_trajectories, n_frames"):
        PDERefiner(width=8, n_steps=1).fit(GOOD.swapaxes(0, 1), times=np.arange(4.0))


def test_unequal_time_steps_are_fine_among_the_parameters():
    steps = np.array([1.0, 2.0, 3.0])
    model = PDERefiner(width=8, n_steps=1, random_state=0)
    model.fit(GOOD, steps[:, None], times=np.outer(steps, np.arange(4)))
    assert model.time_step_ == pytest.approx(2.0)


def test_a_grid_that_the_unet_cannot_halve_is_refused():
    with pytest.raises(ValueError, match="divisible by 8"):
        PDERefiner(backbone="unet", width=8, n_steps=1).fit(GOOD[..., :28])


def test_parameters_used_in_training_are_needed_afterwards():
    model = PDERefiner(width=8, n_steps=1, random_state=0).fit(GOOD, [[1.0], [2.0], [3.0]])
    assert model.rollout(GOOD[:1, 0], 2, [[1.5]]).shape == (1, 2, 1, 32)
    with pytest.raises(ValueError, match="parameters are needed"):
        model.rollout(GOOD[:1, 0], 2)
    with pytest.raises(ValueError, match="parameters must have 1 columns"):
        model.predict(GOOD[:1, 0], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="range seen in training"):
        model.predict(GOOD[:1, 0], [[9.0]])


def test_bad_arguments_of_a_fitted_stepper_are_refused_by_name(refiner):
    state = GOOD[:, 0]
    with pytest.raises(ValueError, match="n_steps must be >= 1"):
        refiner.rollout(state, 0)
    with pytest.raises(ValueError, match="n_members must be >= 2"):
        refiner.estimate_loss_time(state, 3, n_members=1)
    with pytest.raises(ValueError, match="threshold must be > 0 and < 1"):
        refiner.estimate_loss_time(state, 3, threshold=1.0)
    with pytest.raises(ValueError, match="n_refinements must be >= 0 and <= 3"):
        refiner.rollout(state, 3, n_refinements=4)
    with pytest.raises(ValueError, match="states must have 1 channels"):
        refiner.predict(np.zeros((2, 3, 32)))
    with pytest.raises(ValueError, match="states holds NaN"):
        refiner.predict(np.full((1, 1, 32), np.nan))
    with pytest.raises(ValueError, match="states must have 3 or 4 axes"):
        refiner.predict(np.zeros(32))
    with pytest.raises(ValueError, match="not fitted yet"):
        PDERefiner().predict(state)


def test_refinements_of_a_stepper_that_does_not_refine_are_refused(waves):
    model = OneStepStepper(width=8, n_steps=1, random_state=0).fit(waves.states)
    with pytest.raises(ValueError, match="n_refinements must be None"):
        model.predict(waves.states[:, 0], n_refinements=1)


@pytest.mark.parametrize("name", ["refiner", "rescaled"])
def test_a_large_mean_of_the_field_does_not_matter(name, waves):
    model = ALL_STEPPERS[name]
    expected = clone(model).fit(waves.states).rollout(waves.states[:3, 0], 2)
    found = clone(model).fit(waves.states + 1e8).rollout(waves.states[:3, 0] + 1e8, 2) - 1e8
    assert found.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_results_have_the_precision_of_the_states(waves, refiner):
    state = waves.states[:2, 0]
    assert refiner.predict(state).dtype == np.float64
    assert (
        refiner.predict(state.astype(np.float32)).dtype
        == refiner.ensemble(state.astype(np.float32), 1, 2).dtype
        == np.float32
    )
    assert refiner.predict(torch.as_tensor(state).float()).dtype == torch.float32


def test_many_states_pass_the_network_in_blocks(waves, refiner, monkeypatch):
    whole = refiner.ensemble(waves.states[:, 0], 2, 2)
    monkeypatch.setattr("semigroup.fields.pde_refiner.steppers.BLOCK_SIZE", 5 * 8 * 32)
    np.testing.assert_allclose(refiner.ensemble(waves.states[:, 0], 2, 2), whole, atol=1e-5)


def test_equal_values_do_not_vary_though_their_deviation_is_a_rounding_error():
    states = np.full((5, 20, 1, 32), 0.1)
    with pytest.raises(ValueError, match="trajectories must vary"):
        PDERefiner(n_steps=1).fit(states)


def field_data(**changes) -> job.FieldData:
    frames = np.random.default_rng(0).normal(size=(6, 4, 1, 32))
    known = {"train": frames[:4], "test": frames[4:], "times": None, "train_parameters": None, "test_parameters": None}
    return job.FieldData(**(known | changes), name="made up")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": np.ones((2, 1, 1, 32))}, "more than history = 1 frames"),
        ({"test_parameters": np.ones((2, 1))}, "the first has none"),
        ({"train_parameters": np.ones((4, 1))}, "needs parameters like the first"),
        ({"train_parameters": np.ones((4, 2)), "test_parameters": np.ones((2, 1))}, "of shape"),
        ({"train_parameters": np.arange(4.0)[:, None], "test_parameters": np.full((2, 1), 5.0)}, "range of the others"),
    ],
    ids=["short", "only the second", "only the first", "columns", "outside"],
)
def test_job_refuses_held_out_trajectories_before_it_learns(changes, message, monkeypatch):
    monkeypatch.setattr(PDERefiner, "fit", lambda *arguments, **options: pytest.fail("learnt"))
    with pytest.raises(ValueError, match=message):
        job.perform(PDERefiner(), field_data(**changes), Context())


def test_job_takes_a_single_short_trajectory(tmp_path):
    np.save(tmp_path / "one.npy", np.random.default_rng(0).normal(size=(1, 5, 1, 32)))
    data = job.read([tmp_path / "one.npy"])
    assert data.train.shape[1] == 3 and data.test.shape[1] == 2
    outcome = job.perform(PDERefiner(width=4, n_steps=1, random_state=0), data, Context())
    assert outcome.arrays["rollout"].shape == (1, 1, 1, 32)
