"""Optimisation over networks of workers."""
