"""Part III: outside the weights."""
