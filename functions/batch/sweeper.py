"""Schedule -> one sweep; the account is opened at import, in Lambda's init phase, or the process ends there."""

import time

from functions.batch.context import open_account
from functions.batch.lambda_types import Json, LambdaContext
from functions.batch.sweep import sweep
from heatlens_aws.lambda_init import start

account = start(open_account)


def handler(event: Json, context: LambdaContext) -> dict[str, int]:
    """Sweep once; the event says nothing of use."""
    return sweep(account, int(time.time()), lambda: context.get_remaining_time_in_millis() / 1000)
