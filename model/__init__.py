"""The network, in NumPy alone; `estimator.py` offers it to scikit-learn."""
