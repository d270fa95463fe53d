"""The HTTP door: FastAPI, under Mangum on Lambda and under uvicorn elsewhere."""
