"""Dynamical systems and sequences."""

from semigroup.dynamics.koopman import KernelResidualDMD, ResidualDMD

__all__ = ["KernelResidualDMD", "ResidualDMD"]
