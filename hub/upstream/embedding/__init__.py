"""Embeddings: large lists in several requests, put together again in order."""
