"""Requests from one API's form to the other's. Pure."""
