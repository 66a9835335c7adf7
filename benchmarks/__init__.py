"""Benchmarks of docs/benchmarks.md (`make bench`): each figure is measured in turn with a rival."""
