"""Behaviour that is no shopper's: found online and nightly, by the same maths."""
