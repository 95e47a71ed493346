"""Events to the frames of a wire format. Pure: bytes out, no I/O."""
