"""The HTTP application: FastAPI, under Mangum on Lambda, under uvicorn elsewhere."""
