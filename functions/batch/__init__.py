"""The batch door: objects that appear in the bucket are explained, and batches are brought to their end."""
