"""The fault campaign: seeded worlds in which staged batches meet every trouble, and a reader of what is left."""
