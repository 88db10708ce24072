r"""PDE-Refiner: neural time steppers whose rollouts stay accurate for long, and say until when.

A time stepper learns :math:`u(t - \Delta t) \mapsto u(t)` from trajectories and forecasts by feeding its output back. Trained
by the mean squared error of one step it resolves the frequencies of large amplitude; its errors in the others feed back
through the equation's non-linearity. PDE-Refiner predicts a step, then K times adds a little noise, predicts that noise and
subtracts it, with ever smaller noise: each pass has to resolve all frequencies down to that amplitude. Because it draws
noise, one model gives ensembles, and the time at which their members part estimates when the forecast is lost.

It is for people who have trajectories of a field on a periodic grid (one or two dimensions) and want forecasts that are
longer, come with a date of expiry, or both.

========================  ======================================  ==============================================
symbol                    name                                    meaning
========================  ======================================  ==============================================
:math:`u`                 states                                  the field, shape (n, n_channels, *space)
:math:`y`                 target                                  what is predicted, the scaled increment
:math:`s`                 difference_weight, `target_scale_`      its scale
:math:`K`                 n_refinements                           refinements after the first prediction
:math:`\sigma_{min}^2`    min_noise_variance                      variance of the last refinement's noise
:math:`\sigma_k`          `NoiseRefinement.noise_std`             standard deviation of refinement k's noise
========================  ======================================  ==============================================

========================  ========================================================================================
module                    holds
========================  ========================================================================================
`networks`                the backbones: dilated convolutional network, U-Net
`refinement`              noise levels, training pairs and sampling loops of both formulations
`metrics`                 correlation, high-correlation time, error spectrum
`steppers`                the estimators: `PDERefiner`, and beside it what it is compared with
========================  ========================================================================================

References
----------
Lippe, Veeling, Perdikaris, Turner, Brandstetter. PDE-Refiner: Achieving Accurate Long Rollouts with Neural PDE Solvers.
NeurIPS 2023, arXiv 2308.05732.
"""

from semigroup.fields.pde_refiner.metrics import (
    correlation,
    ensemble_correlation,
    error_spectrum,
    high_correlation_time,
    spectrum,
    steps_above,
)
from semigroup.fields.pde_refiner.networks import DilatedCNN, ModernUNet
from semigroup.fields.pde_refiner.refinement import (
    Diffusion,
    NoiseRefinement,
    cosine_variances,
    refinement_variances,
)
from semigroup.fields.pde_refiner.steppers import (
    CosineDiffusionStepper,
    DiffusionStepper,
    FieldStepper,
    LossTime,
    OneStepStepper,
    PDERefiner,
    RescaledStepper,
    sobolev_norm,
)

__all__ = [
    "CosineDiffusionStepper",
    "Diffusion",
    "DiffusionStepper",
    "DilatedCNN",
    "FieldStepper",
    "LossTime",
    "ModernUNet",
    "NoiseRefinement",
    "OneStepStepper",
    "PDERefiner",
    "RescaledStepper",
    "correlation",
    "cosine_variances",
    "ensemble_correlation",
    "error_spectrum",
    "high_correlation_time",
    "refinement_variances",
    "sobolev_norm",
    "spectrum",
    "steps_above",
]
