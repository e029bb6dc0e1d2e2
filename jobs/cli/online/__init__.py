"""Commands on what is online: the server, API keys, lists in Redis and flagged users."""
