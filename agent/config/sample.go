package config

import "obdagent/deploy"

// Sample returns the text of the sample file: every key with its default and its meaning, all commented out, so that a file
// made of it keeps following the defaults of later versions where nobody has changed it.
func Sample() []byte { return []byte(deploy.Config) }
