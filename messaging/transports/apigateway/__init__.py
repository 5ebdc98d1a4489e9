"""The API Gateway transport: a gateway holds the WebSockets, and functions serve their events."""
