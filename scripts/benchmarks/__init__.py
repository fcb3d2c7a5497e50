"""Benchmarks of the harness. `scripts/bench` runs them; each module has `add_options(parser)` and `run(options)`."""
