# What stands before the readers' lines: a client, and the six names. ENDPOINT comes in the environment.
import os

import boto3
import pandas

pandas.set_option("display.max_rows", None)  # print every VIN
s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], region_name="us-east-1")
NAMES = ["record_id", "timestamp", "vin", "lon", "lat", "speed"]
