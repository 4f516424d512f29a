"""A YAML file -> cells and trials; `spec.py` and `grid.py` are the doors."""
