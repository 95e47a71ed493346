"""The logs of streams, and the stores that keep them."""
