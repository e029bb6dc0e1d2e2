"""Take in events, item changes and impressions."""
