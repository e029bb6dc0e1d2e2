"""The HTTP application: routes, parsing, authentication, errors, metrics."""
