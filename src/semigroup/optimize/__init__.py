"""Optimisation over networks of workers."""

from semigroup.optimize.dadao import DADAO, RatesTooLow, WorkerDied
from semigroup.optimize.history import History

__all__ = ["DADAO", "History", "RatesTooLow", "WorkerDied"]
