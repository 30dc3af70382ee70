"""Benchmarks: ratios from interleaved runs, each against a peer or a limit."""
