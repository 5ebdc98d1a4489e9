"""The API Gateway transport: WebSockets that a gateway holds, whose events functions serve."""
