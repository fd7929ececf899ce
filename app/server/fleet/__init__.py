"""The domain of the fleet: agents, the commands they get, desktop sessions, templates, drains, viewers and tunnels."""
