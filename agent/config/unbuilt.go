package config

// unbuilt are the features that the file knows and this version does not have: a value that asks for one is refused, never
// ignored. Who builds a feature deletes its row.
var unbuilt = []struct {
	key     string             // where it is asked for
	asked   func(*Config) bool //
	feature string             //
	instead string             // what to do
}{
	{
		"vehicle.fuel", func(c *Config) bool { return c.Vehicle.Fuel != "" },
		"CO2 from the fuel's kind", "leave it out",
	},
	{
		"vehicle.displacement_l", func(c *Config) bool { return c.Vehicle.DisplacementL != 0 },
		"CO2 by speed-density", "leave it out",
	},
	{
		pidSection, func(c *Config) bool { return len(c.OBD.PID) > 0 },
		"PIDs of one's own", "leave it out",
	},
	{
		"buffer.overflow", func(c *Config) bool { return c.Buffer.Overflow == OverflowThin },
		"thinning the oldest records", `write "drop-oldest" or "drop-newest"`,
	},
	{
		"uplink.kind", func(c *Config) bool { return c.Uplink.Kind == KindKinesis },
		"delivery to a Kinesis data stream", `write "firehose" or "directory"`,
	},
	{
		"uplink.daily_bytes", func(c *Config) bool { return c.Uplink.DailyBytes > 0 },
		"a daily budget", "write 0",
	},
	{
		"uplink.credentials", func(c *Config) bool { return c.Uplink.Credentials != CredentialsDefault },
		"credentials from a file of their own or AWS IoT", `write "default"`,
	},
	{
		"uplink.credentials_file", func(c *Config) bool { return c.Uplink.CredentialsFile != "" },
		"credentials from a file of their own", "leave it out, and set AWS_SHARED_CREDENTIALS_FILE",
	},
	{
		"uplink.iot.endpoint", func(c *Config) bool { return c.Uplink.IoT.Endpoint != "" },
		"credentials from AWS IoT", "leave it out",
	},
	{
		"uplink.iot.role_alias", func(c *Config) bool { return c.Uplink.IoT.RoleAlias != "" },
		"credentials from AWS IoT", "leave it out",
	},
	{
		"uplink.iot.thing", func(c *Config) bool { return c.Uplink.IoT.Thing != "" },
		"credentials from AWS IoT", "leave it out",
	},
	{
		"uplink.iot.cert", func(c *Config) bool { return c.Uplink.IoT.Cert != "" },
		"credentials from AWS IoT", "leave it out",
	},
	{
		"uplink.iot.key", func(c *Config) bool { return c.Uplink.IoT.Key != "" },
		"credentials from AWS IoT", "leave it out",
	},
	{
		"status.listen", func(c *Config) bool { return c.Status.Listen != "" },
		"the page and /metrics", "leave it out",
	},
	{
		"status.page_position", func(c *Config) bool { return c.Status.PagePosition },
		"the page", "leave it out",
	},
}

func (b *builder) refuseUnbuilt() {
	for _, u := range unbuilt {
		if u.asked(b.config) {
			b.refuse(u.key, u.feature+": not built yet; "+u.instead)
		}
	}
}
