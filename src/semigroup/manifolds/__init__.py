"""Methods on manifolds known by points."""

from semigroup.manifolds.rvgp import VectorFieldGP

__all__ = ["VectorFieldGP"]
