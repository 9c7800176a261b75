"""The tracker that is MLflow, its local store and its page."""
