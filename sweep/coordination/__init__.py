"""The coordinator: it proposes trials, dispatches them to workers and records their results."""
