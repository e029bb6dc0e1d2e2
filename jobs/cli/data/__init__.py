"""Commands on data: draft settings, check, ingest, quarantine, the lake and users."""
