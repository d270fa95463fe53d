"""Lambda entry of the HTTP API: Mangum around the application of `heatlens_web`."""

from heatlens_web.lambda_handler import handler as handler
