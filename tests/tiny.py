"""The smallest meaningful run of each method: constructor arguments for ``semigroup run`` in the tests."""

TINY: dict[str, dict[str, object]] = {
    "light-sb": {},
    "powerwalk": {},
    "pde-refiner": {},
    "dadao": {},
    "koopman": {},
    "spe": {"hidden_dim": 8, "n_channels": 4, "encoding_dim": 4, "rho_layers": 1, "n_layers": 1, "n_epochs": 1},
}
