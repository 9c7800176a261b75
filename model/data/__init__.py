"""Datasets: reading, checking, splitting and caching them."""
