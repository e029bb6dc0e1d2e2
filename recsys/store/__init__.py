"""Lists in Redis: keys, encoding, publishing, reading, and the server that comes along."""
