"""memlab: the small package behind the book Schrödinger's Memory."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("memlab")
except PackageNotFoundError:  # running from a checkout that was not installed
    __version__ = "0+unknown"
