"""Figures and pages of runs, and of the whole board."""
