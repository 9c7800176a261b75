"""Writing the study database."""
