"""Equal calls of several processes as one: who asks is settled in a register, what comes goes through a log."""
