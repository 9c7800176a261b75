"""The loop that asks, dispatches, records and tells."""
