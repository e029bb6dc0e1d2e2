"""The lake: events, catalogue, users and records of what was ingested, in Parquet and JSON files."""
