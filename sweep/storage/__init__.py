"""Write the study database."""
