"""Checks for people: what an ingest would do, which rows it refused, whether sources and Redis can be used."""
