"""Which settings are tried: samplers, pruners, confirmation, the verdict, the test set."""
