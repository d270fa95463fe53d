"""The SageMaker endpoint: one container, `GET /ping` and `POST /invocations`."""
