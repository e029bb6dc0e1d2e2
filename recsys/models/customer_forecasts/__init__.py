"""Forecasts of what each customer does next: when they order, what they spend, and in which categories."""
