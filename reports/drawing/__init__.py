"""Plots and page layout."""
