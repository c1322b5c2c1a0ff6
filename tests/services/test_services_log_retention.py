"""The append-only export on media that take nothing back: `chattr +a`, and S3 Object Lock in compliance mode."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from log_builders import grow

from consent_gateway.audit import verifier
from consent_gateway.services.log.log_directories import AppendOnlyDirectory, PlainDirectory
from consent_gateway.services.log.log_exports import export
from consent_gateway.services.work.gateway import Gateway
from kms_servers import an_aws

BUCKET = "log"


def lock(place: Path) -> None:
    """Let nobody, root included, change or remove what is there, until the attribute is taken away."""
    subprocess.run(["chattr", "-R", "+a", place], check=True, capture_output=True, timeout=30)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A directory to which one can only add."""
    place = tmp_path / "log"
    place.mkdir()
    try:
        if shutil.which("chattr") is None:
            raise FileNotFoundError  # noqa: TRY301 - skipped like a refusal
        lock(place)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("CHATTR +a IS NOT POSSIBLE HERE: exports to an append-only file system are not tested")
    yield place
    subprocess.run(["chattr", "-R", "-a", place], check=True, timeout=30)


def newest(place: Path) -> tuple[int, Path]:
    return max((int(path.suffix[1:]), path) for path in place.glob("checkpoint.*"))


def checked(gateway: Gateway, place: Path) -> int:
    """Have the log verified as it lies there, against each checkpoint that it was exported with; returns its size."""
    earlier = [path.read_bytes() for path in place.glob("checkpoint.*")]
    finding = verifier.verify_directory(gateway.signer.vkey, place, earlier=earlier)
    assert finding.ok, str(finding)
    return newest(place)[0]


def test_a_file_system_that_only_adds_takes_the_append_only_export(sqlite_gateway: Gateway, locked: Path) -> None:
    sizes = []
    for more in (4, 300, 30):
        grow(sqlite_gateway, more)
        export(sqlite_gateway, AppendOnlyDirectory(locked))
        lock(locked)
        sizes.append(checked(sqlite_gateway, locked))
    assert sizes == sorted(set(sizes))
    assert len(list(locked.glob("checkpoint.*"))) == 3


def test_the_plain_export_does_not_and_says_so(sqlite_gateway: Gateway, locked: Path) -> None:
    """The planted mistake: an export that moves and replaces files, on a medium that does not let it."""
    grow(sqlite_gateway, 4)
    with pytest.raises(PermissionError):
        export(sqlite_gateway, PlainDirectory(locked))


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Any]:
    """A bucket whose objects nobody can delete or replace for a month."""
    boto3 = pytest.importorskip("boto3", reason="BOTO3 IS MISSING: exports to S3 Object Lock are not tested")
    with an_aws(tmp_path) as url:
        s3 = boto3.client("s3", endpoint_url=url)
        where = {"LocationConstraint": "eu-central-1"}
        s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True, CreateBucketConfiguration=where)
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
        s3.put_object_lock_configuration(
            Bucket=BUCKET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        yield s3


def upload(s3: Any, place: Path) -> int:
    """Put what the bucket does not have, checkpoints last; `If-None-Match: *` replaces nothing. See the document."""
    there = {found["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
             for found in page.get("Contents", ())}  # fmt: skip
    names = sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file())
    new = sorted(set(names) - there, key=lambda name: name.startswith("checkpoint"))
    for name in new:
        s3.put_object(Bucket=BUCKET, Key=name, Body=(place / name).read_bytes(), IfNoneMatch="*")
    return len(new)


def test_a_locked_bucket_takes_each_export_and_gives_nothing_back(
    sqlite_gateway: Gateway, bucket: Any, tmp_path: Path
) -> None:
    place = tmp_path / "log"
    for more in (4, 300):
        grow(sqlite_gateway, more)
        export(sqlite_gateway, AppendOnlyDirectory(place))
        assert upload(bucket, place) > 0
    assert upload(bucket, place) == 0
    versions = bucket.list_object_versions(Bucket=BUCKET)
    assert len(versions["Versions"]) == sum(p.is_file() for p in place.rglob("*"))  # nothing was ever replaced
    refused = bucket.exceptions.ClientError
    with pytest.raises(refused, match="PreconditionFailed"):
        bucket.put_object(Bucket=BUCKET, Key="tile/0/000", Body=b"", IfNoneMatch="*")
    for found in versions["Versions"]:
        with pytest.raises(refused, match="AccessDenied"):
            bucket.delete_object(Bucket=BUCKET, Key=found["Key"], VersionId=found["VersionId"])
    back = tmp_path / "back"
    for found in versions["Versions"]:
        path = back / found["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read())
    assert checked(sqlite_gateway, back) == newest(place)[0]
