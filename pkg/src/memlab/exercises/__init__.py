"""Checks for the exercises, one module a chapter. A check returns None and prints "ok", or raises AssertionError
with a message that says what to look at; it compares with a slow, obvious computation, never with a stored answer."""
