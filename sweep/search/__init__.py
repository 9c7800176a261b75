"""Which settings are tried: samplers, pruners, confirmation."""
