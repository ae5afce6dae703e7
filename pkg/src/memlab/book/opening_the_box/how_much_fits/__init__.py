"""A package of memlab."""
