# Makes a bucket, a role that the Firehose service may assume and that may write to the bucket, and a Direct PUT stream that
# delivers to the bucket; prints the stream's ARN. A bucket that is there already stays.
# Arguments: bucket, role, stream. ENDPOINT comes in the environment.
import json
import os
import sys

import boto3

bucket, role, stream = sys.argv[1:]
options = {"endpoint_url": os.environ["ENDPOINT"], "region_name": "us-east-1"}
arn = f"arn:aws:s3:::{bucket}"

s3 = boto3.client("s3", **options)
if bucket not in [b["Name"] for b in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=bucket)


def policy(**statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


iam = boto3.client("iam", **options)
made = iam.create_role(
    RoleName=role,
    AssumeRolePolicyDocument=policy(Principal={"Service": "firehose.amazonaws.com"}, Action="sts:AssumeRole"),
)
iam.put_role_policy(
    RoleName=role,
    PolicyName="deliver",
    PolicyDocument=policy(
        Action=["s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:PutObject"],
        Resource=[arn, arn + "/*"],
    ),
)

firehose = boto3.client("firehose", **options)
print(
    firehose.create_delivery_stream(
        DeliveryStreamName=stream,
        DeliveryStreamType="DirectPut",
        ExtendedS3DestinationConfiguration={
            "RoleARN": made["Role"]["Arn"],
            "BucketARN": arn,
            "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 60},
            "CompressionFormat": "UNCOMPRESSED",
        },
    )["DeliveryStreamARN"]
)
