"""Lambda entry of the sweeper: one sweep per scheduled event.

The account is opened at import, in Lambda's init phase; if that fails, the process ends.
"""

import time

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.batch.context import open_account
from functions.batch.logs import logger, metrics_of
from functions.batch.sweep import sweep
from heatlens_aws.events import Json
from heatlens_aws.lambda_init import start

account = start(open_account)
metrics_of("sweeper")  # the end of its cold start


@logger.inject_lambda_context(log_event=False)
def handler(event: Json, context: LambdaContext) -> dict[str, int]:
    """Sweep once; the event is not read."""
    return sweep(account, int(time.time()), lambda: context.get_remaining_time_in_millis() / 1000)
