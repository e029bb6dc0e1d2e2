"""When users buy items again: survival curves of items, and the items that each user is due to buy."""
