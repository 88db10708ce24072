"""Schedules against the ordinary differential equations that define their moments."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from semigroup.schedules import VE, VP, DDPMSchedule, OrnsteinUhlenbeck, Preconditioning, SubVP, karras_sigmas


@pytest.mark.parametrize(
    "schedule", [VP(), VP(0.1, 1.0), SubVP(), VE(0.2, 1.0), OrnsteinUhlenbeck(5.0)], ids=lambda s: repr(s)
)
def test_scale_and_std_are_the_moments_of_the_sde(schedule):
    def moments(t, y):
        rate, diffusion = schedule.rate(t).item(), schedule.diffusion(t).item()
        return [rate * y[0], 2 * rate * y[1] + diffusion**2]

    start = [schedule.scale(0.0).item(), schedule.std(0.0).item() ** 2]
    times = np.linspace(0, schedule.horizon, 7)
    solution = solve_ivp(moments, (0, schedule.horizon), start, t_eval=times, rtol=1e-10, atol=1e-12, method="DOP853")
    t = torch.tensor(times)
    assert np.allclose(schedule.scale(t), solution.y[0], rtol=1e-8, atol=1e-10)
    assert np.allclose(schedule.std(t) ** 2, solution.y[1], rtol=1e-7, atol=1e-10)


def test_small_times_keep_their_digits_in_float32():
    t = torch.tensor([1e-6, 1e-4])
    assert torch.allclose(
        OrnsteinUhlenbeck().std(t).double(), (-torch.expm1(-2 * t.double()) / 2).sqrt(), rtol=1e-6, atol=0
    )
    assert (VP().std(t) > 0).all()


def test_a_number_keeps_the_type_of_the_batch_it_multiplies():
    x = torch.ones(3, dtype=torch.float32)
    assert (VP().scale(0.5) * x).dtype == torch.float32


@pytest.mark.parametrize("sigma", [0.01, 0.5, 10.0])
def test_preconditioning_keeps_input_and_target_at_unit_variance(sigma):
    scalings, generator = Preconditioning(sigma_data=0.5), torch.Generator().manual_seed(0)
    y = 0.5 * torch.randn(400_000, dtype=torch.float64, generator=generator)
    noise_level = torch.tensor(sigma, dtype=torch.float64)
    x = y + noise_level * torch.randn(len(y), dtype=torch.float64, generator=generator)
    target = (y - scalings.skip(noise_level) * x) / scalings.out(noise_level)
    assert (scalings.inner(noise_level) * x).var().item() == pytest.approx(1, rel=0.01)
    assert target.var().item() == pytest.approx(1, rel=0.01)
    assert (scalings.weight(noise_level) * scalings.out(noise_level) ** 2).item() == pytest.approx(1, rel=1e-12)
    # What the skip leaves over is uncorrelated with the input: skip is the best linear denoiser.
    assert abs((target * x).mean().item()) < 0.02 * x.std().item()


def test_grid_runs_through_its_ends_and_powers():
    sigmas = karras_sigmas(18, 0.002, 80.0)
    assert sigmas[[0, 17, 18]].tolist() == [80.0, 0.002, 0.0]
    steps = np.diff(sigmas[:18] ** (1 / 7))
    assert np.allclose(steps, steps[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VP(2.0, 1.0), "beta_max must be"),
        (lambda: VE(1.0, 0.5), "sigma_max must be"),
        (lambda: VE(0.0, 0.5), "sigma_min must be"),
        (lambda: OrnsteinUhlenbeck(0.0), "horizon must be"),
        (lambda: Preconditioning(0.0), "sigma_data must be"),
        (lambda: karras_sigmas(1, 0.1, 1.0), "n must be"),
        (lambda: karras_sigmas(4, 1.0, 1.0), "sigma_max must be"),
    ],
)
def test_impossible_schedules_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_steps_of_ddpm_add_up_to_their_marginal():
    """x_t from x_{t-1} by one beta at a time has the mean and variance that `scale` and `std` say."""
    schedule = DDPMSchedule.linear(50)
    mean, variance = 1.0, 0.0
    for t, beta in enumerate(schedule.betas, start=1):
        mean, variance = np.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        assert schedule.scale(t).item() == pytest.approx(mean, rel=1e-12)
        assert schedule.std(t).item() ** 2 == pytest.approx(variance, rel=1e-12)


def test_posterior_of_ddpm_is_that_of_jointly_gaussian_states():
    """Condition the joint Gaussian of (x_s, x_t) given x_0 by hand, for neighbouring and for distant steps."""
    schedule = DDPMSchedule.linear(40)
    x, x0 = torch.tensor([[0.7]], dtype=torch.float64), torch.tensor([[-0.4]], dtype=torch.float64)
    for t, s in ((5, 4), (40, 39), (30, 7), (12, 0), (1, 0)):
        a, b = schedule.scale(s).item(), schedule.scale(t).item()
        between = b / a
        var_s, var_t = schedule.std(s).item() ** 2, schedule.std(t).item() ** 2
        gain = between * var_s / var_t
        mean, variance = schedule.posterior(x, t, x0, s)
        assert mean.item() == pytest.approx(a * -0.4 + gain * (0.7 - b * -0.4), rel=1e-10)
        assert variance == pytest.approx(var_s - gain * between * var_s, rel=1e-9, abs=1e-15)


def test_ddpm_takes_a_step_for_each_row():
    # Double precision: at the last step the data are a small part of x_t, and getting them back divides by it.
    schedule, (x0, z) = DDPMSchedule.linear(30), torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    t = torch.tensor([1, 15, 30])
    rows = torch.cat([schedule.noised(x0[i : i + 1], int(step), z[i : i + 1]) for i, step in enumerate(t)])
    x = schedule.noised(x0, t, z)
    assert torch.allclose(x, rows)
    assert torch.allclose(schedule.noise_between(x, t, x0), z, rtol=1e-9, atol=1e-9)
    assert torch.allclose(schedule.denoised(x, t, z), x0, rtol=1e-9, atol=1e-9)
    assert schedule.noised(x0.float(), t, z.float()).dtype == torch.float32


def test_noise_at_a_share_of_the_way_hardly_depends_on_the_number_of_steps():
    for share in (0.2, 0.5):
        few, many = (DDPMSchedule.linear(n).scale(int(share * n)).item() for n in (100, 1000))
        assert few == pytest.approx(many, rel=0.03)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: DDPMSchedule(np.array([0.1, 1.0])), "betas"),
        (lambda: DDPMSchedule(np.array([0.0, 0.1])), "betas"),
        (lambda: DDPMSchedule.linear(20), "n_steps"),
        (lambda: DDPMSchedule.linear(30).grid(31), "n must"),
    ],
)
def test_bad_ddpm_schedules_are_refused(make, name):
    with pytest.raises(ValueError, match=name):
        make()
