"""How deep can a vision transformer usefully be? Declare a grid, train it, read the answer."""

__version__ = "0.1.0"
