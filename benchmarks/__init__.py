"""Measured claims: `python -m benchmarks` lists them, `python -m benchmarks NAME` measures one and prints its table."""
