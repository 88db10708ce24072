"""Methods on manifolds known by points."""

from semigroup.manifolds.heat_geodesic import HeatGeodesic
from semigroup.manifolds.rvgp import VectorFieldGP

__all__ = ["HeatGeodesic", "VectorFieldGP"]
