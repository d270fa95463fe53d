"""Request and response bodies (pydantic), shared by the API, the endpoint, the batch worker and the client."""
