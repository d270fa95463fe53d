"""The fault campaign: seeded worlds in which staged batches meet every fault, and a reader of the outcome."""
