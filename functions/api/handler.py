"""Lambda entry of the HTTP API: Mangum around the application of `heatlens_web`.

The model is loaded at import, in Lambda's init phase.
"""

from heatlens_aws.lambda_init import is_lambda, start
from heatlens_web.app import create_app
from heatlens_web.lambda_handler import create_handler
from heatlens_web.settings import read_server_settings

app = start(lambda: create_app(read_server_settings(), deployment="lambda"))
handler = create_handler(app)
if is_lambda():
    from functions.api.telemetry import observed  # fifty modules, which only Lambda needs

    handler = observed(app, handler)
