"""Graphs: encodings, rankings, clusters."""
