// Command obdfleet is the desk's side of obdagent: it reads back what a fleet has delivered, and reports on it.
//
// Exit status: 0 done, 1 the answer is bad news, 2 usage or config. Bad news and mistakes are one line each on standard error:
// what, where, and what to do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
