"""Models of the items in the next basket, from what is in the baskets before it."""
