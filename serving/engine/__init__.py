"""Build top-N answers: load, candidates, ranking, filters, fill."""
