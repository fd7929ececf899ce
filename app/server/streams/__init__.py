"""Domain of advertised streams: registry, negotiation over NATS, sessions, holds, stream types (seed 000)."""
