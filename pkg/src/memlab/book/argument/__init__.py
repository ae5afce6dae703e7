"""Part I: the argument."""
