"""Fields on grids: surrogates, solvers, samplers."""

from semigroup.fields.pde_refiner import (
    CosineDiffusionStepper,
    OneStepStepper,
    PDERefiner,
    RescaledStepper,
)

__all__ = ["CosineDiffusionStepper", "OneStepStepper", "PDERefiner", "RescaledStepper"]
