"""API Gateway, ALB or function URL event -> its answer; the model is loaded at import, in Lambda's init phase."""

from mangum import Mangum

from functions.api.app import create_app
from heatlens.settings import Settings

app = create_app(Settings(), door="lambda")
handler = Mangum(app, lifespan="off")
