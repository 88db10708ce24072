r"""Koopman spectra with certificates: which eigenvalues of a dynamical system to believe, from its snapshots.

For anyone who runs (extended) dynamic mode decomposition on measurements of a flow, a climate or a heart, and asks which
of the eigenvalues that come out are the system's and which the method's own. A system :math:`x \mapsto F(x)` acts on
observables by the linear Koopman operator :math:`Kg = g \circ F`; everything here returns approximations to its spectrum
with the residual :math:`\|(K - \lambda)g\| / \|g\|` of the function that testifies to each.

Colbrook, Mezić and Stepanenko, *Limits and Powers of Koopman Learning* (2024), arXiv:2407.06312.

===================================  =============================================================================
what one asks                        where the answer is
===================================  =============================================================================
which eigenvalues are real?          ``ResidualDMD(...).fit(X, Y).spectrum_.within(0.05)``
where is the spectrum, with a bound  ``certified_spectrum("grid" | "circle" | "eigenvalues")``, `Spectrum.certificate`
where can it not be (far from)       ``pseudospectrum()``: :math:`\tau_N` over a grid
few snapshots, many coordinates      `KernelResidualDMD`
how is the energy spread             `isometry_measure`, `moments`, `moment_density`, `point_mass`
periodic or mixing?                  `point_spectrum_fraction` (the RAGE theorem)
forecast                             ``predict``, ``forecast``, with all eigenpairs or those of small residual
why certificates at all?             `confuse`: two systems no finite data can tell apart
a dictionary of one's own            `compress`, `CompressedOperator`
===================================  =============================================================================

Symbols, with the paper's letters: snapshots ``X``, ``Y`` (:math:`x^{(m)}, y^{(m)}`), ``weights`` :math:`w_m`, dictionary
:math:`\psi_1..\psi_N` and its values ``psi_x``, ``psi_y`` (:math:`\Psi_X, \Psi_Y`), ``compression`` :math:`A` and
``defect`` :math:`B` (:math:`G = I`, :math:`L = A^*A + B^*B`), ``residual`` :math:`\tau_N(z)`, ``neighbourhood`` :math:`c`,
``certificate`` :math:`E`. "§A6" and the like number the parts of the method: A1–A2 matrices, A3 residual function, A4
residuals of pairs, A5 pseudospectra, A6 certified algorithm, A7 kernels, A8–A9 spectral measures, A10 RAGE, A11 modes and
forecasts, A12 the adversary.

Cost: one QR factorisation of (pairs x 2 functions); then a Schur decomposition once, and a structured QR factorisation of
some :math:`3 N^3` operations a point of the complex plane, half of them for real dictionaries.
"""

from semigroup.dynamics.koopman.adversary import Confusion, confuse
from semigroup.dynamics.koopman.dictionaries import (
    Dictionary,
    Fourier,
    Legendre,
    Linear,
    RadialBasis,
    delay_embedding,
    kmeans_centres,
)
from semigroup.dynamics.koopman.estimator import KernelResidualDMD, ResidualDMD
from semigroup.dynamics.koopman.kernels import KERNELS, kernel_matrix, kernel_scale
from semigroup.dynamics.koopman.measures import (
    FILTERS,
    isometry_measure,
    moment_density,
    moments,
    point_mass,
    point_spectrum_fraction,
)
from semigroup.dynamics.koopman.spectrum import (
    CompressedOperator,
    Pseudospectrum,
    Spectrum,
    circle_candidates,
    compress,
    grid_candidates,
    knee,
    local_minimisers,
    pair_residuals,
)

__all__ = [
    "FILTERS",
    "KERNELS",
    "CompressedOperator",
    "Confusion",
    "Dictionary",
    "Fourier",
    "KernelResidualDMD",
    "Legendre",
    "Linear",
    "Pseudospectrum",
    "RadialBasis",
    "ResidualDMD",
    "Spectrum",
    "circle_candidates",
    "compress",
    "confuse",
    "delay_embedding",
    "grid_candidates",
    "isometry_measure",
    "kernel_matrix",
    "kernel_scale",
    "kmeans_centres",
    "knee",
    "local_minimisers",
    "moment_density",
    "moments",
    "pair_residuals",
    "point_mass",
    "point_spectrum_fraction",
]
