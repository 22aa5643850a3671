"""The broker's real driver: one process per node, one event loop; sockets, files and the clock around `broker.core`.

Bytes come in (`connection`), become frames (`framing`), then messages of the core (`door`); `node` feeds them to
`Broker.step` and performs every `Ready` in its order: writes and syncs (`disk`), then replies and requests to peers
(`peers`). Nothing here decides anything about Kafka: what a request means is the core's.
"""
