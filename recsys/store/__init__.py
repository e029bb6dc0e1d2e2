"""Lists in Redis: keys, encoding, publishing, reading, and the embedded server."""
