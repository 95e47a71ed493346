"""A cache of answers: keys for requests, back ends that keep answers, and the core that puts both before a call."""
