"""Optimisation over networks of workers."""

from semigroup.optimize.dadao import DADAO, RatesTooLow, WorkerDied
from semigroup.optimize.history import History
from semigroup.optimize.srrw import SRRW, asymptotic_covariance

__all__ = ["DADAO", "SRRW", "History", "RatesTooLow", "WorkerDied", "asymptotic_covariance"]
