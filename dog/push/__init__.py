"""The push: send every event to every viewer, over WebSockets and Server-Sent Events."""
