"""deltalake's options for a bucket: the credentials, the endpoint and the region that s3fs uses."""

import functools
from urllib.parse import urlsplit

from ser_core.storage.s3 import LONGEST_WAIT_SECONDS, credentials, filesystem, retry_seconds


def delta_options(bucket: str) -> dict[str, str]:
    """The `storage_options` that lead deltalake to a bucket, with credentials of now."""
    client = filesystem().s3
    options = {
        "aws_region": client.meta.region_name or "us-east-1",
        "aws_conditional_put": "etag",
        "max_retries": "100",
        "retry_timeout": f"{retry_seconds() * 1000:.0f}ms",
        "backoff_config.max_backoff": f"{LONGEST_WAIT_SECONDS:g}s",
        "timeout": "60s",
    }
    endpoint_url = client.meta.endpoint_url
    if _is_aws(endpoint_url):
        options["aws_region"] = _bucket_region(bucket) or options["aws_region"]
    else:
        options |= {"aws_endpoint": endpoint_url, "aws_allow_http": str(endpoint_url.startswith("http://")).lower()}
    given = credentials()
    if given is None:
        return options | {"aws_skip_signature": "true"}
    keys = {"aws_access_key_id": given.access_key, "aws_secret_access_key": given.secret_key}
    return options | keys | ({"aws_session_token": given.token} if given.token else {})


def _is_aws(endpoint_url: str) -> bool:
    return (urlsplit(endpoint_url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


@functools.cache
def _bucket_region(bucket: str) -> str | None:
    """The bucket's own region: AWS redirects s3fs there, but deltalake needs it as an option."""
    region: str | None = filesystem().call_s3("head_bucket", Bucket=bucket).get("BucketRegion")
    return region
