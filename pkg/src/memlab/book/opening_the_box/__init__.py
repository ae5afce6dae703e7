"""Part II: opening the box."""
