"""Offline experiments: benchmark, attack simulation, backtest."""
