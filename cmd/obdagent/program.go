//go:build !docs

package main

import (
	"os"

	"obdagent/cmd/internal/cli"
)

func main() { os.Exit(cli.Main(rootCommand(), os.Args[1:], os.Stdout, os.Stderr)) }
