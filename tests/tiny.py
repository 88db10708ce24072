"""The smallest meaningful run of each method: constructor arguments for ``semigroup run`` in the tests."""

TINY: dict[str, dict[str, object]] = {
    "light-sb": {},
    "powerwalk": {},
    "pde-refiner": {},
    "dadao": {},
    "koopman": {},
    "spe": {},
}
