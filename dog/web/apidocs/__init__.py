"""The OpenAPI and AsyncAPI documents, made from the table of routes."""
