"""The asking: coordinator, workers, MLflow mirror, command line."""
