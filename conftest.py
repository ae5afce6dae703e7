"""Loaded by pytest for notebooks and tests alike: marked numbers are compared within a
tolerance."""

pytest_plugins = ["nbval_tolerance"]
