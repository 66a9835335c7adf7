"""Tests under load and after crashes, on real processes: short in `make test`, long in `make test-load`."""
