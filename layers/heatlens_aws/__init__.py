"""Staged batches on AWS: S3, SQS, DynamoDB and SageMaker, shared by the functions and the command line."""
