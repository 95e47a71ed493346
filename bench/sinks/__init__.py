"""Benchmarks of the sinks; `tables` is what runs."""
