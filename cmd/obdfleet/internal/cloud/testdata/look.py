# What is in the account, asked with boto3: one line each. The boto3 of Debian 12 is older than FileExtension (2023), and leaves it out:
# that is taken from the answer as it came.
import boto3, json, os, sys

region, stream, bucket, role = sys.argv[1:]
kw = dict(endpoint_url=os.environ["ENDPOINT"], region_name=region)
firehose, s3, iam = (boto3.client(name, **kw) for name in ("firehose", "s3", "iam"))

answers = []
firehose.meta.events.register("response-received.firehose.DescribeDeliveryStream", lambda response_dict, **_: answers.append(json.loads(response_dict["body"])))
d = firehose.describe_delivery_stream(DeliveryStreamName=stream)["DeliveryStreamDescription"]
e = d["Destinations"][0]["ExtendedS3DestinationDescription"]
print("stream", d["DeliveryStreamARN"], d["DeliveryStreamStatus"], d["DeliveryStreamType"])
for key in ("BucketARN", "RoleARN", "Prefix", "ErrorOutputPrefix", "CompressionFormat"):
    print(key, e.get(key))
print("FileExtension", answers[0]["DeliveryStreamDescription"]["Destinations"][0]["ExtendedS3DestinationDescription"].get("FileExtension"))
print("buffering", e["BufferingHints"]["SizeInMBs"], e["BufferingHints"]["IntervalInSeconds"])
print("location", s3.get_bucket_location(Bucket=bucket)["LocationConstraint"])
print("public access blocked", all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()))
rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
print("encryption", rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"])
trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
print("trust", trust["Principal"]["Service"], *trust["Action"], trust["Condition"]["StringEquals"]["sts:ExternalId"])
for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
    for statement in iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]:
        print("policy", name, *statement["Action"], "on", *statement["Resource"])
