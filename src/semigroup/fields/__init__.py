"""Fields on grids: surrogates, solvers, samplers."""
