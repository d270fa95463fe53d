"""SQS, S3 or EventBridge event -> explained objects; the model is loaded at import, or the process ends there."""

from functions.batch.context import open_door
from functions.batch.invocation import answer
from functions.batch.lambda_types import Json, LambdaContext, SqsAnswer
from heatlens_aws.lambda_init import start

door = start(open_door)


def handler(event: Json, context: LambdaContext) -> SqsAnswer | None:
    """Explain what the event speaks of; `answer` says what is returned and raised."""
    return answer(door, event, lambda: context.get_remaining_time_in_millis() / 1000)
