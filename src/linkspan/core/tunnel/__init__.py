"""The life of one tunnel on its gateway: events in, actions out. Pure; time is a parameter."""
