"""Read the record of a study."""
