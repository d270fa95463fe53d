"""Translate calls of boto3 to the actions and resources that AWS checks the caller's policies for."""

from collections.abc import Iterator

from tests.chaos.hooks import Call, Hook, Json
from tests.support.policies import Request
from tests.support.stack import ACCOUNT, REGION

QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/"
ENDPOINT = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/"
LINK = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3", "s3:signatureAge": "1000"}


class Recorder(Hook):
    """Record the required permissions; a presigned URL needs its signer's."""

    def __init__(self) -> None:
        self.asked_for: list[Request] = []

    def asked(self, call: Call) -> None:
        self.asked_for += requests(call)
        call.notes["tells missing"] = list(tells_missing(call))

    def before(self, call: Call) -> None:
        """Record the rights to list; only a real call, not a signed link, needs S3 to answer 404 instead of 403."""
        self.asked_for += call.notes["tells missing"]


def requests(call: Call) -> list[Request]:
    """Return the actions and resources of one call.

    Raises:
        KeyError: The permissions of such a call are unknown here.
    """
    params = call.params
    if call.service == "s3":
        return list(_s3(call.name, params))
    if call.service == "sqs":
        return [Request(f"sqs:{call.name}", QUEUE + params["QueueUrl"].rpartition("/")[2])]
    if call.service == "dynamodb":
        return list(_dynamodb(call.name, params))
    raise KeyError(call.service)


def tells_missing(call: Call) -> Iterator[Request]:
    """Yield the rights with which S3 answers 404 for a missing object, or the listing says so after a 403."""
    params = call.params
    read = {"GetObject": params, "HeadObject": params, "CopyObject": params.get("CopySource")}.get(call.name)
    if call.service == "s3" and read:
        for action in ("s3:ListBucket", "s3:ListBucketVersions"):
            yield Request(action, _bucket(read), LINK | {"s3:prefix": read["Key"]})


def _s3(name: str, params: Json) -> Iterator[Request]:
    if name in ("GetObject", "HeadObject"):
        yield Request(f"s3:GetObject{_version(params)}", _object(params), LINK)
    elif name == "PutObject":
        condition = {"s3:if-none-match": params["IfNoneMatch"]} if "IfNoneMatch" in params else {}
        yield Request("s3:PutObject", _object(params), LINK | condition)
    elif name == "CopyObject":
        source = params["CopySource"]
        version = f"?versionId={source['VersionId']}" if "VersionId" in source else ""
        yield Request(f"s3:GetObject{_version(source)}", _object(source), LINK)
        # Whether policies see the If-None-Match of a copy is undocumented: it must be allowed without.
        copied = {"s3:x-amz-copy-source": f"{source['Bucket']}/{source['Key']}{version}"}
        yield Request("s3:PutObject", _object(params), LINK | copied)
    elif name == "ListObjectVersions":
        yield Request("s3:ListBucketVersions", _bucket(params), LINK | {"s3:prefix": params["Prefix"]})
    elif name == "DeleteObjects":
        for each in params["Delete"]["Objects"]:
            action = "s3:DeleteObjectVersion" if "VersionId" in each else "s3:DeleteObject"
            yield Request(action, f"{_bucket(params)}/{each['Key']}", LINK)
    else:
        raise KeyError(name)


def _dynamodb(name: str, params: Json) -> Iterator[Request]:
    if name == "TransactWriteItems":
        actions = {"ConditionCheck": "ConditionCheckItem", "Put": "PutItem", "Update": "UpdateItem"}
        for item in params["TransactItems"]:
            [(kind, each)] = item.items()
            yield Request(f"dynamodb:{actions[kind]}", TABLE + each["TableName"])
    elif name in ("BatchGetItem", "BatchWriteItem"):
        for table in params["RequestItems"]:
            yield Request(f"dynamodb:{name}", TABLE + table)
    else:
        index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
        yield Request(f"dynamodb:{name}", TABLE + params["TableName"] + index)


def _bucket(params: Json) -> str:
    return f"arn:aws:s3:::{params['Bucket']}"


def _object(params: Json) -> str:
    return f"{_bucket(params)}/{params['Key']}"


def _version(params: Json) -> str:
    return "Version" if "VersionId" in params else ""
