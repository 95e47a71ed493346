"""Sinks: one transport a file. Each takes the events of one stream and carries them away."""
