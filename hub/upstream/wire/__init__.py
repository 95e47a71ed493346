"""Bytes to events: the bodies of both APIs, whatever they turn out to be. Pure."""
