objects = s3.list_objects(Bucket="sd-vehicle-data")["Contents"]
frames = [pandas.read_csv(s3.get_object(Bucket="sd-vehicle-data", Key=o["Key"])["Body"], delimiter=" ", names=NAMES) for o in objects]
print(pandas.concat(frames).groupby(["vin"])["speed"].max())
