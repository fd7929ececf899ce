"""Benchmarks: ``python3 dev.py bench [NAME…]``. One module per row of the table in README.md."""
