"""The answering: a recorded study becomes figures and a PDF."""
