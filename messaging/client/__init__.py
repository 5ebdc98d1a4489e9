"""The Python client of the protocol (docs/protocol.md), for everything that talks to a server.

`frames` builds and reads frames, `socket` sends and receives them, `link` notices when a connection is dead,
`reconnecting` connects again and again, and `person` does all that a page does.
"""
