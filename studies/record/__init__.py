"""The record of a study: what a sweep wrote, read back."""
