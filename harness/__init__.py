"""The harness: closed-loop synthetic data, proved on real held-out data."""
