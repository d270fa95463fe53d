"""The SageMaker door: one container, `GET /ping` and `POST /invocations`."""
