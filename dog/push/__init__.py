"""Push: every event to every viewer, by WebSocket or Server-Sent Events."""
