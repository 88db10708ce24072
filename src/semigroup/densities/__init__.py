"""Densities, samples and transport between them."""
