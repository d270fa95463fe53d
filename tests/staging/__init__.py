"""Staging and queue again, against LocalStack: see `make test-staging`."""
