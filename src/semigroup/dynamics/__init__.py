"""Dynamical systems and sequences."""
