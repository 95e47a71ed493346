"""Generations that wait for workers: the queue they wait in, and how a worker belongs to it."""
