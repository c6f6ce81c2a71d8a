"""Configurations of other devices, written from one neutral one: a module for each device."""
