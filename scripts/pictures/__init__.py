"""Pictures of MLflow's pages and of our own, for the README: `scripts/screenshots`."""
