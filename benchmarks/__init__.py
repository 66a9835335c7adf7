"""Benchmarks of docs/benchmarks.md (`make bench`)."""
