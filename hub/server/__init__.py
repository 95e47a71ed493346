"""The HTTP server: starts streams, serves them over SSE, and the page that shows them."""
