"""The Channels transport: WebSockets that this process holds."""
