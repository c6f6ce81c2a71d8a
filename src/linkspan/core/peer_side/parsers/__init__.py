"""Configurations of other devices, read into the neutral model: one module for each dialect. Pure.

A parser keeps to what its daemon does, defaults included. It reads at most `reading.MOST_BYTES` in linear time.
"""
