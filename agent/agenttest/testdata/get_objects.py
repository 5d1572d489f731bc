# Gets every object of a bucket into a directory, under its key, and prints the keys in the order of the listing.
# Arguments: bucket, directory. ENDPOINT comes in the environment.
import os
import sys

import boto3

bucket, root = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], region_name="us-east-1")
for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
    for item in page.get("Contents", []):
        path = os.path.join(root, item["Key"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        s3.download_file(bucket, item["Key"], path)
        print(item["Key"])
