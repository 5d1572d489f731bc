package bugreport

import "obdagent/agent/config"

// Clean is a cleaner's.
func Clean(cfg *config.Config, environ []string) func(string) string {
	return newCleaner(cfg, environ).clean
}
