"""Read files, object stores, databases and the event stream into the lake."""
