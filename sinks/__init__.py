"""Sinks for particular transports, one a module: each carries a stream's events to where its readers are."""
