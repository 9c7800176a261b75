"""Where trainings run: processes on this machine, or a Dask cluster."""
