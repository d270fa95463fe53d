"""The batch functions: explain objects that appear in the bucket, and finish batches."""
