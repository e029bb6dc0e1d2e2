"""Features of users: activity, orders, tastes and segments."""
