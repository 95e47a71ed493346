"""Benchmarks, each beside its peers in the same run: `python -m bench [NAME ...] [--quick] [--json FILE]`.

What is compared is CPU time a unit, of the process under measurement alone: endpoints and readers are processes of
their own. Rounds alternate, and medians of ratios are what counts, since machines are noisy.
"""
