// Command obdagent is the daemon on a vehicle's gateway, and the tools beside it.
//
// Exit status of every command: 0 done, 1 the answer is bad news, 2 usage or config. For status: 0 OK, 1 degraded, 2 not
// running, 3 usage or config.
package main

import (
	"github.com/spf13/cobra"

	"obdagent/cmd/internal/cli"
)

func rootCommand() *cobra.Command {
	return cli.Root("obdagent", "Speed and position of a vehicle, delivered",
		`obdagent reads a vehicle's speed off an ELM327 adapter and its position off a GPS receiver, keeps both on disk through
any power cut, and delivers them to Amazon Data Firehose.

Exit status: 0 done, 1 the answer is bad news, 2 usage or config; for status: 0 OK, 1 degraded, 2 not running, 3 usage or config.`,
		runCommand(), demoCommand(), simulateCommand(), statusCommand(), doctorCommand(), detectCommand(), tailCommand(), logLevelCommand(), bugreportCommand(), decodeCommand(), bufferCommand(), configCommand(), installCommand(), uninstallCommand(), provisionCommand(), cli.VersionCommand("obdagent"))
}
