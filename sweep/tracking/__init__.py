"""Bringing a tracking server in line with the study database."""
