"""The wire protocol (docs/protocol.md). Pure: it never awaits, logs, or reads settings or the clock."""
