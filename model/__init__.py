"""The network: everything that trains, in NumPy alone."""
