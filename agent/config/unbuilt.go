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
		"buffer.overflow", func(c *Config) bool { return c.Buffer.Overflow == OverflowThin },
		"thinning the oldest records", `write "drop-oldest" or "drop-newest"`,
	},
}

func (b *builder) refuseUnbuilt() {
	for _, u := range unbuilt {
		if u.asked(b.config) {
			b.refuse(u.key, u.feature+": not built yet; "+u.instead)
		}
	}
}
