# Makes the bucket, unless it is there, and puts every file below a directory into it under its relative path.
# Arguments: bucket, directory. ENDPOINT comes in the environment.
import os
import sys

import boto3

bucket, root = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], region_name="us-east-1")
if bucket not in [b["Name"] for b in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=bucket)
for folder, _, names in os.walk(root):
    for name in names:
        path = os.path.join(folder, name)
        s3.upload_file(path, bucket, os.path.relpath(path, root))
