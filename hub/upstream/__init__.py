"""The boundary to the endpoint: bytes come in, typed events go out, foreign exceptions stay outside."""
