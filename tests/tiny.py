"""The smallest meaningful run of each method: constructor arguments for ``semigroup run`` in the tests."""

TINY: dict[str, dict[str, object]] = {
    "light-sb": {"n_components": 5, "max_steps": 100, "random_state": 0},
    "powerwalk": {"n_walks": 20, "random_state": 0},
    "pde-refiner": {"n_steps": 3, "width": 8, "n_refinements": 1, "random_state": 0},
    "dadao": {"tol": 1e-3, "t_max": 200.0, "random_state": 0},
    "koopman": {"n_centres": 30, "measure_preserving": "circle", "random_state": 0},
    "spe": {
        "hidden_dim": 8,
        "n_channels": 4,
        "encoding_dim": 4,
        "rho_layers": 1,
        "n_layers": 1,
        "n_epochs": 1,
        "random_state": 0,
    },
    "proximity": {"p": 0.5, "n_clusters": 12, "n_parameters": 3, "random_state": 0},
    "amg-clustering": {"n_clusters": 3, "max_hierarchies": 3, "n_init": 5, "random_state": 0},
    "heat-geodesic": {"n_neighbors": 8, "n_landmarks": 60, "random_state": 0},
    "rvgp": {"n_eigenpairs": 30, "random_state": 0},
    "srrw": {"n_steps": 300, "n_tokens": 3, "random_state": 0},
    "rqgnn": {"hidden_dim": 8, "n_epochs": 2, "random_state": 0},
    "gdss": {
        "hidden_dim": 8,
        "attention_dim": 8,
        "n_layers": 2,
        "node_depth": 1,
        "n_epochs": 3,
        "n_steps": 5,
        "random_state": 0,
    },
    "pfgmpp": {"network": "mlp", "hidden": [16], "n_steps": 3, "n_levels": 3, "random_state": 0},
}
