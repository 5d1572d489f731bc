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
