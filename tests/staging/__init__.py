"""Tests of staging and queue against LocalStack: see `make test-staging`."""
