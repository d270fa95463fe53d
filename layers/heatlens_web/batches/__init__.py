"""The HTTP API of staged batches."""
