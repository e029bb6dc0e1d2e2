"""The search of models and settings: a budget of work, a race of models, tuning, and memory between nights."""
