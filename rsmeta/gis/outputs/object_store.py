"""Files in an S3 store: whether they exist, and their upload."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rsmeta.errors import MissingExtraError, OutputError, one_line

if TYPE_CHECKING:
    from pathlib import Path


def exists(address: str) -> bool:
    """Return whether an object exists; also false where we may write but not read.

    Raises:
        OutputError: The store or the bucket cannot be reached.
    """
    from botocore.exceptions import ClientError

    bucket, key = _parts(address)
    with _Said(address):
        client = _client()
        try:
            client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 404:
                client.head_bucket(Bucket=bucket)
            elif status != 403:  # without the right to list, what is missing is forbidden
                raise
            return False
    return True


def upload(file: Path, address: str) -> None:
    """Upload a file, in parts and with retries; it appears whole.

    Raises:
        OutputError: The store does not take it.
    """
    bucket, key = _parts(address)
    with _Said(address, kept=file):
        _client().upload_file(str(file), bucket, key)


class _Said:
    """Says errors of the store as an ``OutputError``."""

    def __init__(self, address: str, kept: Path | None = None) -> None:
        self._address = address
        self._kept = kept

    def __enter__(self) -> None:
        try:
            import boto3  # noqa: F401
        except ModuleNotFoundError:
            raise MissingExtraError("boto3", "s3") from None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, Boto3Error | BotoCoreError | ClientError):
            kept = f"; it is kept as {self._kept}, and --resume uploads it" if self._kept else ""
            raise OutputError(
                f"cannot write {self._address} ({one_line(error)}); check bucket and credentials"
                f"{kept}"
            ) from error


def _parts(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


def _client() -> Any:
    """Return a client with the settings that GDAL reads with, where boto3's own do not say."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    env = os.environ
    options: dict[str, Any] = {"retries": {"max_attempts": 5, "mode": "standard"}}
    options |= {"connect_timeout": 15}
    given: dict[str, Any] = {"region_name": env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")}
    own = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    if "AWS_S3_ENDPOINT" in env and not own:
        secure = env.get("AWS_HTTPS", "YES").upper() not in ("NO", "FALSE", "OFF", "0")
        given["endpoint_url"] = f"http{'s' * secure}://{env['AWS_S3_ENDPOINT']}"
    if env.get("AWS_VIRTUAL_HOSTING", "YES").upper() in ("NO", "FALSE", "OFF", "0"):
        options["s3"] = {"addressing_style": "path"}
    if env.get("AWS_NO_SIGN_REQUEST", "NO").upper() in ("YES", "TRUE", "ON", "1"):
        options["signature_version"] = UNSIGNED
    return boto3.session.Session().client("s3", config=Config(**options), **given)
