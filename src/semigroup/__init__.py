"""Published methods that evolve something under an operator: one class, one command, one set of claims each.

The classes are found through the catalog (``semigroup.catalog``) or imported from the wing that holds them, for
instance ``from semigroup.densities import LightSB``. Nothing heavy is imported here.
"""

__version__ = "0.1.0"
