"""AWS: staging, jobs and events, shared by the doors that run there."""
