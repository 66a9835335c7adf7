"""The figures of docs/benchmarks.md: `make bench`. Each is measured beside its rival, in turn."""
